{{- define "kinex.embeddedPod" -}}
terminationGracePeriodSeconds: 5
securityContext:
  {{- include "kinex.podSecurityContext" . | nindent 2 }}
containers:
  - name: emulator
    image: {{ include "kinex.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
      - emulator
      - --address=0.0.0.0
      - --port=4566
      {{- if not .Values.embedded.enforceLimits }}
      - --no-limits
      {{- end }}
    ports:
      - name: aws
        containerPort: 4566
    livenessProbe:
      httpGet: {path: /_kinex/health, port: aws}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /_kinex/health, port: aws}
      periodSeconds: 2
      timeoutSeconds: 5
    resources:
      {{- toYaml .Values.embedded.resources | nindent 6 }}
    securityContext:
      {{- include "kinex.securityContext" . | nindent 6 }}
{{- end -}}

{{- define "kinex.localstackPod" -}}
securityContext:
  {{- toYaml .Values.localstack.podSecurityContext | nindent 2 }}
containers:
  - name: localstack
    image: {{ include "kinex.reference" (list .Values.localstack.image "4.14.0") | quote }}
    imagePullPolicy: {{ .Values.localstack.image.pullPolicy }}
    env:
      {{- include "kinex.env" (list (include "kinex.localstackEnv" . | fromYamlArray) .Values.localstack.extraEnv) | nindent 6 }}
    ports:
      - name: aws
        containerPort: 4566
    startupProbe:
      httpGet: {path: /_localstack/health, port: aws}
      periodSeconds: 3
      timeoutSeconds: 10
      failureThreshold: 100
    livenessProbe:
      httpGet: {path: /_localstack/health, port: aws}
      periodSeconds: 20
      timeoutSeconds: 10
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /_localstack/health, port: aws}
      periodSeconds: 5
      timeoutSeconds: 10
    resources:
      {{- toYaml .Values.localstack.resources | nindent 6 }}
    securityContext:
      {{- toYaml .Values.localstack.securityContext | nindent 6 }}
    volumeMounts:
      - {name: data, mountPath: /var/lib/localstack}
      - {name: tmp, mountPath: /tmp}
volumes:
  - name: data
    emptyDir: {sizeLimit: 2Gi}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
{{- end -}}

{{- define "kinex.localstackEnv" -}}
- {name: SERVICES, value: "kinesis,dynamodb"}
- {name: STRICT_SERVICE_LOADING, value: "1"}
- {name: EAGER_SERVICE_LOADING, value: "1"}
- {name: GATEWAY_LISTEN, value: "0.0.0.0:4566"}
- {name: DNS_ADDRESS, value: "0"}
- {name: DISABLE_EVENTS, value: "1"}
- {name: SKIP_SSL_CERT_DOWNLOAD, value: "1"}
- {name: KINESIS_SHARD_LIMIT, value: {{ .Values.localstack.shardLimit | int64 | quote }}}
- {name: KINESIS_LATENCY, value: {{ .Values.localstack.kinesisLatencyMillis | int64 | quote }}}
- {name: KINESIS_PERSISTENCE, value: "0"}
- {name: DYNAMODB_IN_MEMORY, value: "1"}
- {name: DYNAMODB_HEAP_SIZE, value: {{ .Values.localstack.dynamodbHeap | quote }}}
{{- with .Values.localstack.token.secretName }}
- name: LOCALSTACK_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.localstack.token.secretKey }}
{{- end }}
{{- end -}}
