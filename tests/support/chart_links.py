"""What the chart promises of what lies around its pods: networks, secrets, references, monitors, scaling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from tests.support.chart import of_kind, settings_of
from tests.support.chart_rules import ALONE, POD_RULES, Manifests, Rule, deployments, labels_of, pods, selects
from tests.support.manifests import Manifest, name_of

SECRET_MODE = 0o440
# Where something may come in, by the end of the policy's name. Into notify and the ledger's upgrade nothing comes.
PORTS_IN = {
    "-consumer": {8080},
    "-gateway": {8081},
    "-console": {8082},
    "-notify": set[int](),
    "-ledger-upgrade": set[int](),
}
WEBHOOK_PATH = "/trading-signal/webhook"
# A URL with a password, or a key that only a secret has.
SECRET = re.compile(
    r"[a-z+]+://[^\s/:@]+:[^\s/@]+@|^\s*(token|url|password|path_secret)\s*=\s*\"(amqp|postgresql|[A-Za-z0-9]{16})"
)
# https://keda.sh/docs/latest/scalers/rabbitmq-queue/: the schema of a ScaledObject takes any key here, and KEDA ignores
# one that it doesn't know.
KEDA_KEYS = {"protocol", "mode", "queueName", "value", "excludeUnacknowledged", "vhostName"}


def networks(manifests: Manifests) -> Iterator[str]:
    """Each pod has one policy, both ways, and whatever passes has a port and a named peer."""
    policies = of_kind(manifests, "NetworkPolicy")
    for one in of_kind(manifests, "Deployment", "Job", "Pod") if policies else []:
        mine = [each for each in policies if selects(each["spec"]["podSelector"], labels_of(one))]
        if len(mine) != 1:
            yield f"{name_of(one)} has {len(mine)} network policies"
    for policy in policies:
        spec, name = policy["spec"], name_of(policy)
        if spec["policyTypes"] != ["Ingress", "Egress"]:
            yield f"{name} is not for both ways"
        if not spec["podSelector"]:
            yield f"{name} is for every pod of the namespace"
        yield from (f"{name}: {said}" for said in _open_rules(spec.get("ingress", []), "from"))
        yield from (f"{name}: {said}" for said in _open_rules(spec.get("egress", []), "to"))
        own = next((ports for ending, ports in PORTS_IN.items() if name.endswith(ending)), set())
        if {port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])} != own:
            yield f"{name} lets in more or less than {own}"
        if not [rule for rule in spec.get("egress", []) if {"protocol": "UDP", "port": 53} in rule.get("ports", [])]:
            yield f"{name} keeps DNS out"
    yield from _egress_of_the_consumer(manifests)


def _open_rules(rules: list[Manifest], side: str) -> Iterator[str]:
    for rule in rules:
        if not rule.get(side) or {} in rule[side]:
            yield f"a rule is for everybody: {rule}"
        if not rule.get("ports") or any("port" not in port for port in rule["ports"]):
            yield f"a rule is for all ports: {rule}"
        if any(peer == {"namespaceSelector": {}} for peer in rule.get(side) or []):
            yield f"a rule is for every pod of the cluster: {rule}"


def _egress_of_the_consumer(manifests: Manifests) -> Iterator[str]:
    for policy in of_kind(manifests, "NetworkPolicy"):
        ports = {port["port"] for rule in policy["spec"].get("egress", []) for port in rule.get("ports", [])}
        has_server = bool(of_kind(manifests, "Job"))
        if name_of(policy).endswith(("-consumer", "-console", "-notify")):
            lacking = {53, 5671, 443} | ({5432} if has_server else set())
            yield from (f"{name_of(policy)} has no way to port {port}" for port in sorted(lacking - ports))
        # Webhooks are on the internet: nothing inside may be reached by that way, the cloud's metadata least of all.
        for peer in [peer for rule in policy["spec"].get("egress", []) for peer in rule.get("to", [])]:
            block = peer.get("ipBlock", {})
            if block.get("cidr") == "0.0.0.0/0" and not {"10.0.0.0/8", "169.254.0.0/16"} <= set(
                block.get("except", [])
            ):
                yield f"{name_of(policy)} lets pods reach private networks"


def secrets(manifests: Manifests) -> Iterator[str]:
    """No secret is in what the chart makes."""
    for one in manifests:
        if one["kind"] == "Secret":
            yield f"{name_of(one)} holds a secret"
        if any(SECRET.search(line) for text in _texts(one) for line in text.splitlines()):
            yield f"{name_of(one)} shows a secret"


def secret_files(manifests: Manifests) -> Iterator[str]:
    """Secrets and settings are files that the pod's group alone may read, and mounted so that they can change."""
    for name, pod in pods(manifests):
        for volume in pod["volumes"]:
            secret = volume.get("secret", {})
            if secret and secret.get("defaultMode") != SECRET_MODE:
                yield f"{name}: others than the pod's group may read {volume['name']}"
            if volume["name"].endswith("-ca") and [item["key"] for item in secret.get("items", [])] != ["ca.crt"]:
                yield f"{name}: {volume['name']} is more than a certificate"
        changing = {one["name"] for one in pod["volumes"] if one.keys() & {"secret", "configMap"}}
        for container in pod["containers"]:
            # What a pod knows of itself, such as its UID, does not change.
            others = [one for one in container["env"] if one.get("valueFrom", {}).keys() - {"fieldRef"}]
            yield from (f"{name}: {one['name']} is never updated" for one in others)
            for mount in container["volumeMounts"]:
                if "subPath" in mount:
                    yield f"{name}: {mount['mountPath']} is never updated"
                if mount["name"] in changing and mount.get("readOnly") is not True:
                    yield f"{name}: {mount['mountPath']} is not mounted read-only"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def volumes(manifests: Manifests) -> Iterator[str]:
    """Whatever a pod names is there, and nothing is there unused: volumes, the ConfigMap, the account."""
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    accounts = {name for kind, name in there if kind == "ServiceAccount"}
    for name, pod in pods(manifests):
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        unlike = {volume["name"] for volume in pod["volumes"]} ^ mounted
        if unlike:
            yield f"{name}: volumes and mounts differ in {sorted(unlike)}"
        for volume in pod["volumes"]:
            if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in there:
                yield f"{name}: there is no ConfigMap {volume['configMap']['name']}"
        account = pod.get("serviceAccountName")
        if accounts and account not in accounts:
            yield f"{name}: there is no ServiceAccount {account}"


