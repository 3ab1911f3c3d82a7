"""Manifests of Kubernetes, checked without a cluster: what a strict API server would refuse, and Pod Security.

Each check returns its findings as sentences; none is a manifest that passes. Nothing here knows of our chart.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource

Manifest = dict[str, Any]

KUBERNETES = ("1.30", "1.37")
"""The oldest version that we support, and the newest there is."""

CRD_SCHEMAS = Path(os.environ.get("CRD_SCHEMAS") or Path(__file__).parents[3] / "shared" / "crd-schemas")

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")

# The keys by which the API server merges these lists: a second entry with the same one is lost, or refused.
_LIST_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "topologySpreadConstraints": "topologyKey",
}
_CORE_GROUPS = re.compile(r"(v1|apps/.*|batch/.*|policy/.*|autoscaling/.*|[a-z.]+\.k8s\.io/.*)")
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


class StrictLoader(yaml.SafeLoader):
    """YAML as a strict API server reads it: a key that stands twice is an error, not the last one's."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = [key for key, times in Counter(keys).items() if times > 1]
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(text: str) -> list[Manifest]:
    """The manifests of a YAML stream. Raises yaml.YAMLError, also for a key that stands twice in one mapping."""
    return [document for document in yaml.load_all(text, StrictLoader) if document is not None]


def name_of(document: Manifest) -> str:
    """As people call it: Deployment/signalq-consumer."""
    return f"{document['kind']}/{document['metadata']['name']}"


def problems(document: Manifest) -> list[str]:
    """All that can be found without knowing what a manifest is for. Skips where there are no schemas for its kind."""
    found = [*schema_problems(document), *naming_problems(document), *repeated(document)]
    return [f"{name_of(document)}: {problem}" for problem in found]


# ---- schemas ----


def schema_problems(document: Manifest) -> list[str]:
    """What is not in the schema of its kind, or not as it wants it: by both versions, or by its CRD."""
    if is_core(document):
        return [f"{said} (Kubernetes {version})" for version in KUBERNETES for said in core_problems(document, version)]
    return custom_problems(document)


def is_core(document: Manifest) -> bool:
    """Whether Kubernetes itself knows its kind; else a custom resource's definition does."""
    return _CORE_GROUPS.fullmatch(document["apiVersion"]) is not None and not document["apiVersion"].startswith(
        "kustomize."
    )


def core_problems(document: Manifest, version: str) -> list[str]:
    """By the strict schema of one version of Kubernetes: unknown keys are problems, too."""
    validator = _core_validator(document["kind"], document["apiVersion"], version)
    if validator is None:
        return [f"there is no {document['kind']} of {document['apiVersion']}"]
    return _said(validator, document)


def custom_problems(document: Manifest) -> list[str]:
    """By the schema of its custom resource's definition. Skips, in CI too, where there are none: they are not ours."""
    if not CRD_SCHEMAS.is_dir():
        pytest.skip(f"there are no schemas of custom resources at {CRD_SCHEMAS}: CRD_SCHEMAS names another folder")
    validator = _custom_validator(document["kind"], document["apiVersion"])
    if validator is None:
        return [f"there is no schema for {document['kind']} of {document['apiVersion']}"]
    unknown = [f"{key} is no key of a resource" for key in document.keys() - {"apiVersion", "kind", "metadata", "spec"}]
    # A definition says nothing of the metadata: that is the same for all.
    metadata = _said(_definition(_OBJECT_META, KUBERNETES[-1]), document["metadata"])
    return [*unknown, *metadata, *_said(validator, document)]


def _said(validator: Any, instance: object) -> list[str]:
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(instance)]


@cache
def _core_validator(kind: str, api_version: str, version: str) -> Any:
    # Files are called by the first word of a group: rbac-v1 for rbac.authorization.k8s.io/v1.
    group, _, of_group = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0]}-{of_group}" if group else f"{kind.lower()}-{of_group}"
    file = _schema_folder(version) / f"{name}.json"
    if not file.is_file():
        return None
    return Draft202012Validator(json.loads(file.read_text(encoding="utf-8")), registry=_registry(version))


