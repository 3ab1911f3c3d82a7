"""What the chart renders, as podman 4.3 can play it: a pod for each replica, and a list of what that leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

Manifest = dict[str, Any]

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
NOT_SHOWN = (
    "Deployments, Jobs and hooks: podman has no controllers; the run plays them, by the numbers of the manifests",
    "probes by HTTP: podman would ask with a program inside the image, which has none; the run asks, from outside",
    "named ports, Services, Ingresses and their names in the DNS",
    "terminationGracePeriodSeconds: the run stops a pod with that time",
    "Secrets: podman 4.3 mounts them undecoded, so they are played as ConfigMaps, whose files anybody may read",
    "fsGroup: a volume takes the owner of the image's folder",
    "emptyDir's size; a Secret or a ConfigMap that changes under a pod",
    "NetworkPolicies, PodDisruptionBudgets, ServiceAccounts, topologySpreadConstraints, priorities, KEDA",
)
"""What the run can't show of the chart, each as a sentence."""


def pod(manifest: Manifest, name: str, hosts: Mapping[str, str] = MappingProxyType({})) -> Manifest:
    """A pod of this name, of the template of a Deployment or a Job, or of a Pod itself.

    `hosts` are the addresses that it knows by name: podman's name server is silent for seconds as pods come and go.
    """
    template = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    spec = deepcopy(template["spec"])
    for container in spec["containers"]:
        for left_out in (*PROBES, "ports"):
            container.pop(left_out, None)
    spec["volumes"] = [_volume(volume, name) for volume in spec["volumes"]]
    for mount in (mount for container in spec["containers"] for mount in container["volumeMounts"]):
        mount["name"] = _names(template["spec"], name)[mount["name"]]
    spec["hostAliases"] = [{"ip": address, "hostnames": [host]} for host, address in hosts.items()]
    labels = template["metadata"]["labels"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}


def probe(manifest: Manifest, kind: str) -> tuple[int, str]:
    """The port and the path that the kubelet would ask for this probe."""
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    asked = container[kind]["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return ports[asked["port"]], asked["path"]


def secret(name: str, values: Mapping[str, str]) -> Manifest:
    """What is played for a Secret of these values."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(values)}


def _volume(volume: Manifest, pod_name: str) -> Manifest:
    """The volume as podman understands it."""
    changed = deepcopy(volume)
    if "emptyDir" in changed:
        # podman has one folder for all pods that call it by the same name.
        changed["name"] = f"{pod_name}-{changed['name']}"
    if "secret" in changed:
        asked = changed.pop("secret")
        changed["configMap"] = {"name": asked["secretName"], **{key: asked[key] for key in ("items",) if key in asked}}
    return changed


def _names(spec: Manifest, pod_name: str) -> dict[str, str]:
    return {volume["name"]: _volume(volume, pod_name)["name"] for volume in spec["volumes"]}
