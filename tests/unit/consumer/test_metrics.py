"""Metrics whose labels are bounded (contract 6)."""

from __future__ import annotations

from prometheus_client import generate_latest

from signalq.consumer.telemetry.metrics import CONNECTOR_LABELS_MAX, Metrics


def test_a_connector_is_a_label_once_it_is_configured_or_was_accepted_and_other_before() -> None:
    metrics = Metrics(["configured"])
    assert metrics.connector_label("configured") == "configured"
    assert metrics.connector_label("fresh") == "other"
    metrics.note_accepted("fresh")
    assert metrics.connector_label("fresh") == "fresh"


def test_connectors_beyond_the_first_thousand_accepted_are_other() -> None:
    metrics = Metrics(["configured", "too"])
    for number in range(5_000):
        metrics.note_accepted(f"c{number}")
    labels = {metrics.connector_label(f"c{number}") for number in range(5_000)}
    assert len(labels - {"other"}) == CONNECTOR_LABELS_MAX == 1000
    assert metrics.connector_label("c0") == "c0"
    assert metrics.connector_label("c4999") == "other"
    assert metrics.connector_label("configured") == "configured"


def test_the_metrics_have_the_names_and_labels_of_the_contract() -> None:
    metrics = Metrics([])
    metrics.intents.labels("other", "dead", "invalid").inc()
    metrics.attempts.labels("other", "not taken").inc()
    text = generate_latest(metrics.registry).decode()
    assert 'signalq_intents_total{connector="other",reason="invalid",status="dead"} 1.0' in text
    assert 'signalq_attempts_total{certainty="not taken",connector="other"} 1.0' in text
    for histogram in ("webhook", "end_to_end", "delay_error", "receipt_age"):
        assert f"# TYPE signalq_{histogram}_seconds histogram" in text
    for gauge in ("in_flight", "broker_connected"):
        assert f"# TYPE signalq_{gauge} gauge" in text


def test_connectors_that_are_configured_later_are_labels_and_take_nobody_elses_place() -> None:
    metrics = Metrics(["one"])
    metrics.note_accepted("early")
    metrics.configure(["one", "two", "early"])
    assert all(metrics.connector_label(name) == name for name in ("one", "two", "early"))
    assert metrics.connector_label("three") == "other"
    for number in range(CONNECTOR_LABELS_MAX):
        metrics.note_accepted(f"c{number}")
    assert metrics.connector_label(f"c{CONNECTOR_LABELS_MAX - 2}") != "other"
    assert metrics.connector_label(f"c{CONNECTOR_LABELS_MAX - 1}") == "other"
