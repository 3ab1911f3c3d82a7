{{/* What a schema can't say: relations between values, and names that have to be given. Each failure is one sentence. */}}
{{- define "signalq.check" -}}
{{- if not (or .Values.consumer.enabled .Values.gateway.enabled) -}}
{{- fail "consumer.enabled and gateway.enabled are both false: enable one" -}}
{{- end -}}
{{- if and .Values.consumer.enabled (not .Values.broker.secret.name) -}}
{{- fail "broker.secret.name is empty: make a Secret that holds broker.url, and name it" -}}
{{- end -}}
{{- if .Values.consumer.enabled -}}{{- include "signalq.checkConsumer" . -}}{{- end -}}
{{- if .Values.gateway.enabled -}}{{- include "signalq.checkGateway" . -}}{{- end -}}
{{- if .Values.keda.enabled -}}{{- include "signalq.checkKeda" . -}}{{- end -}}
{{- end -}}

{{- define "signalq.checkConsumer" -}}
{{- if not .Values.ops.tokenSecret.name -}}
{{- fail "ops.tokenSecret.name is empty: make a Secret that holds ops.token, and name it; the consumer listens beyond loopback only with one" -}}
{{- end -}}
{{- $grace := .Values.consumer.terminationGracePeriodSeconds -}}
{{- $least := include "signalq.graceSeconds" . | int -}}
{{- if and (not (kindIs "invalid" $grace)) (lt (int $grace) $least) -}}
{{- fail (printf "consumer.terminationGracePeriodSeconds is %d, and must be at least settings.delivery.drain_timeout_s + 20 (%d): else the pod is killed while it drains" (int $grace) $least) -}}
{{- end -}}
{{- $slowest := addf (dig "webhook" "connect_timeout_s" 3 .Values.settings) (dig "webhook" "timeout_s" 10 .Values.settings) -}}
{{- if le (dig "delivery" "drain_timeout_s" 20 .Values.settings | float64) $slowest -}}
{{- fail (printf "settings.delivery.drain_timeout_s must be above webhook.connect_timeout_s + webhook.timeout_s (%v)" $slowest) -}}
{{- end -}}
{{- if eq .Values.ledger.kind "postgresql" -}}
{{- if not .Values.ledger.secret.name -}}
{{- fail "ledger.secret.name is empty: make a Secret that holds ledger.url, and name it" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.database.to) -}}
{{- fail "networkPolicy.database.to is empty: say where PostgreSQL is, as peers of a NetworkPolicy, or set networkPolicy.enabled to false" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalq.checkGateway" -}}
{{- if not (include "signalq.gatewayBrokerSecret" . | fromJson).name -}}
{{- fail "gateway.brokerSecret.name and broker.secret.name are both empty: make a Secret that holds broker.url, and name it" -}}
{{- end -}}
{{- if and (or (gt (int .Values.gateway.replicas) 1) .Values.gateway.autoscaling.enabled) (not .Values.gateway.repeatsStick) -}}
{{- fail "more than one gateway takes gateway.repeatsStick: let a caller's repeats come to the same pod, then set it to true (docs/kubernetes.md#the-gateway)" -}}
{{- end -}}
{{- with .Values.gateway.ingress -}}
{{- if and .enabled (or (not .host) (not .tlsSecret)) -}}
{{- fail "gateway.ingress needs a host and a tlsSecret: bodies carry tokens" -}}
{{- end -}}
{{- end -}}
{{- with .Values.gateway.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail "gateway.autoscaling.minReplicas is above maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalq.checkKeda" -}}
{{- if not .Values.keda.hostSecret.name -}}
{{- fail "keda.hostSecret.name is empty: make a Secret that holds the URL of RabbitMQ's HTTP API, and name it" -}}
{{- end -}}
{{- if not (include "signalq.unorderedLanes" . | fromJsonArray) -}}
{{- fail "keda.enabled needs a connector with ordering none: a lane with order has one consumer, however many there are" -}}
{{- end -}}
{{- if gt (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas) -}}
{{- fail "keda.minReplicas is above keda.maxReplicas" -}}
{{- end -}}
{{- end -}}

{{/* The connectors whose lanes have no order, as a JSON list. */}}
{{- define "signalq.unorderedLanes" -}}
{{- $names := list -}}
{{- range $name, $connector := .Values.settings.connectors -}}
{{- if eq (default "strict" $connector.ordering) "none" -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
