{{/* Values that are null or missing become the chart's own, and what would break the release is refused. Every template
begins with it, since Helm renders them in no particular order. */}}
{{- define "kinex.init" -}}
{{- include "kinex.fill" (list .Values (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- include "kinex.refuseReserved" (list "commonLabels" .Values.commonLabels) -}}
{{- range $component := list "operator" "consumer" "producer" -}}
{{- include "kinex.refuseReserved" (list (printf "%s.podLabels" $component) (index $.Values $component).podLabels) -}}
{{- end -}}
{{- end -}}

{{/* Sets what a map lacks: list map defaults. `merge` is no help: it takes `false` and 0 for missing. What ends up in an
object as it is (resources, labels ...) stays without what somebody removed with null. */}}
{{- define "kinex.fill" -}}
{{- $map := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- $value := get $map $key -}}
{{- $verbatim := has $key (list "resources" "labels" "annotations" "podLabels" "podAnnotations" "commonLabels" "nodeSelector" "affinity" "podSecurityContext" "securityContext" "metricsFrom") -}}
{{- if and (hasKey $map $key) (not (kindIs "invalid" $value)) -}}
{{- if and (kindIs "map" $value) (kindIs "map" $default) (not $verbatim) -}}
{{- include "kinex.fill" (list $value $default) -}}
{{- end -}}
{{- else if $verbatim -}}
{{- $_ := set $map $key (kindIs "slice" $default | ternary list dict) -}}
{{- else -}}
{{- $_ := set $map $key $default -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels by which selectors find pods have one value: list path labels. */}}
{{- define "kinex.refuseReserved" -}}
{{- $path := index . 0 -}}
{{- range $label, $_ := index . 1 | default dict -}}
{{- if or (has $label (list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart")) (hasPrefix "kinex.dev/" $label) -}}
{{- fail (printf "%s: the chart sets %s itself, and selects its pods by such labels; choose another label" $path $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kinex.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The beginning of all names, short enough for the longest suffix. */}}
{{- define "kinex.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "kinex.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Environment variables, each name once; what the user gives wins: list own extra. Kubernetes would take the last of two
of a name, but server-side apply refuses such a list. */}}
{{- define "kinex.env" -}}
{{- $extra := index . 1 | default list -}}
{{- $names := list -}}
{{- range $extra }}{{ $names = append $names .name }}{{ end -}}
{{- $all := list -}}
{{- range index . 0 }}{{ if not (has .name $names) }}{{ $all = append $all . }}{{ end }}{{ end -}}
{{- toYaml (concat $all $extra) -}}
{{- end -}}

{{/* What is added to the pods of consumers or producers, as JSON; empty when nothing is: list $ component. */}}
{{- define "kinex.workerPod" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
{{- $pod := dict -}}
{{- range $field, $key := dict "labels" "podLabels" "annotations" "podAnnotations" "nodeSelector" "nodeSelector" "tolerations" "tolerations" "affinity" "affinity" "env" "extraEnv" -}}
{{- with index $values $key }}{{ $_ := set $pod $field . }}{{ end -}}
{{- end -}}
{{- with $pod }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* Labels of an object: list $ component. */}}
{{- define "kinex.labels" -}}
{{- $root := index . 0 -}}
{{ include "kinex.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | quote }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of a pod: list $ component. Nothing that changes with the chart's version alone, or pods would restart. */}}
{{- define "kinex.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "kinex.selector" . }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that never change: list $ component. The name is the one that the workers of an experiment have too. */}}
{{- define "kinex.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: kinex
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* repository:tag or repository@digest: list image default-tag. */}}
{{- define "kinex.reference" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default (index . 1) }}
{{- end -}}
{{- end -}}

{{- define "kinex.image" -}}
{{- include "kinex.reference" (list .Values.image .Chart.AppVersion) -}}
{{- end -}}

{{/* Whether a pod of this chart is the endpoint. */}}
{{- define "kinex.servesEndpoint" -}}
{{- if or (eq .Values.backend "embedded") (and (eq .Values.backend "localstack") (not .Values.localstack.externalUrl)) -}}
true
{{- end -}}
{{- end -}}

{{/* URL of the endpoint, empty with AWS. */}}
{{- define "kinex.endpointUrl" -}}
{{- if include "kinex.servesEndpoint" . -}}
http://{{ include "kinex.fullname" . }}-endpoint.{{ .Release.Namespace }}.svc:4566
{{- else if eq .Values.backend "localstack" -}}
{{ .Values.localstack.externalUrl | trimSuffix "/" }}
{{- end -}}
{{- end -}}

{{/* Name of a ServiceAccount: list $ component. Empty: the namespace's default. */}}
{{- define "kinex.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.name -}}
{{ $account.name }}
{{- else if and $account.create (or (eq $component "operator") (not $root.Values.watchAllNamespaces)) -}}
{{ include "kinex.fullname" $root }}-{{ $component }}
{{- end -}}
{{- end -}}

{{/* Namespaces with workers, as a JSON list. */}}
{{- define "kinex.namespaces" -}}
{{- if and .Values.watchNamespaces (not .Values.watchAllNamespaces) -}}
{{ .Values.watchNamespaces | uniq | toJson }}
{{- else -}}
{{ list .Release.Namespace | toJson }}
{{- end -}}
{{- end -}}

{{- define "kinex.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "kinex.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Rules of a Role in a namespace with experiments: exactly the verbs that the operator uses. */}}
{{- define "kinex.rules" -}}
- apiGroups: [kinex.dev]
  resources: [kinesisexperiments]
  verbs: [list, watch, patch, delete]
- apiGroups: [kinex.dev]
  resources: [kinesisexperiments/status]
  verbs: [patch]
- apiGroups: [kinex.dev]
  resources: [kinesisexperiments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets/scale]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Ports of all endpoints that are not pods of this chart, as a JSON list. */}}
{{- define "kinex.externalPorts" -}}
{{- $ports := list -}}
{{- $urls := .Values.limits.endpoints -}}
{{- if and (eq .Values.backend "localstack") .Values.localstack.externalUrl -}}
{{- $urls = append $urls .Values.localstack.externalUrl -}}
{{- end -}}
{{- range $urls -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports ($port | default (ternary "443" "80" (eq $url.scheme "https")) | int) -}}
{{- end -}}
{{- if eq .Values.backend "aws" -}}
{{- $ports = append $ports 443 -}}
{{- end -}}
{{ $ports | uniq | toJson }}
{{- end -}}
