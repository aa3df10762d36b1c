{{/* The settings file: what the values say, and `config` for all the rest. */}}

{{- define "cloakroom.secretsDirectory" -}}/run/secrets/cloakroom{{- end -}}

{{/* Puts the leaves of a map of maps into `into`, by their dotted keys: (dict "map" … "prefix" "" "into" …). */}}
{{- define "cloakroom.flatten" -}}
{{- range $key, $value := .map -}}
{{- if kindIs "map" $value -}}
{{- include "cloakroom.flatten" (dict "map" $value "prefix" (printf "%s%s." $.prefix $key) "into" $.into) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $.into (printf "%s%s" $.prefix $key) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A value as TOML. Helm reads every number of a values file as a float: whole ones are written without the point. */}}
{{- define "cloakroom.toml" -}}
{{- if kindIs "slice" . -}}
[{{- range $index, $item := . -}}{{- if $index }}, {{ end -}}{{- include "cloakroom.toml" $item -}}{{- end -}}]
{{- else if kindIs "string" . -}}
{{- toJson . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* URLs of the nodes to begin with, as a JSON list. */}}
{{- define "cloakroom.redisUrls" -}}
{{- $urls := .Values.redis.urls -}}
{{- if .Values.redis.bundled.enabled -}}
{{- $name := include "cloakroom.redisName" . -}}
{{- $urls = list -}}
{{- range until 3 -}}
{{- $urls = append $urls (printf "redis://%s-%d.%s:6379" $name . $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $urls -}}
{{- end -}}

{{/* Settings that are files in secrets, as a JSON list of setting, secret and key. */}}
{{- define "cloakroom.secretFiles" -}}
{{- $redis := .Values.redis -}}
{{- $files := list -}}
{{- if include "cloakroom.signs" . -}}
{{- $key := .Values.jwt.existingSecret | empty | ternary "secret" .Values.jwt.existingSecretKey -}}
{{- $files = append $files (dict "setting" "jwt.secret_file" "secret" (include "cloakroom.jwtSecret" .) "key" $key) -}}
{{- end -}}
{{- if or $redis.existingSecret $redis.bundled.enabled -}}
{{- $key := $redis.existingSecret | empty | ternary "password" $redis.existingSecretKey -}}
{{- $files = append $files (dict "setting" "redis.password_file" "secret" (include "cloakroom.redisSecret" .) "key" $key) -}}
{{- end -}}
{{- if $redis.tls.existingSecret -}}
{{- $files = append $files (dict "setting" "redis.ca_file" "secret" $redis.tls.existingSecret "key" $redis.tls.caKey) -}}
{{- end -}}
{{- range .Values.settingsFromSecrets -}}
{{- $files = append $files (pick . "setting" "secret" "key") -}}
{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* The volume with those files. Without subPath: a secret that changes shows up in the pod, and the service looks. */}}
{{- define "cloakroom.secretsVolume" -}}
{{- with include "cloakroom.secretFiles" . | fromJsonArray -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range . }}
      - secret:
          name: {{ .secret }}
          items: [{key: {{ .key | quote }}, path: {{ .setting | quote }}}]
      {{- end }}
{{- end -}}
{{- end -}}

{{/* What the values say, by dotted keys, as a JSON object. */}}
{{- define "cloakroom.ownSettings" -}}
{{- $own := dict "listen" "0.0.0.0:8080" "admin_listen" "0.0.0.0:9090" -}}
{{- $_ := set $own "redis.urls" (include "cloakroom.redisUrls" . | fromJsonArray) -}}
{{- with .Values.redis.username -}}{{- $_ := set $own "redis.username" . -}}{{- end -}}
{{- with .Values.jwt.jwksUrl -}}{{- $_ := set $own "jwt.jwks_url" . -}}{{- end -}}
{{- with .Values.jwt.issuer -}}{{- $_ := set $own "jwt.issuer" . -}}{{- end -}}
{{- $_ := set $own "jwt.audience" .Values.jwt.audience -}}
{{- if .Values.kubernetes.enabled -}}
{{- $_ := set $own "kubernetes.enabled" true -}}
{{- $_ := set $own "kubernetes.namespace" .Release.Namespace -}}
{{- $_ := set $own "kubernetes.service" (include "cloakroom.headless" .) -}}
{{- $_ := set $own "kubernetes.lease" (include "cloakroom.fullname" .) -}}
{{- $_ := set $own "kubernetes.audience" .Values.kubernetes.audience -}}
{{- $accounts := list -}}
{{- range .Values.serviceAccounts -}}
{{- $accounts = append $accounts (printf "%s/%s: %s" .namespace .name (join " " .scopes)) -}}
{{- end -}}
{{- with $accounts -}}{{- $_ := set $own "kubernetes.service_accounts" . -}}{{- end -}}
{{- end -}}
{{- range include "cloakroom.secretFiles" . | fromJsonArray -}}
{{- $_ := set $own .setting (printf "%s/%s" (include "cloakroom.secretsDirectory" $) .setting) -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/* What `config` says, by dotted keys, as a JSON object. */}}
{{- define "cloakroom.otherSettings" -}}
{{- $other := dict -}}
{{- include "cloakroom.flatten" (dict "map" .Values.config "prefix" "" "into" $other) -}}
{{- toJson $other -}}
{{- end -}}

{{/* The settings file. A dotted key is TOML as well as a table is, and shows the key as it is documented. */}}
{{- define "cloakroom.settings" -}}
{{- $all := merge (include "cloakroom.ownSettings" . | fromJson) (include "cloakroom.otherSettings" . | fromJson) -}}
{{- $lines := list -}}
{{- range $key, $value := $all -}}
{{- $lines = append $lines (printf "%s = %s" $key (include "cloakroom.toml" $value)) -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{- define "cloakroom.cookieName" -}}
{{- $cookie := .Values.config.cookie | default dict -}}
{{- $cookie.name | default (eq ($cookie.preset | default "default") "express" | ternary "connect.sid" "__Host-cloakroom") -}}
{{- end -}}

{{/* How the API is spoken to: https where the settings have a certificate. */}}
{{- define "cloakroom.scheme" -}}
{{- $own := include "cloakroom.ownSettings" . | fromJson -}}
{{- $other := include "cloakroom.otherSettings" . | fromJson -}}
{{- or (hasKey $own "tls.cert_file") (hasKey $other "tls.cert_file") | ternary "https" "http" -}}
{{- end -}}
