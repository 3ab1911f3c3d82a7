"""The checks of manifests find what they are for: each is shown a planted mistake."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import yaml

from tests.support.manifests import (
    KUBERNETES,
    Manifest,
    core_problems,
    documents,
    pod_security_problems,
    problems,
)

GOOD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: one, labels: {app: one}}
spec:
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
        - name: main
          image: "one:1"
          env: [{name: A, value: "1"}]
          ports: [{name: ops, containerPort: 8080}]
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"""
MONITOR = """
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: one}
spec: {selector: {matchLabels: {app: one}}, podMetricsEndpoints: [{port: ops}]}
"""


def pod(document: Manifest) -> Any:
    return document["spec"]["template"]["spec"]


def container(document: Manifest) -> Any:
    return pod(document)["containers"][0]


def context(document: Manifest) -> Any:
    return container(document)["securityContext"]


MISTAKES: dict[str, Callable[[Manifest], object]] = {
    "'replica' was unexpected": lambda d: d["spec"].update(replica=2),
    "is not of type 'string'": lambda d: container(d)["env"][0].update(value=1),
    "'template' is a required property": lambda d: d["spec"].pop("template"),
    "there is no Deployment of apps/v1beta1": lambda d: d.update(apiVersion="apps/v1beta1"),
    "'One' is no name": lambda d: d["metadata"].update(name="One"),
    "is no value for the label": lambda d: d["metadata"]["labels"].update(app="x" * 64),
    "is no name for a port": lambda d: container(d)["ports"][0].update(name="longer-than-fifteen"),
    "env has A twice": lambda d: container(d)["env"].append({"name": "A", "value": "2"}),
    "volumes has tmp twice": lambda d: pod(d)["volumes"].append({"name": "tmp", "emptyDir": {}}),
}
INSECURE: dict[str, Callable[[Manifest], object]] = {
    "runAsNonRoot": lambda d: pod(d)["securityContext"].pop("runAsNonRoot"),
    "runs as root": lambda d: context(d).update(runAsUser=0),
    "seccomp": lambda d: pod(d)["securityContext"].pop("seccompProfile"),
    "allowPrivilegeEscalation": lambda d: context(d).pop("allowPrivilegeEscalation"),
    "privileged": lambda d: context(d).update(privileged=True),
    "ALL": lambda d: context(d)["capabilities"].update(add=["NET_ADMIN"]),
    "hostPort": lambda d: container(d)["ports"][0].update(hostPort=80),
    "hostNetwork": lambda d: pod(d).update(hostNetwork=True),
    "hostPath": lambda d: pod(d)["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_planted_mistake_in_a_manifest_is_found(said: str) -> None:
    (good,) = documents(GOOD)
    assert problems(good) == []
    bad = deepcopy(good)
    MISTAKES[said](bad)
    assert [problem for problem in problems(bad) if said in problem]


@pytest.mark.parametrize("said", INSECURE)
def test_a_pod_that_the_restricted_standard_refuses_is_found(said: str) -> None:
    (good,) = documents(GOOD)
    assert list(pod_security_problems(good)) == []
    bad = deepcopy(good)
    INSECURE[said](bad)
    assert [problem for problem in pod_security_problems(bad) if said in problem]


def test_a_planted_mistake_in_a_custom_resource_is_found() -> None:
    (good,) = documents(MONITOR)
    assert problems(good) == []
    for where, key in ((good["spec"], "selectors"), (good["metadata"], "label"), (good, "specification")):
        where[key] = {}
        assert [problem for problem in problems(good) if key in problem]
        del where[key]
    good["kind"] = "PodMonitors"
    assert [problem for problem in problems(good) if "no schema" in problem]


def test_a_key_that_stands_twice_is_an_error() -> None:
    with pytest.raises(yaml.YAMLError, match="replicas stands twice"):
        documents("spec:\n  replicas: 1\n  replicas: 2\n")


def test_a_field_that_only_a_newer_kubernetes_knows_is_found() -> None:
    (good,) = documents(GOOD)
    # https://kubernetes.io/docs/concepts/workloads/pods/advanced-pod-config/: resources of a whole pod, from 1.32
    pod(good)["resources"] = {"requests": {"cpu": "1"}}
    assert [bool(core_problems(good, version)) for version in KUBERNETES] == [True, False]
