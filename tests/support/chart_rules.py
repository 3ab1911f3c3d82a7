"""What the chart promises of the pods that it makes, each as a function that finds what breaks it in a render."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.support.chart import of_kind, settings_of
from tests.support.manifests import Manifest, name_of, pod_security_problems, pod_spec

Manifests = list[Manifest]
Rule = Callable[[Manifests], Iterator[str]]

UID = 10001
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
# What docs/operate/running.md asks for beyond the drain.
GRACE_BEYOND_DRAIN_S = 20
START_S_MIN = 60
# It serves nothing, so nobody can ask it how it is; and a second one would tell everything twice.
UNASKED = "notify"
# There is one of each, so none is spread. Prometheus asks neither: whoever reaches the console from the network of
# console.proxies could send the header with a person's name.
ALONE = frozenset({UNASKED, "console"})


def pods(manifests: Manifests) -> Iterator[tuple[str, Any]]:
    """Every pod that is made, with the name of what makes it."""
    for one in manifests:
        pod = pod_spec(one)
        if pod is not None:
            yield name_of(one), pod


def deployments(manifests: Manifests) -> Iterator[tuple[str, Manifest, Any, Any]]:
    """Every Deployment: what it is called, itself, its pod, and the pod's one container."""
    for one in of_kind(manifests, "Deployment"):
        pod = pod_spec(one)
        assert pod is not None
        (container,) = pod["containers"]
        yield name_of(one), one, pod, container


