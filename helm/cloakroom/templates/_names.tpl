{{/* Names and labels. */}}

{{- define "cloakroom.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters: what is put behind it must fit into 63. */}}
{{- define "cloakroom.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "cloakroom.name" . -}}
{{- contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The Service without an address of its own: its endpoints are the fleet, and Prometheus scrapes by it. */}}
{{- define "cloakroom.headless" -}}
{{- include "cloakroom.fullname" . }}-headless
{{- end -}}

{{- define "cloakroom.serviceAccountName" -}}
{{- .Values.serviceAccount.create | ternary (include "cloakroom.fullname" .) "default" | default .Values.serviceAccount.name -}}
{{- end -}}

{{- define "cloakroom.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cloakroom.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cloakroom.serverLabels" -}}
{{ include "cloakroom.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "cloakroom.redisLabels" -}}
{{ include "cloakroom.selectorLabels" . }}
app.kubernetes.io/component: redis
{{- end -}}

{{/* Of every object; call it with (list . "component"). */}}
{{- define "cloakroom.labels" -}}
{{- $root := index . 0 -}}
{{ include "cloakroom.selectorLabels" $root }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: {{ include "cloakroom.name" $root }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The metadata of an object: (dict "root" . "name" … "component" … "labels" … "annotations" … "namespace" …). */}}
{{- define "cloakroom.metadata" -}}
name: {{ .name }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "cloakroom.labels" (list .root .component) | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image: (dict "image" map "repository" default "tag" default). */}}
{{- define "cloakroom.image" -}}
{{- $repository := .image.repository | default .repository -}}
{{- $name := .image.registry | empty | ternary $repository (printf "%s/%s" .image.registry $repository) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .tag) -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.serverImage" -}}
{{- include "cloakroom.image" (dict "image" .Values.image "tag" .Chart.AppVersion) -}}
{{- end -}}

{{- define "cloakroom.redisImage" -}}
{{- $engine := .Values.redis.bundled.engine -}}
{{- $repository := eq $engine "valkey" | ternary "valkey/valkey" "library/redis" -}}
{{- $tag := eq $engine "valkey" | ternary "8.1-bookworm" "7.4-bookworm" -}}
{{- include "cloakroom.image" (dict "image" .Values.redis.bundled.image "repository" $repository "tag" $tag) -}}
{{- end -}}

{{- define "cloakroom.jwtSecret" -}}
{{- .Values.jwt.existingSecret | default (printf "%s-jwt" (include "cloakroom.fullname" .)) -}}
{{- end -}}

{{- define "cloakroom.redisName" -}}
{{- include "cloakroom.fullname" . }}-redis
{{- end -}}

{{- define "cloakroom.redisSecret" -}}
{{- .Values.redis.existingSecret | default (include "cloakroom.redisName" .) -}}
{{- end -}}

{{/* What a secret of the chart's own holds under a key: what it held before, or something new. */}}
{{- define "cloakroom.keptSecret" -}}
{{- $before := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- dig "data" .key "" ($before | default dict) | default (randAlphaNum 48 | b64enc) -}}
{{- end -}}

{{- define "cloakroom.pods" -}}
{{- .Values.autoscaling.enabled | ternary .Values.autoscaling.minReplicas .Values.replicaCount -}}
{{- end -}}

{{/* Whether the chart makes a secret for callers' JWTs. */}}
{{- define "cloakroom.makesJwtSecret" -}}
{{- if not (or .Values.jwt.existingSecret .Values.jwt.jwksUrl) -}}yes{{- end -}}
{{- end -}}

{{/* Whether there is a secret that tokens can be signed with. */}}
{{- define "cloakroom.signs" -}}
{{- if or .Values.jwt.existingSecret (include "cloakroom.makesJwtSecret" .) -}}yes{{- end -}}
{{- end -}}
