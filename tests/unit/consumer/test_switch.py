"""The switch as a value, and what a consumer tells of it."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from signalq.consumer.orders.switch import ALL, Change, State, Switch, stops
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.telemetry.switch import WHY_CHARACTERS_MAX, SwitchReport

STATES: tuple[State, ...] = ("open", "close-only", "paused")


@pytest.mark.parametrize("own", STATES)
@pytest.mark.parametrize("of_all", STATES)
def test_the_stricter_of_a_connectors_own_switch_and_that_of_all_counts(own: State, of_all: State) -> None:
    switch = Switch(1, {"main": own, ALL: of_all})
    assert switch.state_of("main") == STATES[max(STATES.index(own), STATES.index(of_all))]
    assert switch.state_of("never seen") == of_all
    assert Switch().state_of("main") == "open"


def test_paused_stops_all_close_only_opens_and_open_nothing() -> None:
    stopped = {(state, is_exit) for state in STATES for is_exit in (True, False) if stops(state, is_exit=is_exit)}
    assert stopped == {("paused", True), ("paused", False), ("close-only", False)}


def paused_labels(metrics: Metrics) -> dict[str, float]:
    text = generate_latest(metrics.registry).decode()
    lines = [line for line in text.splitlines() if line.startswith("signalq_lane_paused{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def test_the_metric_names_configured_and_switched_connectors_and_no_others() -> None:
    metrics = Metrics(["main", "own"])
    report = SwitchReport(metrics)
    report(Switch(), [])
    assert paused_labels(metrics) == {"*": 0, "main": 0, "own": 0}
    report(Switch(2, {"main": "paused", "stranger": "paused", "strange": "close-only"}), [])
    assert paused_labels(metrics) == {"*": 0, "main": 1, "own": 0, "other": 1}
    report(Switch(3, {ALL: "paused", "own": "close-only"}), [])
    assert paused_labels(metrics) == {"*": 1, "main": 1, "own": 1, "other": 0}
    report(Switch(4, {}), [])
    assert paused_labels(metrics) == {"*": 0, "main": 0, "own": 0, "other": 0}


def test_a_change_is_logged_with_its_author_and_a_reason_of_bounded_length() -> None:
    report = SwitchReport(Metrics([]))
    with capture_logs() as logs:
        report(Switch(1, {ALL: "paused"}), [])
        report(Switch(2, {"main": "paused"}), [Change(2, "main", "paused", 5, "w" * 500, "y" * 500)])
        report(Switch(3, {}), [Change(3, ALL, "open", 5, "anna", "")])
    found, first, second = logs
    assert (found["event"], found["connectors"], found["count"]) == ("switch.found", "*: paused", 1)
    assert (len(first["who"]), len(first["why"])) == (WHY_CHARACTERS_MAX, WHY_CHARACTERS_MAX)
    assert (second["connector"], second["state"], second["who"], second["why"]) == ("*", "open", "anna", None)
    assert {line["log_level"] for line in logs} == {"warning"}
