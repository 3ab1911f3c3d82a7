"""The place where orders go is said: by `check`, and above a log for people."""

from __future__ import annotations

import pytest

from signalq.ops.check.findings import check_environment
from signalq.ops.terminal.environment import environment_mark, say_environment
from signalq.settings.sections import Settings

SANDBOX = "http://127.0.0.1:8090/sandbox/trading-signal/webhook"


def settings(**sections: object) -> Settings:
    return Settings.model_validate(sections)


def test_check_says_it_first_and_without_the_query_of_the_url() -> None:
    finding = check_environment(settings(webhook={"url": "https://h.example/x?key=s3cret"}))
    assert (finding.check, finding.state) == ("environment", "ok")
    assert finding.found == "orders go to h.example (webhook.url is https://h.example/x)"


@pytest.mark.parametrize(
    ("given", "said", "style"),
    [
        ({}, "live", "bold white on red"),
        ({"webhook": {"url": SANDBOX}}, "sandbox", "bold green"),
        ({"webhook": {"url": "https://h.example/x"}}, "h.example", "bold yellow"),
        ({"webhook": {"environment": "paper"}}, "paper", "bold yellow"),
        (
            {"webhook": {"url": SANDBOX}, "connectors": {"main": {"url": "https://api.crypto-arsenal.io/x"}}},
            "sandbox; live for main",
            "bold white on red",
        ),
    ],
)
def test_the_mark_is_red_as_soon_as_any_order_goes_to_the_platform(
    given: dict[str, object], said: str, style: str
) -> None:
    mark = environment_mark(settings(**given))
    assert mark.plain == f"orders go to {said}"
    assert [str(span.style) for span in mark.spans] == [style]


@pytest.mark.parametrize(("form", "lines"), [("console", 1), ("json", 0), (None, 0)])
def test_the_mark_stands_above_a_log_for_people_and_in_none_for_programs(
    form: str | None, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    say_environment(settings(log={"format": form}))
    err = capsys.readouterr().err
    assert err.count("\n") == lines
    assert lines == 0 or "orders go to live (https://api.crypto-arsenal.io/trading-signal/webhook)" in err
