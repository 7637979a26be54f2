{{/* Name of an object of `helm test`: list $ what. An experiment's name has at most 40 characters. */}}
{{- define "kinex.testName" -}}
{{- printf "%s-%s" (include "kinex.fullname" (index . 0) | trunc 26 | trimSuffix "-") (index . 1) -}}
{{- end -}}

{{/* What `helm test` plays: list $ name. */}}
{{- define "kinex.testSpec" -}}
{{- $root := index . 0 -}}
stream:
  name: {{ $root.Values.limits.streamPrefixes | first | default "" }}{{ index . 1 }}
  initialShards: 4
  deletionPolicy: Delete
replicas: 2
producer: {recordsPerSecond: 20}
balance: {stableFor: 2s, timeout: 2m}
steps:
  - {name: steady, waitUntilBalanced: {}}
  - {name: split, split: {count: 1}}
  - {name: scale, scale: {replicas: 3}}
  - {name: balanced, waitUntilBalanced: {maxPerWorker: 2}}
  - name: verify
    assert:
      all:
        - {name: shards, expr: "stream.total == 6 && stream.open == 5 && stream.closed == 1"}
        - {name: leases, expr: "leases.min == 1 && leases.max == 2"}
        - {name: nothing-lost, expr: "records.missing == 0"}
{{- end -}}

{{- define "kinex.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* The beginning of a pod of `helm test`, up to its container's arguments. */}}
{{- define "kinex.testPod" -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "kinex.podSecurityContext" . | nindent 2 }}
{{- end -}}
