{{- define "ratsvc.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: `-headless`, and the hash of a StatefulSet's pod, have to fit into 63. A release's name may have
dots, a Service's not. */}}
{{- define "ratsvc.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $name := include "ratsvc.name" . -}}
{{- $full = contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- end -}}
{{- $full | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* What tells the pod from others, for ever: the test's pod has another component. */}}
{{- define "ratsvc.selector" -}}
app.kubernetes.io/name: {{ include "ratsvc.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "ratsvc.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ratsvc.labels" -}}
{{ include "ratsvc.selector" . }}
{{ include "ratsvc.commonLabels" . }}
{{- end -}}

{{- define "ratsvc.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ratsvc.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ratsvc.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The environment variable of a setting. */}}
{{- define "ratsvc.variable" -}}
RATSVC_{{ . | upper | replace "." "__" }}
{{- end -}}

{{/* Bytes of a quantity such as 1Gi, 512M or 1000000, which may be a number. */}}
{{- define "ratsvc.bytes" -}}
{{- if kindIs "string" . -}}
{{- $number := regexFind "^[0-9.]+" . | float64 -}}
{{- $unit := regexFind "[A-Za-z]*$" . -}}
{{- $units := dict "m" 0.001 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 0x1p10 "Mi" 0x1p20 "Gi" 0x1p30 "Ti" 0x1p40 "Pi" 0x1p50 "Ei" 0x1p60 -}}
{{- mulf $number (get $units $unit) | int64 -}}
{{- else -}}
{{- int64 . -}}
{{- end -}}
{{- end -}}

{{/* A setting's limit for the alerts: the value given, or else the service's default. */}}
{{- define "ratsvc.limit" -}}
{{- $limits := (.root.Values.settings | default dict).limits | default dict -}}
{{- get $limits .name | default .otherwise | int64 -}}
{{- end -}}

{{/* A table of settings as TOML; strings, numbers and lists of them are written alike in JSON and in TOML. */}}
{{- define "ratsvc.toml" -}}
{{- $path := .path -}}
{{- range $name, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $name | quote }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $name, $value := .table }}
{{- if kindIs "map" $value }}
{{- $here := append $path (quote $name) }}

[{{ join "." $here }}]
{{- include "ratsvc.toml" (dict "table" $value "path" $here) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "ratsvc.config" -}}
"http" = "0.0.0.0:8080"
"grpc" = "0.0.0.0:50051"
{{- if eq .Values.engine "durable" }}
"data_dir" = "/data/log"
{{- end }}
{{- include "ratsvc.toml" (dict "table" .Values.settings "path" list) }}
{{- end -}}

{{/* What the schema cannot see: values that contradict each other. */}}
{{- define "ratsvc.check" -}}
{{- $v := .Values -}}
{{- $given := $v.settings | default dict -}}
{{- $drain := ternary 15 $given.drain_s (kindIs "invalid" $given.drain_s) | float64 -}}
{{- $stop := ternary 25 $given.stop_timeout_s (kindIs "invalid" $given.stop_timeout_s) | float64 -}}
{{- if gt (addf $drain 5) $stop -}}
{{- fail (printf "settings.drain_s (%v) has to end 5 seconds before settings.stop_timeout_s (%v): readers that were not told by then are cut" $drain $stop) -}}
{{- end -}}
{{- $needed := addf $v.preStopSleepSeconds $stop 5 -}}
{{- if gt $needed (float64 $v.terminationGracePeriodSeconds) -}}
{{- fail (printf "terminationGracePeriodSeconds (%v) is too short for the drain: preStopSleepSeconds (%v) + settings.stop_timeout_s (%v) + 5 = %v" $v.terminationGracePeriodSeconds $v.preStopSleepSeconds $stop $needed) -}}
{{- end -}}
{{- if eq $v.engine "memory" -}}
{{- with (($v.resources).limits).memory -}}
{{- $log := include "ratsvc.limit" (dict "root" $ "name" "log_bytes" "otherwise" 1073741824) | int64 -}}
{{- if gt (mul 2 $log) (include "ratsvc.bytes" . | int64) -}}
{{- fail (printf "resources.limits.memory (%v) is less than twice settings.limits.log_bytes (%v): with engine memory all records are in memory" . $log) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and ($given.tracing | default dict).enabled $v.networkPolicy.enabled (not $v.networkPolicy.egress) -}}
{{- fail "settings.tracing.enabled: networkPolicy.egress lets nothing out, so the collector would get no span" -}}
{{- end -}}
{{- if eq (int $v.service.httpPort) (int $v.service.grpcPort) -}}
{{- fail (printf "service.httpPort and service.grpcPort are both %d" (int $v.service.httpPort)) -}}
{{- end -}}
{{- $variables := list "RATSVC_CONFIG" -}}
{{- range $setting, $_ := $v.secretSettings -}}
{{- $variables = append $variables (include "ratsvc.variable" $setting) -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if has .name $variables -}}
{{- fail (printf "extraEnv: %s is there already, from extraEnv, from secretSettings or from the chart itself" .name) -}}
{{- end -}}
{{- $variables = append $variables .name -}}
{{- end -}}
{{- $http := $v.gateway.httpRoute -}}
{{- $grpc := $v.gateway.grpcRoute -}}
{{- if and $http.enabled $grpc.enabled -}}
{{- range $http.parentRefs -}}
{{- if has . $grpc.parentRefs -}}
{{- if or (not $http.hostnames) (not $grpc.hostnames) -}}
{{- fail "gateway: httpRoute and grpcRoute of one listener need hostnames of their own: it may accept only one of them" -}}
{{- end -}}
{{- range $http.hostnames -}}
{{- if has . $grpc.hostnames -}}
{{- fail (printf "gateway: httpRoute and grpcRoute of one listener both name %s: it may accept only one of them" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What Kubernetes does not let change in a workload that is there: it would say so only after the ConfigMap and the
Services were changed. */}}
{{- define "ratsvc.checkChange" -}}
{{- $v := .Values -}}
{{- $kind := ternary "StatefulSet" "Deployment" (eq $v.engine "durable") -}}
{{- with lookup "apps/v1" $kind .Release.Namespace (include "ratsvc.fullname" .) -}}
{{- $there := printf "%s %s" $kind .metadata.name -}}
{{- if ne (toJson .spec.selector.matchLabels) (include "ratsvc.selector" $ | fromYaml | toJson) -}}
{{- fail (printf "the %s is there and knows its pod by other labels, which Kubernetes does not let change: nameOverride has changed, or it is not this release's" $there) -}}
{{- end -}}
{{- $annotations := dict -}}
{{- range $name, $value := $v.persistence.annotations -}}
{{- $_ := set $annotations $name (default "" $value) -}}
{{- end -}}
{{- $wanted := pick $v.persistence "storageClassName" "accessModes" -}}
{{- $_ := set $wanted "annotations" $annotations -}}
{{- $_ = set $wanted "size" (include "ratsvc.bytes" $v.persistence.size) -}}
{{- range .spec.volumeClaimTemplates -}}
{{- $has := dict "storageClassName" (default "" .spec.storageClassName) "accessModes" .spec.accessModes -}}
{{- $_ := set $has "annotations" (default dict .metadata.annotations) -}}
{{- $_ = set $has "size" (include "ratsvc.bytes" .spec.resources.requests.storage) -}}
{{- range $name, $value := $has -}}
{{- if ne (toJson $value) (get $wanted $name | toJson) -}}
{{- fail (printf "persistence.%s: Kubernetes does not let it change in the %s; how a volume grows is in docs/operations.md" $name $there) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
