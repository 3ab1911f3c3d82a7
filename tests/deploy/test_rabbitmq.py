"""deploy/kubernetes/rabbitmq without a cluster: schemas, and what we want of a broker that money depends on.

The rights are tried on a real broker in tests/integration/sdk/test_permissions.py.
"""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from signalq.ops.commands.topology import CLUSTER, VHOST
from tests.support.definitions import definitions
from tests.support.manifests import Manifest, documents, problems
from tests.support.site import FOLDER, manifests
from tests.support.tools import KUBECTL, tool
from tests.unit.docs.test_docs import anchors

NAMESPACE = "signalq"
CONSUMER, OPERATOR = "signalq-consumer", "signalq-operator"
STAMP = "message_interceptors.incoming.set_header_timestamp.overwrite = false"


def rendered(version: str) -> list[Manifest]:
    """What `kubectl apply -k` of this version would send."""
    command = [tool(KUBECTL[version]), "kustomize", str(FOLDER)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert ran.returncode == 0, ran.stderr
    return documents(ran.stdout)


@cache
def newest() -> tuple[Manifest, ...]:
    return tuple(rendered("1.37"))


def apart() -> list[Manifest]:
    """What is applied by itself, for those who have its operator."""
    return [
        one for file in ("certificates.yaml", "monitor.yaml") for one in documents((FOLDER / file).read_text("utf-8"))
    ]


def findings(resources: list[Manifest]) -> Iterator[str]:
    """What we would not have, as sentences."""
    (cluster,) = of_kind(resources, "RabbitmqCluster")
    yield from cluster_findings(cluster["spec"])
    yield from placement_findings(cluster["metadata"]["name"], cluster["spec"])
    (budget,) = of_kind(resources, "PodDisruptionBudget")
    if budget["spec"] != {"maxUnavailable": 1, "selector": selector(cluster)}:
        yield "the budget does not keep two of the three nodes"
    for one in resources:
        if one["metadata"].get("namespace") != NAMESPACE:
            yield f"{one['kind']} {one['metadata']['name']} is in another namespace"
        reference = one["spec"].get("rabbitmqClusterReference")
        if reference not in (None, {"name": cluster["metadata"]["name"]}):
            yield f"{one['kind']} {one['metadata']['name']} is for another cluster"
        if one["kind"] in ("Queue", "Vhost") and one["spec"].get("deletionPolicy") != "retain":
            yield f"{one['kind']} {one['metadata']['name']} goes with its orders when its resource is deleted"
    yield from user_findings(resources)


def cluster_findings(spec: Manifest) -> Iterator[str]:
    if spec["replicas"] != 3:
        yield "there are not three nodes"
    if not re.fullmatch(r"rabbitmq:\d+\.\d+\.\d+-management", spec["image"]):
        yield "the image names no version"
    tls = spec.get("tls", {})
    if not (tls.get("secretName") and tls.get("disableNonTLSListeners")):
        yield "something can be sent in the clear"
    lines = [line for line in spec["rabbitmq"]["additionalConfig"].splitlines() if not line.startswith("#")]
    if STAMP not in lines:
        yield "messages get no time stamp"
    if "consumer_disconnected_timeout = 2000" not in lines:
        yield "lanes stay with a dead node"
    if "max_message_size = 131072" not in lines:
        yield "a message may be much larger than an order"
    if not any(line.startswith("disk_free_limit.absolute") for line in lines):
        yield "there is no limit for the disk"
    if spec["resources"]["requests"].get("memory") != spec["resources"]["limits"].get("memory"):
        yield "a node may be killed for its neighbours' memory"
    if not spec["persistence"].get("storage"):
        yield "messages have no disk"


def placement_findings(name: str, spec: Manifest) -> Iterator[str]:
    terms = spec["affinity"]["podAntiAffinity"].get("requiredDuringSchedulingIgnoredDuringExecution", [])
    labels = {"matchLabels": {"app.kubernetes.io/name": name}}
    if {"topologyKey": "kubernetes.io/hostname", "labelSelector": labels} not in terms:
        yield "two nodes may share a machine"
    (spread,) = spec["override"]["statefulSet"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    if spread["topologyKey"] != "topology.kubernetes.io/zone" or spread["labelSelector"] != labels:
        yield "nodes are not spread over zones"


def user_findings(resources: list[Manifest]) -> Iterator[str]:
    """A user without the right resources beside it may do everything, or is made with a name that nobody chose."""
    found = definitions(resources)
    rights = {one["user"]: one for one in found["permissions"]}
    keys = {one["user"]: one for one in found["topic_permissions"]}
    for one in of_kind(resources, "User"):
        user = one["metadata"]["name"]
        if one["spec"].get("importCredentialsSecret") != {"name": f"rabbitmq-{user}"}:
            yield f"{user} has no Secret of its own"
        if one["spec"].get("tags"):
            yield f"{user} has a tag, and so the management's rights"
        if user not in rights or user not in keys:
            yield f"{user} lacks a permission, or one for keys: without that it may bind to everything"
            continue
        patterns = [rights[user][right] for right in ("configure", "write", "read")]
        patterns += [keys[user][right] for right in ("write", "read")] if user not in (CONSUMER, OPERATOR) else []
        if any(re.search(pattern, "any-name.at-all") for pattern in patterns):
            yield f"{user} has a pattern that matches anything"
        if user not in (CONSUMER, OPERATOR) and any(
            re.search(keys[user]["read"], key) for key in ("#", "*.*.*", "main.another.dead", f"#.{user}.#")
        ):
            yield f"{user} may hear of others"
    if any(one["kind"] == "Secret" or "password" in str(one).lower() for one in resources):
        yield "there is a password"


def of_kind(resources: list[Manifest], kind: str) -> list[Manifest]:
    return [one for one in resources if one["kind"] == kind]


def selector(cluster: Manifest) -> Manifest:
    return {"matchLabels": {"app.kubernetes.io/name": cluster["metadata"]["name"]}}


def test_both_kubectls_render_the_same() -> None:
    assert rendered("1.30") == list(newest())


def test_every_manifest_fits_its_schema() -> None:
    checked = [*newest(), *(one for one in apart() if not one["apiVersion"].startswith("cert-manager.io/"))]
    assert [said for one in checked for said in problems(one)] == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("RabbitmqCluster", ("tls", "secretName"), 7),
        ("RabbitmqCluster", ("replicas",), "three"),
        ("PodDisruptionBudget", ("maxUnavailabel",), 1),
        ("Queue", ("deletionPolicy",), "keep"),
        ("TopicPermission", ("permissions", "exchange"), None),
        ("Permission", ("vhost",), None),
        ("Binding", ("destinationType",), "lane"),
        ("ServiceMonitor", ("endpoints",), "all"),
    ],
)
def test_a_manifest_that_does_not_fit_its_schema_is_found(kind: str, path: tuple[str, ...], value: object) -> None:
    planted = copy.deepcopy(of_kind([*newest(), *apart()], kind)[0])
    put(planted["spec"], path, value)
    assert problems(planted)


