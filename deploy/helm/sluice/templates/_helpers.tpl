{{- define "sluice.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The configuration of the values with what the chart decides. */ -}}
{{- define "sluice.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $listen := dict "api" .Values.ports.api "grpc" .Values.ports.grpc "health" .Values.ports.health "admin" "127.0.0.1:9091" -}}
{{- if .Values.ports.proxy }}{{ $_ := set $listen "proxy" .Values.ports.proxy }}{{ end -}}
{{- $_ := set $config "listen" (mergeOverwrite (default (dict) $config.listen) $listen) -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- if not .Values.nats.urls }}{{ fail "replicas above 1 share their limits over NATS: set nats.urls (docs/nats.md)" }}{{ end -}}
{{- $cluster := merge (dict "nats" .Values.nats.urls) (default (dict) $config.cluster) -}}
{{- if .Values.nats.passwordSecret.name -}}
{{- $_ := set $cluster "user" .Values.nats.user -}}
{{- $_ := set $cluster "password" (dict "env" "NATS_PASSWORD") -}}
{{- end -}}
{{- $_ := set $config "cluster" $cluster -}}
{{- else -}}
{{- $_ := set $config "store" (mergeOverwrite (default (dict) $config.store) (dict "path" "/var/lib/sluice")) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
