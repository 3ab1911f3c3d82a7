{{- define "signalq.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that what is put behind it fits a label. */}}
{{- define "signalq.fullname" -}}
{{- $name := include "signalq.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes of a component; call it with (list $ "consumer"). */}}
{{- define "signalq.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "signalq.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "signalq.labels" -}}
{{- $root := index . 0 -}}
{{ include "signalq.selector" . }}
app.kubernetes.io/part-of: signalq
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* Of pods, which are not replaced only because the chart has another version. */}}
{{- define "signalq.podLabels" -}}
{{ include "signalq.selector" . }}
app.kubernetes.io/part-of: signalq
{{- end -}}

{{- define "signalq.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalq.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "signalq.fullname" .) -}}
{{- end -}}

{{/* What every pod has; the image's user is 10001, and a volume's files become its group's. */}}
{{- define "signalq.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "signalq.containerBasics" -}}
image: {{ include "signalq.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop:
      - ALL
{{- end -}}

{{/* Where pods may go; call it with (list $ "consumer" .Values.consumer). */}}
{{- define "signalq.placement" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- with index . 2 -}}
topologySpreadConstraints:
  {{- range $key, $when := dict "topology.kubernetes.io/zone" .topologySpread.zones "kubernetes.io/hostname" .topologySpread.hosts }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $when }}
    labelSelector:
      matchLabels:
        {{- include "signalq.selector" (list $root $component) | nindent 8 }}
    # Pods of the old version and of the new one are spread apart from each other.
    matchLabelKeys:
      - pod-template-hash
  {{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The Secret of the broker's URL that notify uses. */}}
{{- define "signalq.notifyBrokerSecret" -}}
{{- with .Values.notify.brokerSecret }}{{ if .name }}{{ toJson . }}{{ else }}{{ toJson $.Values.broker.secret }}{{ end }}{{ end -}}
{{- end -}}

{{/* The Secret of the broker's URL that the gateway uses. */}}
{{- define "signalq.gatewayBrokerSecret" -}}
{{- with .Values.gateway.brokerSecret }}{{ if .name }}{{ toJson . }}{{ else }}{{ toJson $.Values.broker.secret }}{{ end }}{{ end -}}
{{- end -}}

{{/* The Secret of the broker's URL that the console uses in a pod of its own. */}}
{{- define "signalq.consoleBrokerSecret" -}}
{{- with .Values.console.brokerSecret }}{{ if .name }}{{ toJson . }}{{ else }}{{ toJson $.Values.broker.secret }}{{ end }}{{ end -}}
{{- end -}}

{{/* Whether the consumer serves the console: it does where people can sign in, and no pod of its own does. */}}
{{- define "signalq.consumerServesConsole" -}}
{{- if and .Values.ops.tokenSecret.name (not .Values.console.enabled) }}true{{ else }}false{{ end -}}
{{- end -}}

{{/* What people open, without a slash at its end; empty where nobody said it. */}}
{{- define "signalq.consoleUrl" -}}
{{- if .Values.settings.console.url -}}
{{ .Values.settings.console.url | trimSuffix "/" }}
{{- else if and .Values.console.enabled .Values.console.ingress.enabled -}}
https://{{ .Values.console.ingress.host }}
{{- end -}}
{{- end -}}
