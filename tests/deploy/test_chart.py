"""The Helm chart without a cluster, by both versions of Helm, with every value file: what it makes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from signalq import __version__
from tests.support.chart import CHART, VALUE_FILES, helm, rendered, settings_of, the
from tests.support.chart_links import found
from tests.support.manifests import documents, is_core, problems
from tests.support.tools import HELM

RENDERS = [(version, values) for version in HELM for values in VALUE_FILES]


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_lint_finds_nothing(version: str, values: str) -> None:
    ran = helm(version, "lint", "--strict", str(CHART), "-f", str(VALUE_FILES[values]))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stdout


@pytest.mark.parametrize("version", HELM)
def test_lint_finds_a_planted_mistake(version: str) -> None:
    ran = helm(
        version, "lint", "--strict", str(CHART), "-f", str(VALUE_FILES["sqlite"]), "--set", "consumer.replicas=two"
    )
    assert ran.returncode != 0
    assert "replicas" in ran.stdout + ran.stderr


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_every_manifest_is_one_that_a_strict_api_server_takes(version: str, values: str) -> None:
    assert [problem for one in rendered(version, values) if is_core(one) for problem in problems(one)] == []


@pytest.mark.parametrize("version", HELM)
def test_every_custom_resource_is_one_that_its_definition_takes(version: str) -> None:
    custom = [one for one in rendered(version, "everything") if not is_core(one)]
    assert {one["kind"] for one in custom} == {"PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication"}
    assert [problem for one in custom for problem in problems(one)] == []


@pytest.mark.parametrize(("version", "values"), RENDERS)
def test_every_rule_of_ours_holds(version: str, values: str) -> None:
    assert found(rendered(version, values)) == []


@pytest.mark.parametrize("values", VALUE_FILES)
def test_both_versions_of_helm_make_the_same(values: str) -> None:
    assert rendered("3", values) == rendered("4", values)


def test_every_template_is_rendered_by_some_value_file() -> None:
    kinds = {one["kind"] for values in VALUE_FILES for one in rendered("4", values)}
    written = "".join(file.read_text(encoding="utf-8") for file in CHART.rglob("templates/**/*.yaml"))
    assert set(re.findall(r"^kind: (\w+)", written, re.MULTILINE)) == kinds


def pods_of(*arguments: str) -> Any:
    return the(rendered("4", "everything", *arguments), "Deployment", "consumer")["spec"]["template"]


def test_another_version_of_the_chart_alone_restarts_no_pod(tmp_path: Path) -> None:
    place = tmp_path / "signalq"
    shutil.copytree(CHART, place)
    chart = (place / "Chart.yaml").read_text(encoding="utf-8")
    (place / "Chart.yaml").write_text(chart.replace(f"\nversion: {__version__}", "\nversion: 9.9.9"), encoding="utf-8")
    ran = helm("4", "template", "desk", str(place), "--namespace", "trading", "-f", str(VALUE_FILES["everything"]))
    assert "signalq-9.9.9" in ran.stdout
    assert the(documents(ran.stdout), "Deployment", "consumer")["spec"]["template"] == pods_of()


@pytest.mark.parametrize(
    "changed",
    [
        "settings.connectors.main.rate_per_s=1",
        "settings.connectors.main.tokenSecret.key=other",
        "settings.strategies.momentum.limits=enforce",
        "settings.connectors.new.lane=shared",
    ],
)
def test_a_setting_that_is_read_again_while_it_runs_restarts_no_pod(changed: str) -> None:
    assert pods_of("--set", changed) == pods_of()
    assert settings_of(rendered("4", "everything", "--set", changed)) != settings_of(rendered("4", "everything"))


@pytest.mark.parametrize(
    "changed",
    [
        "settings.delivery.attempts_max=3",
        "settings.broker.heartbeat_s=3",
        "settings.connectors.main.lane=shared",
        "settings.connectors.fast.concurrency=3",
        "settings.connectors.new.rate_per_s=1",
    ],
)
def test_a_setting_that_takes_a_restart_restarts_the_pods(changed: str) -> None:
    assert pods_of("--set", changed) != pods_of()


@pytest.mark.parametrize("component", ["consumer", "gateway", "console"])
def test_each_pod_that_makes_spans_knows_the_collector_and_has_a_way_to_it(component: str) -> None:
    manifests = rendered("4", "everything")
    (container,) = the(manifests, "Deployment", component)["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in container["env"]}
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel-collector.monitoring:4318"
    assert given["OTEL_TRACES_SAMPLER"] == "parentbased_traceidratio"
    assert given["OTEL_TRACES_SAMPLER_ARG"] == "0.1"
    ways = the(manifests, "NetworkPolicy", component)["spec"]["egress"]
    assert 4318 in {port["port"] for way in ways for port in way["ports"]}


def test_without_a_collector_no_pod_has_traces() -> None:
    deployments = [one for one in rendered("4", "postgresql") if one["kind"] == "Deployment"]
    containers = [one for each in deployments for one in each["spec"]["template"]["spec"]["containers"]]
    assert not [one["name"] for each in containers for one in each["env"] if one["name"].startswith("OTEL_")]
