{{/*
signalq.toml. A scalar or a list as JSON is the same in TOML; helm's toToml would write whole numbers as fractions. The
console's settings are in the environment of the pod that serves it: they go with a token that the other pods don't have.
*/}}
{{- define "signalq.toml" -}}
{{- range $section := list "broker" "webhook" "delivery" "ledger" "gateway" "notify" "traces" "log" }}
{{- with index $.Values.settings $section }}

[{{ $section }}]
{{- include "signalq.tomlTable" . }}
{{- end }}
{{- end }}
{{- range $section := list "connectors" "strategies" }}
{{- range $name, $table := index $.Values.settings $section }}

[{{ $section }}.{{ toJson $name }}]
{{- include "signalq.tomlTable" (omit $table "tokenSecret") -}}
{{- with $table.tokenSecret }}
token_file = {{ printf "%s/%s" (include "signalq.tokenFolder" .) .key | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "signalq.tomlTable" -}}
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "signalq.tokenFolder" -}}
/run/secrets/signalq/tokens/{{ .name }}
{{- end -}}

{{/* The names of the Secrets that hold tokens, each once, as a JSON list. */}}
{{- define "signalq.tokenSecrets" -}}
{{- $names := list }}
{{- range .Values.settings.connectors }}
{{- with .tokenSecret }}{{ $names = append $names .name }}{{ end }}
{{- end }}
{{- $names | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/*
What takes a restart when it changes: all sections of the file but connectors and strategies, and of a connector with a
lane of its own its name, lane, ordering and concurrency. The rest is read again while it runs.
*/}}
{{- define "signalq.needsRestart" -}}
{{- $lanes := dict }}
{{- range $name, $connector := .Values.settings.connectors }}
{{- if ne (default "own" $connector.lane) "shared" }}
{{- $_ := set $lanes $name (pick $connector "ordering" "concurrency") }}
{{- end }}
{{- end }}
{{- dict "settings" (omit .Values.settings "connectors" "strategies" "console") "lanes" $lanes | toJson | sha256sum -}}
{{- end -}}

{{/* The seconds that the webhook and the drain may take, from the settings or signalq's defaults. */}}
{{- define "signalq.drainSeconds" -}}
{{- dig "delivery" "drain_timeout_s" 20 .Values.settings | float64 | ceil -}}
{{- end -}}

{{/* delivery.drain_timeout_s, and what docs/operate/running.md asks for beyond it. */}}
{{- define "signalq.graceSeconds" -}}
{{- add (include "signalq.drainSeconds" .) 20 -}}
{{- end -}}

{{/* Environment and volumes by which a container finds what the chart has for it. */}}
{{- define "signalq.consumerEnv" -}}
{{ include "signalq.commonEnv" . }}
- name: SIGNALQ_OPS__HOST
  value: {{ .Values.listenHost | quote }}
- name: SIGNALQ_OPS__PORT
  value: "8080"
- name: SIGNALQ_OPS__CONSOLE
  value: {{ include "signalq.consumerServesConsole" . | quote }}
{{- if not .Values.ops.tokenSecret.name }}
# To listen beyond loopback takes a token, and without a console nothing asks for it: one that nobody has to make.
- name: SIGNALQ_OPS__TOKEN
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- end }}
{{- if include "signalq.consumerHasConsoleBroker" . }}
- name: SIGNALQ_CONSOLE__BROKER_URL_FILE
  value: /run/secrets/signalq/console-broker/url
{{- end }}
{{- if eq (include "signalq.consumerServesConsole" .) "true" }}
{{- include "signalq.consoleSettings" . }}
{{- end }}
{{- end -}}

{{- define "signalq.consoleEnv" -}}
{{ include "signalq.commonEnv" . }}
- name: SIGNALQ_CONSOLE__HOST
  value: {{ .Values.listenHost | quote }}
- name: SIGNALQ_CONSOLE__PORT
  value: "8082"
{{- include "signalq.consoleSettings" . }}
{{- end -}}

