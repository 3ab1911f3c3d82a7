"""deploy/kubernetes/oauth2-proxy without a cluster: its two files, and the chart with one of them, go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.chart import CHART, VALUE_FILES, helm, the
from tests.support.chart_links import found
from tests.support.chart_rules import Manifests
from tests.support.manifests import documents, pod_security_problems, problems

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes" / "oauth2-proxy"
VERSION_MIN = (7, 15, 2)


def proxy() -> Manifests:
    """The resources of the proxy."""
    return documents((FOLDER / "oauth2-proxy.yaml").read_text(encoding="utf-8"))


@cache
def _chart() -> Manifests:
    files = [str(VALUE_FILES["postgresql"]), str(FOLDER / "values.yaml")]
    ran = helm("4", "template", "signalq", str(CHART), "--namespace", "signalq", "-f", files[0], "-f", files[1])
    assert ran.returncode == 0, ran.stderr
    return documents(ran.stdout)


def chart() -> Manifests:
    """The chart with the values beside it, as the release `signalq`."""
    return deepcopy(_chart())


def options(manifests: Manifests) -> dict[str, str]:
    """The options of oauth2-proxy by name."""
    arguments = container(manifests)["args"]
    return {name.removeprefix("--"): value for name, _, value in (one.partition("=") for one in arguments)}


def container(manifests: Manifests, ending: str = "oauth2-proxy") -> Any:
    return the(manifests, "Deployment", ending)["spec"]["template"]["spec"]["containers"][0]


def variables(manifests: Manifests) -> dict[str, str]:
    """The settings of the console, by their names in the environment."""
    environment = container(manifests, "-console")["env"]
    prefix = "SIGNALQ_CONSOLE__"
    return {one["name"].removeprefix(prefix): one["value"] for one in environment if one["name"].startswith(prefix)}


def findings(ours: Manifests, theirs: Manifests) -> Iterator[str]:
    """What lets somebody else in, or nobody: `ours` is the chart's, `theirs` the proxy's."""
    given = options(theirs)
    yield from _of_the_proxy(theirs, given)
    console = variables(ours)
    service = the(ours, "Service", "-console")
    upstream = urlsplit(given["upstream"])
    if (upstream.hostname, upstream.port) != (
        f"{service['metadata']['name']}.signalq.svc",
        service["spec"]["ports"][0]["port"],
    ):
        yield "the proxy asks another service than the console's"
    hosts = {urlsplit(console["URL"]).hostname, urlsplit(given["redirect-url"]).hostname}
    hosts |= {rule["host"] for rule in the(theirs, "Ingress")["spec"]["rules"]}
    if len(hosts) != 1:
        yield f"people open several hosts: {sorted(map(str, hosts))}"
    if console.get("USER_HEADER") != "X-Forwarded-Email" or not console.get("PROXIES"):
        yield "the console takes no name from the proxy"
    labels = the(theirs, "Deployment")["spec"]["template"]["metadata"]["labels"]
    (rule,) = the(ours, "NetworkPolicy", "-console")["spec"]["ingress"]
    if not all(
        peer.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= labels.items() for peer in rule["from"]
    ):
        yield "others than the proxy reach the console"
    out = [peer for one in the(theirs, "NetworkPolicy")["spec"]["egress"] for peer in one["to"]]
    wanted = the(ours, "Deployment", "-console")["spec"]["template"]["metadata"]["labels"].items()
    if not [
        one
        for one in out
        if len(one) == 1 and one.get("podSelector", {}).get("matchLabels", {"": ""}).items() <= wanted
    ]:
        yield "the proxy has no way to the console"


def _of_the_proxy(theirs: Manifests, given: dict[str, str]) -> Iterator[str]:
    version = re.fullmatch(r".*:v(\d+)\.(\d+)\.(\d+)", container(theirs)["image"])
    if version is None or tuple(map(int, version.groups())) < VERSION_MIN:
        yield "the image is older than 7.15.2, or any"
    if given.get("pass-user-headers") != "true":
        yield "the proxy says nobody's name"
    if given.get("pass-basic-auth") != "false":
        yield "people look like programs"
    if "/" not in given.get("trusted-proxy-ip", "") or given["trusted-proxy-ip"].endswith("/0"):
        yield "every caller's headers are believed"
    yield from (f"{name} lets strangers by" for name in given if name.startswith("skip-auth"))
    if not the(theirs, "Ingress")["spec"].get("tls"):
        yield "sessions go in the clear"


Plant = Callable[[Manifests, Manifests], object]


def option(name: str, value: str | None) -> Plant:
    """Give an option another value, or take it away."""

    def plant(_ours: Manifests, theirs: Manifests) -> None:
        kept = [one for one in container(theirs)["args"] if not one.startswith(f"--{name}=")]
        container(theirs)["args"] = kept + ([] if value is None else [f"--{name}={value}"])

    return plant


def setting(name: str, value: str) -> Plant:
    """Give the console another value of a setting."""

    def plant(ours: Manifests, _theirs: Manifests) -> None:
        (variable,) = [one for one in container(ours, "-console")["env"] if one["name"] == f"SIGNALQ_CONSOLE__{name}"]
        variable["value"] = value

    return plant


PLANTED: list[tuple[str, Plant]] = [
    ("older than 7.15.2", lambda _, m: container(m).update(image="oauth2-proxy:v7.15.1")),
    ("older than 7.15.2", lambda _, m: container(m).update(image="oauth2-proxy:latest")),
    ("nobody's name", option("pass-user-headers", "false")),
    ("look like programs", option("pass-basic-auth", None)),
    ("every caller's headers", option("trusted-proxy-ip", None)),
    ("every caller's headers", option("trusted-proxy-ip", "0.0.0.0/0")),
    ("lets strangers by", option("skip-auth-route", "^/static")),
    ("in the clear", lambda _, m: the(m, "Ingress")["spec"].pop("tls")),
    ("another service", option("upstream", "http://signalq-gateway.signalq.svc:80/")),
    ("another service", option("upstream", "http://signalq-console.signalq.svc:8082/")),
    ("several hosts", setting("URL", "https://other.example.com")),
    ("several hosts", option("redirect-url", "https://other.example.com/oauth2/callback")),
    ("no name from the proxy", setting("USER_HEADER", "X-Forwarded-User")),
    ("no name from the proxy", setting("PROXIES", "")),
    (
        "others than the proxy",
        lambda m, _: the(m, "NetworkPolicy", "-console")["spec"]["ingress"][0]["from"].append({"podSelector": {}}),
    ),
    ("no way to the console", lambda _, m: the(m, "NetworkPolicy")["spec"]["egress"].pop(1)),
]


def test_the_proxy_and_the_console_go_together() -> None:
    assert list(findings(chart(), proxy())) == []
    assert found(chart()) == []


@pytest.mark.parametrize(("said", "plant"), PLANTED, ids=[f"{number}-{one[0]}" for number, one in enumerate(PLANTED)])
def test_a_planted_mistake_is_found(said: str, plant: Plant) -> None:
    ours, theirs = chart(), proxy()
    plant(ours, theirs)
    assert [one for one in findings(ours, theirs) if said in one]


def test_every_resource_is_one_that_a_strict_api_server_takes_and_each_pod_is_restricted() -> None:
    for one in proxy():
        assert problems(one) == []
        assert list(pod_security_problems(one)) == []
        assert one["metadata"]["namespace"] == "signalq"


def test_each_secret_that_is_named_has_a_line_to_make_it() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = {variable["valueFrom"]["secretKeyRef"]["name"] for variable in container(proxy())["env"]}
    named |= {tls["secretName"] for tls in the(proxy(), "Ingress")["spec"]["tls"]} | {"signalq-ops"}
    assert [name for name in sorted(named) if not re.search(rf"create secret (generic|tls) {name} ", text)] == []
