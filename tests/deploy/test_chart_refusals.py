"""What the chart refuses, by both versions of Helm: wrong values, and relations that would lose or double an order."""

from __future__ import annotations

import pytest

from tests.support.chart import CHART, helm, template
from tests.support.tools import HELM

# The value file, what is set, and what is said, by both versions of Helm.
REFUSED = [
    ("sqlite", "consumer.replicas=2", "a ledger in a SQLite file is for one consumer: set ledger.kind to postgresql"),
    ("sqlite", "keda.enabled=true", "keda.enabled adds consumers, and a ledger in a SQLite file is for one"),
    ("sqlite", "image.tag=latest", "image.tag is latest: nobody could say what runs"),
    ("sqlite", "image.digest=sha256:1", "image.digest is sha256:1, and must be sha256: with 64"),
    ("sqlite", "image.repository=signalq:latest", "must be a name without a tag or a digest"),
    ("sqlite", "consumer.replica=2", "replica"),
    ("sqlite", "settings.delivery.atempts_max=2", "atempts_max"),
    ("sqlite", "settings.delivery.attempts_max=0", "attempts_max"),
    ("sqlite", "settings.connectors.main.token=abc", "token"),
    ("sqlite", "settings.connectors.main.tokenSecret.name=abc", "key"),
    ("sqlite", "settings.ops.token=abc", "ops"),
    ("sqlite", "settings.webhook.proxy=http://proxy:3128", "proxy"),
    ("sqlite", "consumer.resources.limits=null", "limits"),
    ("sqlite", "broker.secret.name=null", "broker.secret.name is empty: make a Secret"),
    ("sqlite", "networkPolicy.broker.to=null", "networkPolicy.broker.to is empty: say where RabbitMQ is"),
    (
        "sqlite",
        "consumer.terminationGracePeriodSeconds=39",
        "is 39, and must be at least settings.delivery.drain_timeout_s + 20 (40): else the pod is killed",
    ),
    (
        "sqlite",
        "settings.delivery.drain_timeout_s=13",
        "must be above webhook.connect_timeout_s + webhook.timeout_s (13)",
    ),
    ("postgresql", "ledger.secret.name=", "ledger.secret.name is empty: make a Secret"),
    ("postgresql", "networkPolicy.database.to=null", "networkPolicy.database.to is empty: say where PostgreSQL is"),
    ("gateway", "gateway.enabled=false", "both false: enable one"),
    ("gateway", "gateway.brokerSecret.name=", "are both empty: make a Secret"),
    ("gateway", "gateway.replicas=2", "gateway.repeatsStick: let a caller's repeats come to the same pod"),
    ("gateway", "gateway.autoscaling.enabled=true", "gateway.repeatsStick"),
    ("gateway", "gateway.ingress.enabled=true", "gateway.ingress needs a host and a tlsSecret"),
    ("everything", "gateway.autoscaling.minReplicas=9", "minReplicas is above maxReplicas"),
    ("everything", "networkPolicy.broker.to=null", "networkPolicy.broker.to is empty: say where RabbitMQ is"),
    (
        "everything",
        "networkPolicy.collector.to=null",
        "networkPolicy.collector.to is empty: say where the collector of",
    ),
    ("everything", "traces.endpoint=otel-collector:4317", "endpoint"),
    ("everything", "traces.ratio=10", "ratio"),
    ("gateway", "settings.connectors=null", "gateway.enabled needs settings.connectors"),
    ("notify", "notify.urlsSecret.name=", "notify.urlsSecret.name is empty: make a Secret that holds notify.urls"),
    ("gateway", "notify.enabled=true", "notify.enabled needs consumer.enabled"),
    ("notify", "settings.notify.every_s=0", "every_s"),
    ("notify", "settings.notify.urls=tgram://a/b", "urls"),
    (
        "notify",
        "console.enabled=true",
        "a ledger in a SQLite file is in the consumer's, which serves the console itself",
    ),
    ("gateway", "console.enabled=true", "console.enabled needs consumer.enabled"),
    ("console", "ops.tokenSecret.name=", "ops.tokenSecret.name is empty: make a Secret that holds ops.token, by which"),
    ("everything", "ops.tokenSecret.name=", "ops.viewTokenSecret needs ops.tokenSecret beside it"),
    ("console", "console.ingress.enabled=true", "console.ingress needs a host and a tlsSecret"),
    (
        "everything",
        "settings.console.url=https://other.example.com/",
        "settings.console.url is https://other.example.com, and console.ingress serves https://signalq.example.com",
    ),
    (
        "everything",
        "settings.console.url=http://signalq.example.com",
        "settings.console.url is http://signalq.example.com, and console.ingress serves https://signalq.example.com",
    ),
    ("everything", "settings.console.user_header=X-A", "settings.console.user_header needs settings.console.proxies"),
    ("everything", "settings.console.operators={bob}", "are names that settings.console.user_header brings"),
    ("everything", "settings.console.trace_url=https://a.example.com/", "settings.console.trace_url needs {trace_id}"),
    ("console", "settings.console.broker_url=amqps://a.example.com/", "broker_url"),
    ("console", "settings.console.port=8083", "port"),
    ("console", "networkPolicy.consoleFrom=null", "consoleFrom"),
    ("everything", "networkPolicy.metricsFrom=null", "metricsFrom"),
    ("everything", "keda.minReplicas=0", "minReplicas"),
    ("everything", "keda.minReplicas=9", "keda.minReplicas is above keda.maxReplicas"),
    ("everything", "keda.hostSecret.name=", "keda.hostSecret.name is empty: make a Secret"),
    (
        "everything",
        "settings.connectors.fast.ordering=strict,settings.connectors.wide.ordering=strict",
        "keda.enabled needs a connector with ordering none",
    ),
]


@pytest.mark.parametrize("version", HELM)
@pytest.mark.parametrize(("values", "given", "said"), REFUSED, ids=[f"{one[0]}-{one[1]}" for one in REFUSED])
def test_wrong_values_are_refused_with_what_is_wrong(version: str, values: str, given: str, said: str) -> None:
    ran = template(version, values, "--set", given)
    assert ran.returncode != 0
    assert said in ran.stderr
    assert ran.stdout == ""


def test_without_any_value_the_chart_says_what_to_make_first() -> None:
    ran = helm("4", "template", "desk", str(CHART))
    assert ran.returncode != 0
    assert "broker.secret.name is empty: make a Secret that holds broker.url, and name it" in ran.stderr