def targets(manifests: Manifests) -> Iterator[str]:
    """Services, scalers and selectors lead to the pods that they are for, and to no others."""
    workloads = of_kind(manifests, "Deployment")
    for service in of_kind(manifests, "Service"):
        served = [one for one in workloads if service["spec"]["selector"].items() <= labels_of(one).items()]
        containers = [one["spec"]["template"]["spec"]["containers"][0] for one in served]
        named = {port["name"] for container in containers for port in container.get("ports", [])}
        if len(served) != 1 or not {port["targetPort"] for port in service["spec"]["ports"]} <= named:
            yield f"{name_of(service)} leads nowhere"
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        scaled = [one for one in workloads if one["metadata"]["name"] == target]
        if not scaled:
            yield f"{name_of(scaler)} scales what is not there"
        elif "replicas" in scaled[0]["spec"]:
            yield f"{name_of(scaler)} and {target} both say how many"
    for one in workloads:
        if [other for other in workloads if selects(one["spec"]["selector"], labels_of(other))] != [one]:
            yield f"{name_of(one)} does not select its own pods alone"


def ingresses(manifests: Manifests) -> Iterator[str]:
    """From outside, by TLS alone: to the one path that takes orders, and to the console as people open it."""
    for ingress in of_kind(manifests, "Ingress"):
        spec = ingress["spec"]
        secured = {host for tls in spec.get("tls", []) if tls.get("secretName") for host in tls["hosts"]}
        of_console = name_of(ingress).endswith("-console")
        wanted = console_url(manifests).path.rstrip("/") or "/" if of_console else WEBHOOK_PATH
        for rule in spec["rules"]:
            if rule.get("host") not in secured:
                yield f"{name_of(ingress)} takes orders without TLS"
            if of_console and rule.get("host") != console_url(manifests).hostname:
                yield f"{name_of(ingress)} serves another host than people open"
            if [path["path"] for path in rule["http"]["paths"]] != [wanted]:
                yield f"{name_of(ingress)} shows more than {wanted}"