def labels_of(workload: Manifest) -> dict[str, str]:
    """The labels of the pods that it makes."""
    made = workload if workload["kind"] == "Pod" else workload["spec"]["template"]
    return dict(made["metadata"]["labels"])


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector means pods with these labels; an empty one means all."""
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def restricted_pods(manifests: Manifests) -> Iterator[str]:
    """The restricted Pod Security Standard, one uid, nothing written but to volumes, no token of the API server."""
    for one in manifests:
        yield from (f"{name_of(one)}: {said}" for said in pod_security_problems(one))
    for name, pod in pods(manifests):
        context = pod.get("securityContext", {})
        if (context.get("runAsUser"), context.get("runAsGroup")) != (UID, UID):
            yield f"{name} does not run as {UID}"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name} mounts a service account's token"
        if pod.get("serviceAccountName", "default") == "default":
            yield f"{name} has no service account of its own"
        if pod.get("enableServiceLinks") is not False:
            yield f"{name} gets a variable for every service"
        for container in pod["containers"]:
            if container["securityContext"].get("readOnlyRootFilesystem") is not True:
                yield f"{name} can write to its root"
            if "/tmp" not in [mount["mountPath"] for mount in container["volumeMounts"]]:  # noqa: S108
                yield f"{name} has no /tmp to write to"


def resources(manifests: Manifests) -> Iterator[str]:
    """What a pod asks for is said, memory has a limit, and the CPU has none."""
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            said = container.get("resources", {})
            if not {"cpu", "memory"} <= said.get("requests", {}).keys():
                yield f"{name} does not say what it needs"
            if "memory" not in said.get("limits", {}):
                yield f"{name} has no limit of its memory"
            if "cpu" in said.get("limits", {}):
                yield f"{name} is throttled"


def images(manifests: Manifests) -> Iterator[str]:
    """Each image is one that can be named again: a tag that is not latest, or a digest."""
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            last = container["image"].rpartition("/")[2]
            if "@sha256:" not in last and (":" not in last or last.endswith(":latest")):
                yield f"{name} runs {container['image']}, which may be any"


def probes(manifests: Manifests) -> Iterator[str]:
    """Start, life and readiness are asked for each on a path of its own, at a port that is there."""
    for name, _, _, container in deployments(manifests):
        if container["name"] == UNASKED:
            continue
        ports = {port["name"] for port in container["ports"]}
        for probe, path in PROBES.items():
            asked = container.get(probe, {}).get("httpGet", {})
            if asked.get("path") != path:
                yield f"{name}: its {probe} does not ask {path}"
            elif asked["port"] not in ports:
                yield f"{name}: its {probe} asks at a port that is not there"
        startup = container.get("startupProbe", {})
        if startup.get("failureThreshold", 3) * startup.get("periodSeconds", 10) < START_S_MIN:
            yield f"{name} has less than {START_S_MIN} s to start"


def grace(manifests: Manifests) -> Iterator[str]:
    """A pod is not killed while it drains."""
    drain_s = settings_of(manifests).get("delivery", {}).get("drain_timeout_s", 20)
    for name, _, pod, container in deployments(manifests):
        grace_s = pod.get("terminationGracePeriodSeconds", 30)
        if container["name"] == "consumer" and grace_s < drain_s + GRACE_BEYOND_DRAIN_S:
            yield f"{name} is killed after {grace_s} s, and may drain for {drain_s} s"
        if container["name"] in {"gateway", "console"}:
            # It stops listening at once, so whoever sends requests has to know before.
            waits_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            if not 5 <= waits_s <= grace_s - 10:
                yield f"{name} waits {waits_s} s before it ends, of {grace_s} s"


def spread(manifests: Manifests) -> Iterator[str]:
    """Pods of a Deployment are spread over zones and hosts."""
    for name, one, pod, container in deployments(manifests):
        if container["name"] in ALONE:
            continue
        constraints = pod.get("topologySpreadConstraints", [])
        for key in (ZONE, HOST):
            mine = [each for each in constraints if each["topologyKey"] == key]
            if not mine or not selects(mine[0]["labelSelector"], labels_of(one)):
                yield f"{name} is not spread over {key}"


def replicas(manifests: Manifests) -> Iterator[str]:
    """A SQLite ledger has one consumer at a time, on a volume that is kept; else none goes before one came."""
    for name, one, pod, container in deployments(manifests):
        spec, variables = one["spec"], {each["name"] for each in container["env"]}
        if "SIGNALQ_LEDGER__URL" in variables:
            claims = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
            if spec.get("replicas") != 1 or spec["strategy"] != {"type": "Recreate"} or len(claims) != 1:
                yield f"{name} has a file for a ledger, and not one pod, Recreate and a volume"
        elif container["name"] == UNASKED:
            if spec.get("replicas") != 1 or spec["strategy"] != {"type": "Recreate"}:
                yield f"{name} may run twice"
        elif spec["strategy"].get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{name} may be gone before another one has come"
        elif container["name"] == "console" and spec.get("replicas") != 1:
            yield f"{name} has pages that another one does not know"
    for claim in of_kind(manifests, "PersistentVolumeClaim"):
        if claim["metadata"].get("annotations", {}).get("helm.sh/resource-policy") != "keep":
            yield f"{name_of(claim)} goes with the release"


def disruption_budgets(manifests: Manifests) -> Iterator[str]:
    """Whatever has several pods loses one at a time; what has one never holds up a node."""
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for name, one, _, _ in deployments(manifests):
        mine = [each for each in budgets if selects(each["spec"]["selector"], labels_of(one))]
        many = one["spec"].get("replicas") != 1
        if many != (len(mine) == 1):
            yield f"{name} has {len(mine)} disruption budgets"
        if any(each["spec"].get("maxUnavailable") != 1 for each in mine):
            yield f"{name} may lose other than one pod at a time"


def pre_upgrade(one: Manifest) -> bool:
    """Whether it is there before an upgrade begins."""
    return bool(one["metadata"].get("annotations", {}).get("helm.sh/hook") == "pre-upgrade")


def updates(manifests: Manifests) -> Iterator[str]:
    """The ledger is upgraded before anything else changes, by a Job that needs nothing of the new release."""
    for job in of_kind(manifests, "Job"):
        pod = pod_spec(job)
        assert pod is not None
        hook = job["metadata"]["annotations"]
        if not pre_upgrade(job) or "hook-succeeded" not in hook["helm.sh/hook-delete-policy"]:
            yield f"{name_of(job)} is not run before an upgrade, or stays"
        if pod["containers"][0]["command"] != ["signalq", "ledger", "upgrade", "--if-there"]:
            yield f"{name_of(job)} does something else"
        if not {"activeDeadlineSeconds", "backoffLimit"} <= job["spec"].keys():
            yield f"{name_of(job)} may go on for ever"
        early = [one for one in manifests if pre_upgrade(one) and one["kind"] == "ServiceAccount"]
        if pod.get("serviceAccountName") not in [one["metadata"]["name"] for one in early]:
            yield f"{name_of(job)} has an account of the release before"
        policies = [one for one in manifests if one["kind"] == "NetworkPolicy"]
        mine = [one for one in policies if pre_upgrade(one) and selects(one["spec"]["podSelector"], labels_of(job))]
        if policies and not mine:
            yield f"{name_of(job)} has the networks of the release before"
        if any("configMap" in volume for volume in pod["volumes"]):
            yield f"{name_of(job)} reads settings of the release before"
    uses_server = any("SIGNALQ_LEDGER__URL_FILE" in str(container) for _, _, _, container in deployments(manifests))
    if uses_server != bool(of_kind(manifests, "Job")):
        yield "a ledger on a server is upgraded by a Job, and a file by the consumer itself"


POD_RULES: tuple[Rule, ...] = (
    restricted_pods,
    resources,
    images,
    probes,
    grace,
    spread,
    replicas,
    disruption_budgets,
    updates,
)