{{/* All of settings.console but the URL, which every pod beside the console knows, too. Lists are JSON there. */}}
{{- define "signalq.consoleSettings" -}}
{{- range $key, $value := omit .Values.settings.console "url" }}
{{- if not (kindIs "invalid" $value) }}
- name: SIGNALQ_CONSOLE__{{ upper $key }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Of the consumer and the console, which look at the same things. */}}
{{- define "signalq.commonEnv" -}}
- name: SIGNALQ_CONFIG
  value: /etc/signalq/signalq.toml
- name: SIGNALQ_BROKER__URL_FILE
  value: /run/secrets/signalq/broker/url
{{ include "signalq.ledgerEnv" . }}
{{- if .Values.webhook.proxySecret.name }}
- name: SIGNALQ_WEBHOOK__PROXY_FILE
  value: /run/secrets/signalq/webhook-proxy/url
{{- end }}
{{- if .Values.ops.tokenSecret.name }}
- name: SIGNALQ_OPS__TOKEN_FILE
  value: /run/secrets/signalq/ops/token
{{- end }}
{{- if .Values.ops.viewTokenSecret.name }}
- name: SIGNALQ_OPS__VIEW_TOKEN_FILE
  value: /run/secrets/signalq/ops-view/token
{{- end }}
{{- with include "signalq.consoleUrl" . }}
- name: SIGNALQ_CONSOLE__URL
  value: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Whether the consumer has the console's own RabbitMQ user, beside its own; empty where not. */}}
{{- define "signalq.consumerHasConsoleBroker" -}}
{{- if and (eq (include "signalq.consumerServesConsole" .) "true") .Values.console.brokerSecret.name }}true{{ end -}}
{{- end -}}

{{/* What switches traces on, in the standard's own variables. */}}
{{- define "signalq.tracesEnv" -}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.traces.endpoint | quote }}
{{- if not (kindIs "invalid" .Values.traces.ratio) }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.traces.ratio | quote }}
{{- end }}
{{- end -}}

{{- define "signalq.ledgerEnv" -}}
{{- if eq .Values.ledger.kind "sqlite" -}}
- name: SIGNALQ_LEDGER__URL
  value: sqlite+aiosqlite:////var/lib/signalq/signalq.db
{{- else -}}
- name: SIGNALQ_LEDGER__URL_FILE
  value: /run/secrets/signalq/ledger/url
{{- if .Values.ledger.caSecret }}
# asyncpg takes it from here.
- name: PGSSLROOTCERT
  value: /run/secrets/signalq/ledger-ca/ca.crt
{{- end }}
{{- end -}}
{{- end -}}

{{- define "signalq.consumerMounts" -}}
{{ include "signalq.commonMounts" . }}
{{- if include "signalq.consumerHasConsoleBroker" . }}
- name: console-broker
  mountPath: /run/secrets/signalq/console-broker
  readOnly: true
{{- end }}
{{- end -}}

{{- define "signalq.consumerVolumes" -}}
{{ include "signalq.commonVolumes" (list . .Values.broker.secret) }}
{{- if include "signalq.consumerHasConsoleBroker" . }}
{{ include "signalq.secretVolume" (list "console-broker" .Values.console.brokerSecret "url") }}
{{- end }}
{{- end -}}

{{- define "signalq.commonMounts" -}}
{{ include "signalq.settingsMounts" . }}
{{ include "signalq.ledgerMounts" . }}
{{- if .Values.webhook.proxySecret.name }}
- name: webhook-proxy
  mountPath: /run/secrets/signalq/webhook-proxy
  readOnly: true
{{- end }}
{{- if .Values.ops.tokenSecret.name }}
- name: ops-token
  mountPath: /run/secrets/signalq/ops
  readOnly: true
{{- end }}
{{- if .Values.ops.viewTokenSecret.name }}
- name: ops-view-token
  mountPath: /run/secrets/signalq/ops-view
  readOnly: true
{{- end }}
{{- end -}}