def console_url(manifests: Manifests) -> SplitResult:
    """The URL that people open, as the console's pod knows it."""
    said = [
        one["value"]
        for _, _, _, container in deployments(manifests)
        for one in container["env"]
        if (container["name"], one["name"]) == ("console", "SIGNALQ_CONSOLE__URL")
    ]
    return urlsplit(said[0] if said else "")


def consoles(manifests: Manifests) -> Iterator[str]:
    """A release has one console at most, and its token is a person's, not one that others may read."""
    serving = []
    for name, _, _, container in deployments(manifests):
        variables = {one["name"]: one.get("value") for one in container["env"]}
        in_consumer = container["name"] == "consumer" and variables.get("SIGNALQ_OPS__CONSOLE") != "false"
        if not in_consumer and container["name"] != "console":
            continue
        serving.append(name)
        if "SIGNALQ_OPS__TOKEN_FILE" not in variables:
            yield f"{name} serves a console without a token of a Secret"
    if len(serving) > 1:
        yield f"there are several consoles: {', '.join(serving)}"


def monitors(manifests: Manifests) -> Iterator[str]:
    """Prometheus finds each Deployment's port, and the rules are there."""
    for monitor in of_kind(manifests, "PodMonitor"):
        asked = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        for name, one, _, container in deployments(manifests):
            if container["name"] in ALONE:
                continue
            if not selects(monitor["spec"]["selector"], labels_of(one)) or container["ports"][0]["name"] not in asked:
                yield f"{name_of(monitor)} does not find {name}"
        if any(endpoint.get("path") != "/metrics" for endpoint in monitor["spec"]["podMetricsEndpoints"]):
            yield f"{name_of(monitor)} does not ask for /metrics"
    for rules in of_kind(manifests, "PrometheusRule"):
        if not [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]:
            yield f"{name_of(rules)} has no alert"


def scaling(manifests: Manifests) -> Iterator[str]:
    """KEDA counts what waits and what is unacknowledged in each lane without order, and never scales to nothing."""
    settings = settings_of(manifests)
    prefix = settings.get("broker", {}).get("prefix", "signalq")
    lanes = {
        f"{prefix}.orders.{name}"
        for name, one in settings.get("connectors", {}).items()
        if one.get("ordering") == "none"
    }
    for scaled in of_kind(manifests, "ScaledObject"):
        spec, name = scaled["spec"], name_of(scaled)
        if spec.get("minReplicaCount", 0) < 1 or "idleReplicaCount" in spec:
            yield f"{name} scales to zero while delays wait"
        if spec.get("maxReplicaCount", 100) < spec.get("minReplicaCount", 0):
            yield f"{name} has a maximum below its minimum"
        if sorted(trigger["metadata"].get("queueName", "") for trigger in spec["triggers"]) != sorted(lanes):
            yield f"{name} does not look at the lanes without order, each once"
        for trigger in spec["triggers"]:
            yield from (f"{name}: {said}" for said in _trigger(trigger, manifests))


def _trigger(trigger: dict[str, Any], manifests: Manifests) -> Iterator[str]:
    metadata = trigger["metadata"]
    if trigger["type"] != "rabbitmq":
        yield f"{trigger['type']} is no trigger for a queue"
    yield from (f"{key} is no key of the rabbitmq trigger" for key in sorted(metadata.keys() - KEDA_KEYS))
    wanted = {"protocol": "http", "mode": "QueueLength", "excludeUnacknowledged": "false"}
    yield from (f"{key} is not {value}" for key, value in wanted.items() if metadata.get(key) != value)
    if not str(metadata.get("value", "")).isdecimal() or int(metadata["value"]) < 1:
        yield "value is no number of messages"
    names = {one["metadata"]["name"] for one in of_kind(manifests, "TriggerAuthentication")}
    if trigger.get("authenticationRef", {}).get("name") not in names:
        yield "it has no TriggerAuthentication"


LINK_RULES: tuple[Rule, ...] = (
    networks,
    secrets,
    secret_files,
    volumes,
    targets,
    ingresses,
    consoles,
    monitors,
    scaling,
)
RULES: dict[str, Rule] = {rule.__name__: rule for rule in (*POD_RULES, *LINK_RULES)}


def found(manifests: Manifests) -> list[str]:
    """What every rule of ours finds in a render, the rule's name before it."""
    return [f"{name}: {said}" for name, rule in RULES.items() for said in rule(manifests)]
