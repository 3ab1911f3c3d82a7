"""The Grafana dashboard asks for metrics and labels that exist, for all of them, and for no data source of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from signalq.consumer.telemetry.metrics import Metrics
from signalq.producers.gateway.health import GatewayMetrics

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "signalq.json"
SAMPLES: dict[type, tuple[str, ...]] = {Counter: ("_total",), Histogram: ("_bucket", "_count", "_sum")}
# What Prometheus puts on everything it finds.
FOUND_LABELS = {"namespace", "pod", "job", "instance"}
WORDS = re.compile(r"signalq_[a-z_]+")
LABELS = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"|by \(([a-z_, ]+)\)")
UNITS = {"s", "ops", "reqps", "short", "bytes"}

Json = dict[str, Any]


def metrics() -> list[MetricWrapperBase]:
    """Every metric of the consumer and of the gateway."""
    of_both = (Metrics([]), GatewayMetrics(lambda _name: True))
    return [value for owner in of_both for value in vars(owner).values() if isinstance(value, MetricWrapperBase)]


def samples() -> dict[str, set[str]]:
    """The name of each sample, as it is exposed, and its labels."""
    found = {}
    for metric in metrics():
        for suffix in SAMPLES.get(type(metric), ("",)):
            labels = {"le"} if suffix == "_bucket" else set()
            found[metric._name + suffix] = {*metric._labelnames, *labels}
    return found


def expressions(dashboard: Json) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]


def queries(dashboard: Json) -> list[str]:
    """What the panels and the variables ask."""
    return [
        *expressions(dashboard),
        *(one["definition"] for one in dashboard["templating"]["list"] if "definition" in one),
    ]


def unknown_in(asked: Iterable[str]) -> list[str]:
    """Metrics that nobody exposes, and labels that a query's metrics don't have."""
    known = samples()
    wrong = []
    for query in asked:
        names = WORDS.findall(query)
        wrong += [name for name in names if name not in known]
        allowed = FOUND_LABELS.union({"__name__"}, *(known.get(name, set()) for name in names))
        used = {label.strip() for pair in LABELS.findall(query) for part in pair for label in part.split(",")} - {""}
        wrong += sorted(used - allowed)
    return wrong


@pytest.fixture(scope="module")
def dashboard() -> Json:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_every_metric_and_label_that_is_asked_for_exists(dashboard: Json) -> None:
    assert len(queries(dashboard)) > 30
    assert unknown_in(queries(dashboard)) == []


def test_every_metric_is_shown(dashboard: Json) -> None:
    shown = {name for expression in expressions(dashboard) for name in WORDS.findall(expression)}
    hidden = [metric._name for metric in metrics() if not any(name.startswith(metric._name) for name in shown)]
    assert hidden == []


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(rate(signalq_intents[5m]))", "signalq_intents"),
        ("signalq_webhook_seconds", "signalq_webhook_seconds"),
        ('rate(signalq_attempts_total{reason="x"}[5m])', "reason"),
        ("sum by (connector) (signalq_in_flight)", "connector"),
    ],
)
def test_a_misspelt_metric_or_label_is_found(query: str, wrong: str) -> None:
    assert unknown_in([query]) == [wrong]


def test_no_data_source_is_named_but_by_the_variable(dashboard: Json) -> None:
    text = json.dumps(dashboard)
    assert dashboard["templating"]["list"][0]["name"] == "datasource"
    assert set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', text)) == {"${datasource}"}
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)


def test_every_panel_has_a_unit_a_sentence_and_a_place_of_its_own(dashboard: Json) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & own, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        unit = (
            panel["options"]["yAxis"]["unit"]
            if panel["type"] == "heatmap"
            else panel["fieldConfig"]["defaults"]["unit"]
        )
        assert unit in UNITS
        # What is named for seconds is shown as seconds, where it is not counted.
        timed = any(re.search("_seconds_bucket|_(skew|letter)_seconds", target["expr"]) for target in panel["targets"])
        assert (unit == "s") == timed, panel["title"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_variables_are_used_and_no_other(dashboard: Json) -> None:
    names = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(dashboard["panels"])))
    assert names == {"datasource", "namespace", "pod", "connector"}
    assert used == names