{{/* Call it with (list $ brokerSecret). */}}
{{- define "signalq.commonVolumes" -}}
{{- $root := index . 0 -}}
{{ include "signalq.settingsVolumes" . }}
{{ include "signalq.ledgerVolumes" $root }}
{{- if $root.Values.webhook.proxySecret.name }}
{{ include "signalq.secretVolume" (list "webhook-proxy" $root.Values.webhook.proxySecret "url") }}
{{- end }}
{{- if $root.Values.ops.tokenSecret.name }}
{{ include "signalq.secretVolume" (list "ops-token" $root.Values.ops.tokenSecret "token") }}
{{- end }}
{{- if $root.Values.ops.viewTokenSecret.name }}
{{ include "signalq.secretVolume" (list "ops-view-token" $root.Values.ops.viewTokenSecret "token") }}
{{- end }}
{{- end -}}

{{/* One key of a Secret as a file; call it with (list volume secret file). */}}
{{- define "signalq.secretVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ (index . 1).name }}
    defaultMode: 0440
    items:
      - key: {{ (index . 1).key }}
        path: {{ index . 2 }}
{{- end -}}

{{/* Shared by consumer and gateway. Nothing is a subPath: those are never updated. */}}
{{- define "signalq.settingsMounts" -}}
- name: tmp
  mountPath: /tmp
- name: settings
  mountPath: /etc/signalq
  readOnly: true
- name: broker
  mountPath: /run/secrets/signalq/broker
  readOnly: true
{{- if .Values.broker.caSecret }}
- name: broker-ca
  mountPath: /run/secrets/signalq/broker-ca
  readOnly: true
{{- end }}
{{- range $name := include "signalq.tokenSecrets" . | fromJsonArray }}
- name: {{ printf "tokens-%s" (sha256sum $name | trunc 8) }}
  mountPath: {{ include "signalq.tokenFolder" (dict "name" $name) }}
  readOnly: true
{{- end }}
{{- end -}}

{{/* Call it with (list $ brokerSecret). */}}
{{- define "signalq.settingsVolumes" -}}
{{- $root := index . 0 -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
- name: settings
  configMap:
    name: {{ include "signalq.fullname" $root }}
- name: broker
  secret:
    secretName: {{ (index . 1).name }}
    defaultMode: 0440
    items:
      - key: {{ (index . 1).key }}
        path: url
{{- with $root.Values.broker.caSecret }}
# The authority's certificate alone: a Secret of cert-manager has a server's key beside it.
- name: broker-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- range $name := include "signalq.tokenSecrets" $root | fromJsonArray }}
# All of its keys, so that a connector can be added without a restart.
- name: {{ printf "tokens-%s" (sha256sum $name | trunc 8) }}
  secret:
    secretName: {{ $name }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "signalq.ledgerMounts" -}}
{{- if eq .Values.ledger.kind "sqlite" -}}
- name: ledger
  mountPath: /var/lib/signalq
{{- else -}}
- name: ledger
  mountPath: /run/secrets/signalq/ledger
  readOnly: true
{{- if .Values.ledger.caSecret }}
- name: ledger-ca
  mountPath: /run/secrets/signalq/ledger-ca
  readOnly: true
{{- end }}
{{- end -}}
{{- end -}}

{{- define "signalq.ledgerVolumes" -}}
{{- if eq .Values.ledger.kind "sqlite" -}}
- name: ledger
  persistentVolumeClaim:
    claimName: {{ .Values.ledger.volume.existingClaim | default (printf "%s-ledger" (include "signalq.fullname" .)) }}
{{- else -}}
- name: ledger
  secret:
    secretName: {{ .Values.ledger.secret.name }}
    defaultMode: 0440
    items:
      - key: {{ .Values.ledger.secret.key }}
        path: url
{{- with .Values.ledger.caSecret }}
- name: ledger-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end -}}
{{- end -}}
