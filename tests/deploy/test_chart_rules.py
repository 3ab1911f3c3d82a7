"""Each rule for the chart finds what it is for: it is shown a planted mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chart import rendered, the
from tests.support.chart_links import RULES, found
from tests.support.chart_rules import Manifests


def spec(manifests: Manifests, ending: str = "consumer", kind: str = "Deployment") -> Any:
    return the(manifests, kind, ending)["spec"]


def pod(manifests: Manifests, ending: str = "consumer") -> Any:
    return spec(manifests, ending)["template"]["spec"]


def container(manifests: Manifests, ending: str = "consumer") -> Any:
    return pod(manifests, ending)["containers"][0]


def trigger(manifests: Manifests) -> Any:
    return spec(manifests, "", "ScaledObject")["triggers"][0]["metadata"]


def policy(manifests: Manifests, ending: str = "consumer") -> Any:
    return spec(manifests, ending, "NetworkPolicy")


def job(manifests: Manifests) -> Any:
    return the(manifests, "Job")


def drop(manifests: Manifests, kind: str, ending: str = "") -> None:
    manifests.remove(the(manifests, kind, ending))


def variable(manifests: Manifests, name: str) -> Any:
    return next(one for one in container(manifests)["env"] if one["name"] == name)


Planted = tuple[str, str, Callable[[Manifests], object]]
PLANTED: list[Planted] = [
    ("everything", "runAsNonRoot", lambda m: pod(m)["securityContext"].pop("runAsNonRoot")),
    ("everything", "does not run as 10001", lambda m: pod(m)["securityContext"].update(runAsUser=1000)),
    ("everything", "mounts a service account's token", lambda m: pod(m).pop("automountServiceAccountToken")),
    ("everything", "no service account of its own", lambda m: pod(m, "gateway").pop("serviceAccountName")),
    ("everything", "a variable for every service", lambda m: pod(m).pop("enableServiceLinks")),
    ("everything", "can write to its root", lambda m: container(m)["securityContext"].pop("readOnlyRootFilesystem")),
    ("everything", "has no /tmp", lambda m: container(m)["volumeMounts"].pop(0)),
    ("everything", "does not say what it needs", lambda m: container(m)["resources"]["requests"].pop("cpu")),
    ("everything", "no limit of its memory", lambda m: container(m)["resources"]["limits"].pop("memory")),
    ("everything", "is throttled", lambda m: container(m)["resources"]["limits"].update(cpu="1")),
    ("everything", "which may be any", lambda m: container(m).update(image="host:5000/signalq")),
    ("everything", "which may be any", lambda m: container(m).update(image="signalq:latest")),
    ("everything", "startupProbe does not ask", lambda m: container(m).pop("startupProbe")),
    ("everything", "does not ask /healthz", lambda m: container(m)["livenessProbe"]["httpGet"].update(path="/readyz")),
    ("everything", "a port that is not there", lambda m: container(m)["readinessProbe"]["httpGet"].update(port="http")),
    ("everything", "s to start", lambda m: container(m)["startupProbe"].update(failureThreshold=3)),
    ("everything", "may drain for 25 s", lambda m: pod(m).update(terminationGracePeriodSeconds=30)),
    ("everything", "waits 0 s before it ends", lambda m: container(m, "gateway").pop("lifecycle")),
    ("everything", "not spread over topology", lambda m: pod(m)["topologySpreadConstraints"].pop()),
    ("everything", "not spread over kubernetes.io", lambda m: pod(m)["topologySpreadConstraints"].pop(0)),
    (
        "everything",
        "not spread over",
        lambda m: pod(m)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(x="y"),
    ),
    ("sqlite", "a file for a ledger", lambda m: spec(m).update(replicas=2)),
    ("sqlite", "a file for a ledger", lambda m: spec(m).update(strategy={"type": "RollingUpdate"})),
    ("sqlite", "a file for a ledger", lambda m: pod(m).update(volumes=[])),
    ("sqlite", "goes with the release", lambda m: the(m, "PersistentVolumeClaim")["metadata"].pop("annotations")),
    ("sqlite", "upgraded by a Job", lambda m: m.append(job(rendered("4", "postgresql")))),
    ("postgresql", "before another one has come", lambda m: spec(m)["strategy"].pop("rollingUpdate")),
    ("everything", "may run twice", lambda m: spec(m, "notify").update(replicas=2)),
    ("everything", "may run twice", lambda m: spec(m, "notify").update(strategy={"type": "RollingUpdate"})),
    ("everything", "-notify has no way to port 443", lambda m: policy(m, "notify")["egress"].pop()),
    ("postgresql", "has 0 disruption budgets", lambda m: drop(m, "PodDisruptionBudget")),
    ("sqlite", "has 1 disruption budgets", lambda m: m.append(the(rendered("4", "postgresql"), "PodDisruptionBudget"))),
    ("postgresql", "other than one pod", lambda m: spec(m, "", "PodDisruptionBudget").update(maxUnavailable=2)),
    ("postgresql", "upgraded by a Job", lambda m: drop(m, "Job")),
    (
        "postgresql",
        "not run before",
        lambda m: job(m)["metadata"]["annotations"].update({"helm.sh/hook": "post-upgrade"}),
    ),
    (
        "postgresql",
        "does something else",
        lambda m: job(m)["spec"]["template"]["spec"]["containers"][0].update(command=["x"]),
    ),
    ("postgresql", "for ever", lambda m: job(m)["spec"].pop("activeDeadlineSeconds")),
    (
        "postgresql",
        "settings of the release before",
        lambda m: job(m)["spec"]["template"]["spec"]["volumes"].append({"name": "s", "configMap": {"name": "x"}}),
    ),
    ("postgresql", "account of the release before", lambda m: drop(m, "ServiceAccount", "-ledger-upgrade")),
    (
        "postgresql",
        "networks of the release before",
        lambda m: the(m, "NetworkPolicy", "-ledger-upgrade")["metadata"].pop("annotations"),
    ),
    ("postgresql", "has 0 network policies", lambda m: policy(m)["podSelector"]["matchExpressions"][0]["values"].pop()),
    ("postgresql", "not for both ways", lambda m: policy(m).update(policyTypes=["Ingress"])),
    ("postgresql", "every pod of the namespace", lambda m: policy(m).update(podSelector={})),
    ("postgresql", "a rule is for everybody", lambda m: policy(m)["egress"][1].pop("to")),
    ("postgresql", "a rule is for everybody", lambda m: policy(m)["ingress"][0].update({"from": [{}]})),
    ("postgresql", "a rule is for all ports", lambda m: policy(m)["egress"][1].pop("ports")),
    ("postgresql", "every pod of the cluster", lambda m: policy(m)["egress"][1].update(to=[{"namespaceSelector": {}}])),
    ("postgresql", "lets in more or less than", lambda m: policy(m)["ingress"][0]["ports"].append({"port": 22})),
    ("postgresql", "keeps DNS out", lambda m: policy(m)["egress"].pop(0)),
    ("postgresql", "no way to port 5432", lambda m: policy(m)["egress"].pop(2)),
    ("postgresql", "private networks", lambda m: policy(m)["egress"][3]["to"][0]["ipBlock"].pop("except")),
    ("everything", "holds a secret", lambda m: m.append({"kind": "Secret", "metadata": {"name": "x"}})),
    (
        "everything",
        "shows a secret",
        lambda m: variable(m, "SIGNALQ_BROKER__URL_FILE").update(value="amqps://user:password@host/"),
    ),
    (
        "everything",
        "is never updated",
        lambda m: variable(m, "OTEL_SERVICE_NAME").update(valueFrom={"secretKeyRef": {"name": "x", "key": "y"}}),
    ),
    ("everything", "is never updated", lambda m: container(m)["volumeMounts"][1].update(subPath="signalq.toml")),
    ("everything", "may read broker", lambda m: pod(m)["volumes"][2]["secret"].pop("defaultMode")),
    ("everything", "more than a certificate", lambda m: pod(m)["volumes"][3]["secret"].pop("items")),
    ("everything", "not mounted read-only", lambda m: container(m)["volumeMounts"][2].pop("readOnly")),
    ("everything", "volumes and mounts differ", lambda m: pod(m)["volumes"].pop()),
    ("everything", "there is no ConfigMap", lambda m: pod(m)["volumes"][1]["configMap"].update(name="x")),
    ("everything", "there is no ServiceAccount", lambda m: pod(m).update(serviceAccountName="other")),
    ("everything", "leads nowhere", lambda m: spec(m, "-gateway", "Service")["ports"][0].update(targetPort="ops")),
    (
        "everything",
        "leads nowhere",
        lambda m: spec(m, "-gateway", "Service")["selector"].pop("app.kubernetes.io/component"),
    ),
    ("console", "leads nowhere", lambda m: spec(m, "-console", "Service")["ports"][0].update(targetPort="ops")),
    ("everything", "what is not there", lambda m: spec(m, "", "ScaledObject")["scaleTargetRef"].update(name="x")),
    ("everything", "both say how many", lambda m: spec(m).update(replicas=2)),
    (
        "everything",
        "its own pods alone",
        lambda m: spec(m)["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
    ),
    ("everything", "without TLS", lambda m: spec(m, "-gateway", "Ingress").pop("tls")),
    ("everything", "without TLS", lambda m: spec(m, "-console", "Ingress").pop("tls")),
    (
        "everything",
        "shows more than",
        lambda m: spec(m, "-gateway", "Ingress")["rules"][0]["http"]["paths"][0].update(path="/"),
    ),
    (
        "everything",
        "shows more than /",
        lambda m: spec(m, "-console", "Ingress")["rules"][0]["http"]["paths"][0].update(path="/console"),
    ),
    (
        "everything",
        "another host than people open",
        lambda m: spec(m, "-console", "Ingress")["rules"][0].update(host="orders.example.com"),
    ),
    ("sqlite", "without a token of a Secret", lambda m: variable(m, "SIGNALQ_OPS__CONSOLE").update(value="true")),
    (
        "sqlite",
        "without a token of a Secret",
        lambda m: container(m)["env"].remove(variable(m, "SIGNALQ_OPS__CONSOLE")),
    ),
    ("everything", "several consoles", lambda m: variable(m, "SIGNALQ_OPS__CONSOLE").update(value="true")),
    ("console", "pages that another one does not know", lambda m: spec(m, "-console").update(replicas=2)),
    ("console", "waits 0 s before it ends", lambda m: container(m, "-console").pop("lifecycle")),
    ("console", "startupProbe does not ask", lambda m: container(m, "-console").pop("startupProbe")),
    ("console", "lets in more or less than", lambda m: policy(m, "-console")["ingress"].clear()),
    ("console", "no way to port 5432", lambda m: policy(m, "-console")["egress"].pop(2)),
    ("everything", "does not find", lambda m: spec(m, "", "PodMonitor")["podMetricsEndpoints"].pop()),
    (
        "everything",
        "does not ask for /metrics",
        lambda m: spec(m, "", "PodMonitor")["podMetricsEndpoints"][0].pop("path"),
    ),
    ("everything", "has no alert", lambda m: spec(m, "", "PrometheusRule").update(groups=[])),
    ("everything", "to zero while delays wait", lambda m: spec(m, "", "ScaledObject").update(minReplicaCount=0)),
    ("everything", "to zero while delays wait", lambda m: spec(m, "", "ScaledObject").update(idleReplicaCount=0)),
    ("everything", "a maximum below", lambda m: spec(m, "", "ScaledObject").update(maxReplicaCount=1)),
    ("everything", "lanes without order, each once", lambda m: trigger(m).update(queueName="desk.orders.main")),
    ("everything", "lanes without order, each once", lambda m: spec(m, "", "ScaledObject")["triggers"].pop()),
    ("everything", "is no trigger", lambda m: spec(m, "", "ScaledObject")["triggers"][0].update(type="rabbit")),
    ("everything", "queueLength is no key", lambda m: trigger(m).update(queueLength="5")),
    ("everything", "protocol is not http", lambda m: trigger(m).update(protocol="amqp")),
    ("everything", "mode is not QueueLength", lambda m: trigger(m).pop("mode")),
    ("everything", "excludeUnacknowledged is not", lambda m: trigger(m).update(excludeUnacknowledged="true")),
    ("everything", "no number of messages", lambda m: trigger(m).update(value="0")),
    ("everything", "no TriggerAuthentication", lambda m: drop(m, "TriggerAuthentication")),
]


@pytest.mark.parametrize(("values", "said", "plant"), PLANTED, ids=[f"{one[0]}-{one[1]}" for one in PLANTED])
def test_a_planted_mistake_is_found(values: str, said: str, plant: Callable[[Manifests], object]) -> None:
    manifests = rendered("4", values)
    plant(manifests)
    assert [one for one in found(manifests) if said in one]


def test_every_rule_is_shown_to_find_something() -> None:
    caught = set()
    for values, said, plant in PLANTED:
        manifests = rendered("4", values)
        plant(manifests)
        caught |= {one.partition(":")[0] for one in found(manifests) if said in one}
    assert caught == set(RULES)