def put(spec: Manifest, path: tuple[str, ...], value: object) -> None:
    """Set what lies at a path; None takes it away."""
    *above, last = path
    for name in above:
        spec = spec[name]
    if value is None:
        del spec[last]
    else:
        spec[last] = value


def test_the_broker_is_as_we_want_it() -> None:
    assert list(findings(list(newest()))) == []
    (cluster,) = of_kind(list(newest()), "RabbitmqCluster")
    assert cluster["metadata"]["name"] == CLUSTER
    assert [one["spec"]["name"] for one in of_kind(list(newest()), "Vhost")] == [VHOST]


Change = Callable[[list[Manifest]], object]


def change(kind: str, path: tuple[str, ...], value: object, name: str | None = None) -> Change:
    def act(resources: list[Manifest]) -> None:
        chosen = [one for one in of_kind(resources, kind) if name in (None, one["metadata"]["name"])]
        put(chosen[0]["spec"], path, value)

    return act


def take_away(kind: str, name: str) -> Change:
    def act(resources: list[Manifest]) -> None:
        resources.remove(next(one for one in of_kind(resources, kind) if one["metadata"]["name"] == name))

    return act


MISTAKES: dict[str, Change] = {
    "two nodes": change("RabbitmqCluster", ("replicas",), 2),
    "latest": change("RabbitmqCluster", ("image",), "rabbitmq:management"),
    "no TLS": change("RabbitmqCluster", ("tls",), {}),
    "TLS beside plain listeners": change("RabbitmqCluster", ("tls", "disableNonTLSListeners"), value=False),
    "no time stamps": change("RabbitmqCluster", ("rabbitmq", "additionalConfig"), f"# {STAMP}"),
    "bursting memory": change("RabbitmqCluster", ("resources", "limits", "memory"), "8Gi"),
    "no disk": change("RabbitmqCluster", ("persistence", "storage"), ""),
    "nodes on one machine": change("RabbitmqCluster", ("affinity", "podAntiAffinity"), {}),
    "two may be away": change("PodDisruptionBudget", ("maxUnavailable",), 2),
    "orders go with a queue": change("Queue", ("deletionPolicy",), None),
    "another cluster": change("Queue", ("rabbitmqClusterReference", "name"), "another"),
    "a strategy that may read everything": change("Permission", ("permissions", "read"), ".*", "momentum"),
    "a strategy that may write everything": change("Permission", ("permissions", "write"), "", "momentum"),
    "a strategy that hears everything": change("TopicPermission", ("permissions", "read"), ".*", "momentum"),
    "a strategy that hears all of its kind": change("TopicPermission", ("permissions", "read"), "momentum", "momentum"),
    "a strategy without a topic permission": take_away("TopicPermission", "momentum"),
    "an administrator": change("User", ("tags",), ["administrator"], "momentum"),
    "a user without a Secret": change("User", ("importCredentialsSecret",), None, "carry"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    planted = copy.deepcopy(list(newest()))
    MISTAKES[mistake](planted)
    assert list(findings(planted))


def test_the_certificate_is_the_clusters_and_for_all_its_names() -> None:
    (cluster,) = of_kind(list(newest()), "RabbitmqCluster")
    (certificate,) = [one for one in of_kind(apart(), "Certificate") if not one["spec"].get("isCA")]
    spec: dict[str, Any] = certificate["spec"]
    assert cluster["spec"]["tls"]["secretName"] == cluster["spec"]["tls"]["caSecretName"] == spec["secretName"]
    name = cluster["metadata"]["name"]
    assert {f"{name}.{NAMESPACE}.svc", f"*.{name}-nodes.{NAMESPACE}.svc.cluster.local"} <= set(spec["dnsNames"])
    issuers = {one["metadata"]["name"]: one["spec"] for one in of_kind(apart(), "Issuer")}
    (authority,) = [one for one in of_kind(apart(), "Certificate") if one["spec"].get("isCA")]
    assert issuers[spec["issuerRef"]["name"]] == {"ca": {"secretName": authority["spec"]["secretName"]}}


def test_prometheus_reads_what_the_alerts_need_by_tls_and_checks_the_certificate() -> None:
    (monitor,) = of_kind(apart(), "ServiceMonitor")
    families = [one.get("params", {}).get("family", []) for one in monitor["spec"]["endpoints"]]
    assert families == [[], ["queue_coarse_metrics", "queue_consumer_count"]]
    for endpoint in monitor["spec"]["endpoints"]:
        assert (endpoint["port"], endpoint["scheme"]) == ("prometheus-tls", "https")
        assert endpoint["tlsConfig"]["ca"]["secret"]["key"] == "ca.crt"
        assert not endpoint["tlsConfig"].get("insecureSkipVerify")


def test_the_readme_names_every_file_and_every_user_and_its_links_lead_somewhere() -> None:
    page = FOLDER / "README.md"
    text = page.read_text("utf-8")
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert {file.name for file in FOLDER.iterdir()} - {page.name} <= {path for path, _, _ in links}
    for path, _, anchor in links:
        # Of the chart, which is a part of its own.
        assert (page.parent / path).exists() or path.endswith("docs/kubernetes.md"), path
        assert not anchor or anchor in anchors(page.parent / path), anchor
    (loop,) = re.findall(r"^for user in (.+); do$", text, re.MULTILINE)
    assert sorted(loop.split()) == sorted(one["metadata"]["name"] for one in of_kind(manifests(), "User"))
    assert set(re.findall(r"apply -f (\S+\.yaml)", text)) <= {file.name for file in FOLDER.iterdir()}
