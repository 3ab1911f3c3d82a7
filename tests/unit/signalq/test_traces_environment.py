"""The variables that switch traces on: what is taken, what is refused, and what is quoted of them: nothing."""

from __future__ import annotations

import sys

import pytest

from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.traces.environment import wanted_by
from signalq.traces.losses import Losses
from signalq.traces.process import exported

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.example:4318"}
NOBODY = Losses(count=lambda _spans: None, tell=lambda _why, _spans: None)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " ", "OTEL_TRACES_EXPORTER": ""},
        {"OTEL_SERVICE_NAME": "signalq", "OTEL_TRACES_SAMPLER": "no such sampler"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": " None "},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector.example:4318"},
    ],
)
def test_traces_are_off_unless_an_exporter_or_an_endpoint_is_named(environment: dict[str, str]) -> None:
    assert wanted_by(environment) is None


@pytest.mark.parametrize(
    ("environment", "variable", "shown"),
    [
        (ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER", "http://localhost:4318"),
        ({"OTEL_TRACES_EXPORTER": "otlp_proto_http"}, "OTEL_TRACES_EXPORTER", "http://localhost:4318"),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://user:secret@other.example/v1/traces?key=secret"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://other.example:443",
        ),
        (
            ENDPOINT
            | {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
            | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://collector.example:4318",
        ),
    ],
)
def test_a_collector_that_is_named_is_told_without_a_secret(
    environment: dict[str, str], variable: str, shown: str
) -> None:
    wanted = wanted_by(environment)
    assert wanted is not None
    assert (wanted.variable, wanted.shown_endpoint) == (variable, shown)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER must be otlp or none"),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, "OTEL_TRACES_EXPORTER must be otlp or none"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an http"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[bad"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be an http"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratoi"}, "OTEL_TRACES_SAMPLER must be one of always_off"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1"),
        (
            {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "10"},
            "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1",
        ),
    ],
)
def test_a_value_that_would_be_taken_for_something_else_is_refused_by_name(change: dict[str, str], names: str) -> None:
    with pytest.raises(SettingsError, match=names) as refused:
        wanted_by(ENDPOINT | change)
    assert not any(value in str(refused.value) for value in ("console", "grpc", "collector:4317", "[bad"))


def test_without_the_packages_the_sentence_says_how_to_install_them_or_to_leave_traces_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in ENDPOINT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "signalq.traces.export", None)
    with (
        pytest.raises(SettingsError, match=r"asks for traces.*\[otel\].*OTEL_TRACES_EXPORTER=none") as refused,
        exported("signalq", namespace="signalq", losses=NOBODY),
    ):
        pass
    assert refused.value.kind is Kind.PACKAGE_MISSING
