"""The address of the console and its one-time link, as a start says them."""

from __future__ import annotations

from typing import Any

import pytest

from signalq.ops.console.address import address, local_address, say_address
from signalq.settings.sections import Settings


def settings(form: str = "console", **console: Any) -> Settings:
    return Settings.model_validate({"log": {"format": form}, "console": console, "ops": {"token": "a-token"}})


@pytest.mark.parametrize(
    ("host", "url", "local", "told"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:8082", "http://127.0.0.1:8082/"),
        ("localhost", None, "http://localhost:8082", "http://localhost:8082/"),
        ("0.0.0.0", None, "http://127.0.0.1:8082", "http://127.0.0.1:8082/"),  # noqa: S104
        ("::", None, "http://[::1]:8082", "http://[::1]:8082/"),
        ("127.0.0.1", "https://desk.example/x/", "http://127.0.0.1:8082/x", "https://desk.example/x/"),
    ],
)
def test_people_are_told_an_address_that_they_can_open(host: str, url: str | None, local: str, told: str) -> None:
    given = settings(url=url)
    assert (local_address(given, host, 8082), address(given, host, 8082)) == (local, told)


def test_the_link_stands_on_the_terminal_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    say_address(settings(), "127.0.0.1", 8082, "s" * 32)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "the console is at http://127.0.0.1:8082/",
        f"to act there, open once http://127.0.0.1:8082/link/{'s' * 32}",
    ]


def test_a_log_for_programs_has_no_link(capsys: pytest.CaptureFixture[str]) -> None:
    say_address(settings("json"), "127.0.0.1", 8082, "the-secret")
    say_address(Settings(), "127.0.0.1", 8082, "the-secret")
    assert capsys.readouterr() == ("", "")


def test_with_a_token_there_is_nothing_to_open(capsys: pytest.CaptureFixture[str]) -> None:
    say_address(settings(), "127.0.0.1", 8082, None)
    assert capsys.readouterr().err == "the console is at http://127.0.0.1:8082/\n"
