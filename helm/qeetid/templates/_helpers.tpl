{{- define "qeetid.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "qeetid.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "qeetid.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "qeetid.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "qeetid.selector" -}}
app.kubernetes.io/name: {{ include "qeetid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end -}}

{{- define "qeetid.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: {{ include "qeetid.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "qeetid.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "qeetid.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "qeetid.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "qeetid.headless" -}}
{{- printf "%s-nodes" (include "qeetid.fullname" .) -}}
{{- end -}}

{{- define "qeetid.clusterName" -}}
{{- printf "%s.%s.svc" (include "qeetid.headless" .) .Release.Namespace -}}
{{- end -}}

{{- define "qeetid.clusterTlsSecret" -}}
{{- if .Values.cluster.tls.certManager.enabled -}}
{{- printf "%s-cluster-tls" (include "qeetid.fullname" .) -}}
{{- else -}}
{{- required "cluster.tls.existingSecret, or cluster.tls.certManager, is needed: nodes know one another by certificates" .Values.cluster.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* Secrets that are mounted: a list of file name, Secret, key and variable. */}}
{{- define "qeetid.secretFiles" -}}
{{- $s := .Values.secrets -}}
{{- $shared := eq .Values.mode "shared" -}}
{{- range $file, $of := dict
    "secret" (list $s.secret "QEETID_SECRET_FILE" "secret" $shared)
    "store-url" (list $s.storeUrl "QEETID_STORE_URL_FILE" "storeUrl" $shared)
    "ephemeral-url" (list $s.ephemeralUrl "QEETID_EPHEMERAL_URL_FILE" "ephemeralUrl" $shared)
    "mail-url" (list $s.mailUrl "QEETID_MAIL_URL_FILE" "mailUrl" true)
    "sms-url" (list $s.smsUrl "QEETID_SMS_URL_FILE" "smsUrl" true) }}
{{- $ref := index $of 0 -}}
{{- if and (index $of 3) (not $ref.existingSecret) -}}
{{- fail (printf "secrets.%s.existingSecret is needed in mode %s" (index $of 2) $.Values.mode) -}}
{{- end -}}
{{- if and (not $shared) (has $file (list "store-url" "ephemeral-url")) $ref.existingSecret -}}
{{- fail (printf "secrets.%s can't be set in mode single: it keeps everything in SQLite" (index $of 2)) -}}
{{- end -}}
{{- if $ref.existingSecret }}
- {file: {{ $file }}, secret: {{ $ref.existingSecret | quote }}, key: {{ $ref.key | quote }}, variable: {{ index $of 1 }}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What nodes and the migration have in common: the settings. */}}
{{- define "qeetid.env" -}}
- {name: QEETID_LISTEN, value: "{{ .Values.listenAddress }}:4001"}
- {name: QEETID_METRICS_LISTEN, value: "{{ .Values.listenAddress }}:{{ .Values.metrics.port }}"}
- {name: QEETID_PUBLIC_URL, value: {{ required "publicUrl is needed: what the service is called from outside" .Values.publicUrl | quote }}}
{{- with .Values.appUrl }}
- {name: QEETID_APP_URL, value: {{ . | quote }}}
{{- end }}
- {name: QEETID_MAIL_FROM, value: {{ .Values.mailFrom | quote }}}
- {name: QEETID_DATA_DIR, value: /var/lib/qeetid}
- {name: QEETID_HASH_THREADS, value: {{ .Values.hash.threads | quote }}}
- {name: QEETID_HASH_QUEUE, value: {{ .Values.hash.queue | quote }}}
- {name: QEETID_HASH_DEADLINE_MS, value: {{ .Values.hash.deadlineMs | quote }}}
- {name: QEETID_ARGON2, value: {{ .Values.hash.argon2 | quote }}}
{{- with .Values.trustedProxies }}
- {name: QEETID_TRUSTED_PROXIES, value: {{ join "," . | quote }}}
{{- end }}
{{- with .Values.corsOrigins }}
- {name: QEETID_CORS_ORIGINS, value: {{ join "," . | quote }}}
{{- end }}
- {name: QEETID_LOG, value: {{ .Values.log.filter | quote }}}
- {name: QEETID_LOG_FORMAT, value: json}
{{- with .Values.otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: QEETID_{{ $name }}, value: {{ toString $value | quote }}}
{{- end }}
{{- range include "qeetid.secretFiles" . | fromYamlArray }}
- {name: {{ .variable }}, value: /etc/qeetid/secrets/{{ .file }}}
{{- end }}
{{- end -}}

{{/* readOnlyRootFilesystem: all that is written goes to the data directory. */}}
{{- define "qeetid.containerSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
privileged: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "qeetid.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "qeetid.volumes" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range include "qeetid.secretFiles" . | fromYamlArray }}
    - secret:
        name: {{ .secret | quote }}
        items: [{key: {{ .key | quote }}, path: {{ .file }}}]
    {{- end }}
{{- if and .Values.ca.existingSecret .Values.ca.existingConfigMap }}
{{- fail "ca: a Secret or a ConfigMap, not both" }}
{{- end }}
{{- with .Values.ca.existingSecret }}
- {name: ca, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- with .Values.ca.existingConfigMap }}
- {name: ca, configMap: {name: {{ . | quote }}}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "qeetid.mounts" -}}
- {name: secrets, mountPath: /etc/qeetid/secrets, readOnly: true}
- {name: data, mountPath: /var/lib/qeetid}
{{- if or .Values.ca.existingSecret .Values.ca.existingConfigMap }}
- {name: ca, mountPath: /etc/qeetid/ca, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* MiB of the pool's blocks: memory of the Argon2 parameters, rounded up, for each thread. */}}
{{- define "qeetid.poolMi" -}}
{{- $kib := regexFind "m=[0-9]+" .Values.hash.argon2 | trimPrefix "m=" | int -}}
{{- mul .Values.hash.threads (div (add $kib 1023) 1024) -}}
{{- end -}}

{{- define "qeetid.resources" -}}
{{- $m := .Values.resources.memory -}}
{{- $request := add (include "qeetid.poolMi" .) $m.baseMi $m.largeHashMi -}}
requests:
  cpu: {{ default (mul .Values.hash.threads 1000) .Values.resources.cpu.requestMilli }}m
  memory: {{ $request }}Mi
  ephemeral-storage: {{ .Values.resources.ephemeralStorage }}
limits:
  {{- with .Values.resources.cpu.limitMilli }}
  cpu: {{ . }}m
  {{- end }}
  memory: {{ add $request (div (add (mul $m.connections 35) 1023) 1024) }}Mi
{{- end -}}