@cache
def _definition(name: str, version: str) -> Any:
    reference = f"https://kubernetes.io/api/_definitions.json#/$defs/{name}"
    return Draft202012Validator({"$ref": reference}, registry=_registry(version))


@cache
def _registry(version: str) -> Any:
    # The definitions are more than a megabyte: read once, not for every manifest, as kubernetes_validate does.
    definitions = json.loads((_schema_folder(version) / "_definitions.json").read_text(encoding="utf-8"))
    empty: Registry[Any] = Registry()
    return Resource.from_contents(definitions) @ empty


def _schema_folder(version: str) -> Any:
    return files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"


@cache
def _custom_validator(kind: str, api_version: str) -> Any:
    group, _, version = api_version.partition("/")
    file = CRD_SCHEMAS / group / f"{kind.lower()}_{version}.json"
    return Draft7Validator(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


# ---- what schemas don't say ----


def naming_problems(document: Manifest) -> Iterator[str]:
    """Names, labels and port names that the API server would refuse."""
    name = document["metadata"].get("name", "")
    # A Service's name becomes a DNS label; others may have dots.
    if not (DNS_LABEL if document["kind"] == "Service" else DNS_NAME).fullmatch(name):
        yield f"{name!r} is no name"
    for path, value in _walk(document):
        key = path[-1] if path else ""
        if key in {"labels", "matchLabels"} and isinstance(value, Mapping):
            for label, said in value.items():
                if not isinstance(said, str) or not LABEL_VALUE.fullmatch(said):
                    yield f"{said!r} is no value for the label {label}"
        if key == "annotations" and isinstance(value, Mapping):
            yield from (f"the annotation {one} is no text" for one, said in value.items() if not isinstance(said, str))
        if len(path) > 1 and path[-2] == "ports" and isinstance(value, Mapping) and "containerPort" in value:
            port = value.get("name", "port")
            if not PORT_NAME.fullmatch(port):
                yield f"{port!r} is no name for a port"


def repeated(document: Manifest) -> Iterator[str]:
    """Entries of a list that have the same key: of two variables with one name only the last would count."""
    for path, value in _walk(document):
        merge_key = _LIST_KEYS.get(str(path[-1])) if path else None
        if merge_key is None or not isinstance(value, Sequence) or isinstance(value, str):
            continue
        keys = Counter(entry.get(merge_key) for entry in value if isinstance(entry, Mapping))
        yield from (f"{path[-1]} has {key} twice" for key, times in keys.items() if times > 1)


def _walk(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[tuple[object, ...], object]]:
    yield path, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, index))


# ---- pods ----


def pod_spec(document: Manifest) -> Manifest | None:
    """The pod that a manifest makes, if it makes one."""
    if document["kind"] == "Pod":
        return dict(document["spec"])
    if document["kind"] == "CronJob":
        return dict(document["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    template = document.get("spec", {}).get("template") if document["kind"] in _MAKES_PODS else None
    return dict(template["spec"]) if template is not None else None


_MAKES_PODS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "ReplicaSet"}
# What the restricted standard allows, https://kubernetes.io/docs/concepts/security/pod-security-standards/
_VOLUME_KINDS = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pod_security_problems(document: Manifest) -> Iterator[str]:
    """What the restricted Pod Security Standard refuses in the pod that a manifest makes."""
    pod = pod_spec(document)
    if pod is None:
        return
    for shared in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(shared):
            yield f"{shared} is on"
    for volume in pod.get("volumes", []):
        yield from (f"the volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - _VOLUME_KINDS)
    shared_context = pod.get("securityContext", {})
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = {**shared_context, **container.get("securityContext", {})}
        yield from (f"{container['name']}: {said}" for said in _container_problems(container, context))


def _container_problems(container: Manifest, context: Manifest) -> Iterator[str]:
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if context.get("runAsUser") == 0:
        yield "it runs as root"
    if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "it has no seccomp profile"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if context.get("privileged"):
        yield "it is privileged"
    capabilities = context.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "it does not drop ALL capabilities"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "it has a hostPort"
