"""deploy/alerts: rules that Prometheus takes, of metrics that are there, each shown to fire and explained."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from signalq.consumer.telemetry.metrics import Metrics
from signalq.ops.console.gate.errors import NotFound
from signalq.ops.console.gate.routes import find_route
from signalq.ops.console.pages.all import ROUTES
from signalq.producers.gateway.health import GatewayMetrics
from tests.support.manifests import problems
from tests.support.tools import tool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/alerts"
RULES = yaml.safe_load((FOLDER / "signalq.rules.yaml").read_text("utf-8"))
CASES = (FOLDER / "signalq.rules.test.yaml").read_text("utf-8")
RUNBOOK = (ROOT / "docs/operate/runbook.md").read_text("utf-8")
# Of the plugin rabbitmq_prometheus, on 3.10.8 and 4.3.6 alike; those with `detailed` from /metrics/detailed.
OF_RABBITMQ = {
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_detailed_queue_consumers",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_detailed_queue_messages_ready",
}

# Stands in a path for the value of a label.
LABEL = "LABEL"

Rule = dict[str, Any]


def rules(kind: str, document: Any = RULES) -> list[Rule]:
    return [rule for group in document["groups"] for rule in group["rules"] if kind in rule]


ALERTS = rules("alert")


def exposed() -> dict[str, set[str]]:
    """Every series that our programs expose, as a scrape names it, with its labels."""
    found: dict[str, set[str]] = {}
    for registry, owner in ((Metrics([]).registry, Metrics([])), (GatewayMetrics(bool).registry, GatewayMetrics(bool))):
        assert isinstance(registry, CollectorRegistry)
        for collector in vars(owner).values():
            if not isinstance(collector, MetricWrapperBase):
                continue
            (family,) = collector.describe()
            labels = set(collector._labelnames)
            names = {
                "counter": [f"{family.name}_total"],
                "histogram": [f"{family.name}_{part}" for part in ("bucket", "count", "sum")],
                "gauge": [family.name],
            }[family.type]
            for name in names:
                found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


def unknown(document: Any) -> set[str]:
    """What a rule reads that nobody exposes or records."""
    known = set(exposed()) | OF_RABBITMQ | {rule["record"] for rule in rules("record", document)}
    expressions = [rule["expr"] for group in document["groups"] for rule in group["rules"]]
    named = {name for text in expressions for name in re.findall(r"\b(?:signalq|rabbitmq)[_:][a-z0-9_:]+", text)}
    return named - known


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [tool("promtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603


def test_a_scrape_of_the_consumer_and_the_gateway_has_the_names_that_the_rules_are_held_against() -> None:
    names = exposed()
    assert {"signalq_intents_total", "signalq_end_to_end_seconds_bucket", "signalq_gateway_requests_total"} <= set(
        names
    )
    assert names["signalq_attempts_total"] == {"connector", "certainty"}
    for registry in (Metrics([]).registry, GatewayMetrics(bool).registry):
        for family in registry.collect():
            assert {sample.name for sample in family.samples if not sample.name.endswith("_created")} <= set(names)


def test_prometheus_takes_the_rules() -> None:
    checked = promtool("check", "rules", str(FOLDER / "signalq.rules.yaml"))
    assert checked.returncode == 0, checked.stderr


def test_the_prometheus_operator_takes_them_too() -> None:
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "signalq"},
        "spec": RULES,
    }
    assert problems(resource) == []
    assert problems({**resource, "spec": {"groups": [{"name": "a", "rules": [{"alert": "b"}]}]}})


def test_every_alert_fires_where_it_should_and_nowhere_else() -> None:
    tested = promtool("test", "rules", str(FOLDER / "signalq.rules.test.yaml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_would_not_fire_or_cannot_be_read_is_found(tmp_path: Path) -> None:
    planted = copy.deepcopy(RULES)
    (unauthorized,) = [rule for rule in rules("alert", planted) if rule["alert"] == "SignalqIntentsUnauthorized"]
    unauthorized["expr"] = unauthorized["expr"].replace("> 0", "> 5")
    (tmp_path / "signalq.rules.yaml").write_text(yaml.safe_dump(planted), "utf-8")
    (only,) = [case for case in yaml.safe_load(CASES)["tests"] if case["name"] == "dead intents, by reason"]
    case_file = tmp_path / "signalq.rules.test.yaml"
    case_file.write_text(yaml.safe_dump({"rule_files": ["signalq.rules.yaml"], "tests": [only]}), "utf-8")
    assert promtool("test", "rules", str(case_file)).returncode != 0
    unauthorized["expr"] += " >"
    (tmp_path / "signalq.rules.yaml").write_text(yaml.safe_dump(planted), "utf-8")
    assert promtool("check", "rules", str(tmp_path / "signalq.rules.yaml")).returncode != 0


def test_every_metric_of_a_rule_is_there() -> None:
    assert unknown(RULES) == set()
    planted = copy.deepcopy(RULES)
    planted["groups"][1]["rules"][0]["expr"] = "absent(signalq_broker_conected) or signalq_intents == 0"
    assert unknown(planted) == {"signalq_broker_conected", "signalq_intents"}


def test_every_label_that_a_rule_selects_by_is_there() -> None:
    names = exposed()
    for group in RULES["groups"]:
        for rule in group["rules"]:
            for name, selector in re.findall(r"\b(signalq_[a-z0-9_]+)\{([^}]*)\}", rule["expr"]):
                assert set(re.findall(r"(\w+)\s*(?:=~|=|!)", selector)) <= names[name], rule


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_to_do_and_where_to_read_more(rule: Rule) -> None:
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) - {"console"} == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"] == f"docs/operate/runbook.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in RUNBOOK


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_a_page_of_the_console(rule: Rule) -> None:
    """One that the runbook names, too; where the runbook knows none, it leads to none."""
    page = rule["annotations"].get("console")
    named = pages_named_for(rule["alert"])
    assert (page is None) == (named == [])
    if page is not None:
        route, _ = find_route(ROUTES, "GET", urlsplit(expanded(page)).path)
        assert (route.needs, route.path.startswith("/parts/")) == ("view", False)
        assert [one for one in named if re.fullmatch(re.escape(expanded(page)).replace(LABEL, "[^/?&]+"), one)]


def pages_named_for(alert: str) -> list[str]:
    """The paths of the console that the runbook names for an alert."""
    section = RUNBOOK.split(f"\n## {alert}\n", 1)[1].split("\n## ", 1)[0]
    _, _, told = section.partition("*In the console*:")
    return re.findall(r"`(/[^`]*)`", told)


def expanded(page: str) -> str:
    """The path with the longest of what its template may say, and LABEL for each label."""
    return re.sub(r"{{[^}]*}}", LABEL, re.sub(r"{{ (?:if|end)\b[^}]*}}", "", page))


def test_an_alert_that_leads_nowhere_is_found() -> None:
    lane = '/{{ if ne $labels.connector "*" }}lane/{{ $labels.connector | urlquery }}{{ end }}'
    assert expanded(lane) == f"/lane/{LABEL}"
    with pytest.raises(NotFound):
        find_route(ROUTES, "GET", expanded(lane))


def test_every_alert_is_shown_to_fire_and_the_runbook_has_no_other() -> None:
    names = {rule["alert"] for rule in ALERTS}
    shown = {
        name
        for name in names
        if re.search(rf'labels: .*alertname="{name}"', CASES) or re.search(rf"alertname: {name}\n", CASES)
    }
    assert shown == names
    assert set(re.findall(r"^## (Signalq\w+)$", RUNBOOK, re.MULTILINE)) == names
    assert len(names) == len(ALERTS)
