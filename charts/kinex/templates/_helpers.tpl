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
  verbs: [list, watch, patch]
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
