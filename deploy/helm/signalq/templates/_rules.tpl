{{/* What a schema can't say: relations between values, and names that have to be given. Each failure is one sentence. */}}
{{- define "signalq.check" -}}
{{- include "signalq.checkImage" . -}}
{{- if not (or .Values.consumer.enabled .Values.gateway.enabled) -}}
{{- fail "consumer.enabled and gateway.enabled are both false: enable one" -}}
{{- end -}}
{{- if and .Values.consumer.enabled (not .Values.broker.secret.name) -}}
{{- fail "broker.secret.name is empty: make a Secret that holds broker.url, and name it" -}}
{{- end -}}
{{- if .Values.consumer.enabled -}}{{- include "signalq.checkConsumer" . -}}{{- end -}}
{{- if .Values.gateway.enabled -}}{{- include "signalq.checkGateway" . -}}{{- end -}}
{{- include "signalq.checkConsole" . -}}
{{- if .Values.notify.enabled -}}{{- include "signalq.checkNotify" . -}}{{- end -}}
{{- if .Values.keda.enabled -}}{{- include "signalq.checkKeda" . -}}{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.broker.to) -}}
{{- fail "networkPolicy.broker.to is empty: say where RabbitMQ is, as peers of a NetworkPolicy (values.yaml has two examples), or set networkPolicy.enabled to false; nothing would reach it" -}}
{{- end -}}
{{- if and .Values.traces.endpoint .Values.networkPolicy.enabled (not .Values.networkPolicy.collector.to) -}}
{{- fail "networkPolicy.collector.to is empty: say where the collector of traces.endpoint is, as peers of a NetworkPolicy, or set networkPolicy.enabled to false; no span would reach it" -}}
{{- end -}}
{{- end -}}

{{- define "signalq.checkImage" -}}
{{- with .Values.image -}}
{{- if not (regexMatch "^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]+$" .repository) -}}
{{- fail (printf "image.repository is %s, and must be a name without a tag or a digest: those are image.tag and image.digest" .repository) -}}
{{- end -}}
{{- if eq .tag "latest" -}}
{{- fail "image.tag is latest: nobody could say what runs, or go back to it; name a version, or set image.digest" -}}
{{- end -}}
{{- if and .digest (not (regexMatch "^sha256:[0-9a-f]{64}$" .digest)) -}}
{{- fail (printf "image.digest is %s, and must be sha256: with 64 hexadecimal digits, as `docker push` prints it" .digest) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalq.checkConsumer" -}}
{{- if and (eq .Values.ledger.kind "sqlite") (ne (int .Values.consumer.replicas) 1) -}}
{{- fail (printf "consumer.replicas is %d, and a ledger in a SQLite file is for one consumer: set ledger.kind to postgresql" (int .Values.consumer.replicas)) -}}
{{- end -}}
{{- if and (eq .Values.ledger.kind "sqlite") .Values.keda.enabled -}}
{{- fail "keda.enabled adds consumers, and a ledger in a SQLite file is for one: set ledger.kind to postgresql" -}}
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
{{- if and (not .Values.settings.connectors) (ne (default "named" .Values.settings.gateway.connectors) "any") -}}
{{- fail "gateway.enabled needs settings.connectors: the gateway takes orders for named connectors alone; name them with their tokens, or set settings.gateway.connectors to any" -}}
{{- end -}}
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

{{- define "signalq.checkConsole" -}}
{{- if and .Values.ops.viewTokenSecret.name (not .Values.ops.tokenSecret.name) -}}
{{- fail "ops.viewTokenSecret needs ops.tokenSecret beside it: without ops.token there is no console" -}}
{{- end -}}
{{- with .Values.settings.console -}}
{{- if and .user_header (not .proxies) -}}
{{- fail "settings.console.user_header needs settings.console.proxies: anybody could send that header" -}}
{{- end -}}
{{- if and .operators (not .user_header) -}}
{{- fail "settings.console.operators are names that settings.console.user_header brings: set it" -}}
{{- end -}}
{{- if and .trace_url (not (contains "{trace_id}" .trace_url)) -}}
{{- fail "settings.console.trace_url needs {trace_id} in the place of the id" -}}
{{- end -}}
{{- end -}}
{{- if .Values.console.enabled -}}{{- include "signalq.checkConsolePod" . -}}{{- end -}}
{{- end -}}

{{- define "signalq.checkConsolePod" -}}
{{- if not .Values.consumer.enabled -}}
{{- fail "console.enabled needs consumer.enabled: it reads the ledger of the release's consumer" -}}
{{- end -}}
{{- if eq .Values.ledger.kind "sqlite" -}}
{{- fail "console.enabled makes a pod of its own, and a ledger in a SQLite file is in the consumer's, which serves the console itself: set console.enabled to false (docs/kubernetes.md#the-console says how to open it), or ledger.kind to postgresql" -}}
{{- end -}}
{{- if not .Values.ops.tokenSecret.name -}}
{{- fail "ops.tokenSecret.name is empty: make a Secret that holds ops.token, by which people sign in to the console, and name it" -}}
{{- end -}}
{{- with .Values.console.ingress -}}
{{- if and .enabled (or (not .host) (not .tlsSecret)) -}}
{{- fail "console.ingress needs a host and a tlsSecret: people send the token" -}}
{{- end -}}
{{- $url := include "signalq.consoleUrl" $ -}}
{{- if and .enabled (ne $url (printf "https://%s" .host)) (not (hasPrefix (printf "https://%s/" .host) $url)) -}}
{{- fail (printf "settings.console.url is %s, and console.ingress serves https://%s: let both say what people open" $url .host) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "signalq.checkNotify" -}}
{{- if not .Values.consumer.enabled -}}
{{- fail "notify.enabled needs consumer.enabled: it reads the ledger of the release's consumer" -}}
{{- end -}}
{{- if not .Values.notify.urlsSecret.name -}}
{{- fail "notify.urlsSecret.name is empty: make a Secret that holds notify.urls, one a line, and name it" -}}
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
