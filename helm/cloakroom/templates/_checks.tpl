{{/* Values that contradict each other, each with a sentence that says what to change. */}}

{{/* A duration such as 1h30m, 20s or 500ms, in whole seconds, rounded up. */}}
{{- define "cloakroom.seconds" -}}
{{- $milliseconds := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" (toString .) -1 -}}
{{- $number := regexFind "[0-9]+" . | float64 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $milliseconds = addf $milliseconds (mulf $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit | float64)) -}}
{{- end -}}
{{- divf $milliseconds 1000 | ceil | int -}}
{{- end -}}

{{- define "cloakroom.checks" -}}
{{- include "cloakroom.checkRedis" . -}}
{{- include "cloakroom.checkDisruption" . -}}
{{- include "cloakroom.checkShutdown" . -}}
{{- include "cloakroom.checkScale" . -}}
{{- include "cloakroom.checkCallers" . -}}
{{- include "cloakroom.checkEntrances" . -}}
{{- include "cloakroom.checkMetrics" . -}}
{{- include "cloakroom.checkSettings" . -}}
{{- end -}}

{{- define "cloakroom.checkRedis" -}}
{{- $redis := .Values.redis -}}
{{- if not (or $redis.urls $redis.bundled.enabled) -}}
{{- fail "There is no Redis: set redis.urls to the nodes of yours, such as {redis://redis-0.redis:6379}, or redis.bundled.enabled=true for a first try." -}}
{{- end -}}
{{- if and $redis.urls $redis.bundled.enabled -}}
{{- fail "There are two Redis: redis.urls names yours, and redis.bundled.enabled=true brings another. Remove redis.urls, or set redis.bundled.enabled=false." -}}
{{- end -}}
{{- if and $redis.bundled.enabled (or $redis.tls.enabled $redis.tls.existingSecret) -}}
{{- fail "The bundled Redis has no TLS: remove redis.tls, or set redis.bundled.enabled=false and redis.urls to a Redis that has." -}}
{{- end -}}
{{- if and $redis.bundled.enabled $redis.username -}}
{{- fail "The bundled Redis has no user but the default one: remove redis.username." -}}
{{- end -}}
{{- range $redis.urls -}}
{{- if and (or $redis.tls.enabled $redis.tls.existingSecret) (not (hasPrefix "rediss://" .)) -}}
{{- fail (printf "redis.tls is set, and a URL of redis.urls does without TLS: begin %s with rediss://, or remove redis.tls." (regexReplaceAll "://[^@/]*@" . "://…@")) -}}
{{- end -}}
{{- if regexMatch "://[^/]*:[^/]*@" . -}}
{{- fail "A URL of redis.urls holds a password, which would show in a ConfigMap: put it into a secret, and name that by redis.existingSecret." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.checkDisruption" -}}
{{- $budget := .Values.podDisruptionBudget -}}
{{- if $budget.enabled -}}
{{- $pods := include "cloakroom.pods" . | int -}}
{{- $least := toString $budget.minAvailable -}}
{{- $most := toString $budget.maxUnavailable -}}
{{- $hasLeast := not (kindIs "invalid" $budget.minAvailable) -}}
{{- $hasMost := not (kindIs "invalid" $budget.maxUnavailable) -}}
{{- if and $hasLeast $hasMost -}}
{{- fail "podDisruptionBudget has both minAvailable and maxUnavailable, and Kubernetes takes one: set one of them to null." -}}
{{- end -}}
{{- if and $hasMost (eq (trimSuffix "%" $most | int) 0) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable=%s forbids every eviction, so that no node could be drained: set it to 1 or more." $most) -}}
{{- end -}}
{{- if and $hasLeast (gt $pods 0) -}}
{{- $staying := trimSuffix "%" $least | int -}}
{{- if hasSuffix "%" $least -}}
{{- $staying = mulf $staying $pods | float64 | mulf 0.01 | ceil | int -}}
{{- end -}}
{{- if ge $staying $pods -}}
{{- fail (printf "podDisruptionBudget.minAvailable=%s of %d pods forbids every eviction, so that no node could be drained: lower it below the number of pods, or raise %s." $least $pods (.Values.autoscaling.enabled | ternary "autoscaling.minReplicas" "replicaCount")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $rolling := .Values.updateStrategy.rollingUpdate | default dict -}}
{{- if and (eq (toString $rolling.maxUnavailable) "0") (eq (toString $rolling.maxSurge) "0") -}}
{{- fail "updateStrategy.rollingUpdate has maxUnavailable and maxSurge 0, so that no pod could ever be replaced: set maxSurge to 1 or more." -}}
{{- end -}}
{{- end -}}

{{/* docs/operations.md, stopping: preStop, then notice, drain and leave-taking. */}}
{{- define "cloakroom.checkShutdown" -}}
{{- $drain := dig "shutdown" "drain" "20s" .Values.config -}}
{{- $drainSeconds := include "cloakroom.seconds" $drain | int -}}
{{- $notice := min 5 (div (add $drainSeconds 3) 4) -}}
{{- $needed := add .Values.preStopSeconds $notice $drainSeconds 3 | int -}}
{{- if gt $needed (int .Values.terminationGracePeriodSeconds) -}}
{{- fail (printf "A pod would be killed while it drains: preStopSeconds (%d), the notice to load balancers (%d), config.shutdown.drain (%s) and the leave-taking (3) make %d seconds, and terminationGracePeriodSeconds is %d. Set it to %d or more, or shorten the drain." (int .Values.preStopSeconds) (int $notice) $drain $needed (int .Values.terminationGracePeriodSeconds) $needed) -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.checkScale" -}}
{{- $scale := .Values.autoscaling -}}
{{- if $scale.enabled -}}
{{- if gt (int $scale.minReplicas) (int $scale.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d): lower the one or raise the other." (int $scale.minReplicas) (int $scale.maxReplicas)) -}}
{{- end -}}
{{- if not (or $scale.targetCPUUtilizationPercentage $scale.targetMemoryUtilizationPercentage $scale.metrics) -}}
{{- fail "autoscaling is enabled and has nothing to go by: set autoscaling.targetCPUUtilizationPercentage, or give autoscaling.metrics." -}}
{{- end -}}
{{- $requests := .Values.resources.requests | default dict -}}
{{- if and $scale.targetCPUUtilizationPercentage (not $requests.cpu) -}}
{{- fail "autoscaling.targetCPUUtilizationPercentage is a share of what pods request, and they request no CPU: set resources.requests.cpu, or the target to null." -}}
{{- end -}}
{{- if and $scale.targetMemoryUtilizationPercentage (not $requests.memory) -}}
{{- fail "autoscaling.targetMemoryUtilizationPercentage is a share of what pods request, and they request no memory: set resources.requests.memory, or the target to null." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.checkCallers" -}}
{{- if and .Values.serviceAccounts (not .Values.kubernetes.enabled) -}}
{{- fail "serviceAccounts are callers whom Kubernetes vouches for, and kubernetes.enabled is false: set kubernetes.enabled=true, or remove serviceAccounts." -}}
{{- end -}}
{{- if and .Values.kubernetes.enabled (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "With serviceAccount.create=false the service would ask Kubernetes as the namespace's default service account: name yours by serviceAccount.name, or set kubernetes.enabled=false." -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.checkEntrances" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled=true and ingress.hosts is empty: give a host, such as [{host: sessions.example.com, paths: [{path: /, pathType: Prefix}]}], or set ingress.enabled=false." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled=true and httpRoute.parentRefs is empty: name a gateway, such as [{name: public, namespace: gateways}], or set httpRoute.enabled=false." -}}
{{- end -}}
{{- if and .Values.service.nodePort (eq .Values.service.type "ClusterIP") -}}
{{- fail "service.nodePort is set, and a Service of type ClusterIP has none: set service.type=NodePort, or remove service.nodePort." -}}
{{- end -}}
{{- end -}}

{{- define "cloakroom.checkMetrics" -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "Every pod would be scraped twice: set metrics.serviceMonitor.enabled or metrics.podMonitor.enabled to false." -}}
{{- end -}}
{{- end -}}

{{/* A setting has one place to be set in. */}}
{{- define "cloakroom.checkSettings" -}}
{{- $value := dict
  "redis.urls" "redis.urls" "redis.username" "redis.username" "redis.ca_file" "redis.tls.existingSecret"
  "redis.password" "redis.existingSecret" "redis.password_file" "redis.existingSecret"
  "jwt.secret" "jwt.existingSecret" "jwt.secret_file" "jwt.existingSecret"
  "jwt.jwks_url" "jwt.jwksUrl" "jwt.issuer" "jwt.issuer" "jwt.audience" "jwt.audience"
  "kubernetes.enabled" "kubernetes.enabled" "kubernetes.audience" "kubernetes.audience"
  "kubernetes.service_accounts" "serviceAccounts" -}}
{{- $fixed := list "listen" "admin_listen" "server_id" "kubernetes.namespace" "kubernetes.service" "kubernetes.lease" -}}
{{- $other := include "cloakroom.otherSettings" . | fromJson -}}
{{- range $key, $_ := $other -}}
{{- if hasKey $value $key -}}
{{- fail (printf "config.%s belongs to a value of its own: set %s instead." $key (get $value $key)) -}}
{{- end -}}
{{- if has $key $fixed -}}
{{- fail (printf "config.%s is set by the chart, for its Services and probes go by it: remove it." $key) -}}
{{- end -}}
{{- end -}}
{{- range .Values.settingsFromSecrets -}}
{{- if hasKey $value .setting -}}
{{- fail (printf "settingsFromSecrets has %s, which belongs to a value of its own: set %s instead." .setting (get $value .setting)) -}}
{{- end -}}
{{- if hasKey $other .setting -}}
{{- fail (printf "%s is in config and in settingsFromSecrets: remove one of them." .setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}
