"""docs/commands.md holds what the commands say of themselves."""

from __future__ import annotations

import sys

import pytest

from signalq.ops.__main__ import main
from signalq.ops.terminal.cli import COMMANDS
from tests.support.commands_page import COMMAND, PAGE, commands_page, every_help


def test_the_page_is_what_the_commands_say() -> None:
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    assert text == commands_page(), f"it is of an older state of the code: `{COMMAND}` writes it anew"


def test_the_page_has_every_command_and_no_other() -> None:
    paths = [path for path, _ in every_help()]
    assert {path.split()[1] for path in paths[1:]} == set(COMMANDS)
    headings = [line.removeprefix("## ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("## ")]
    assert headings == paths


@pytest.mark.parametrize("path", ["signalq dead replay", "signalq lanes pause"])
def test_the_page_says_of_a_command_what_its_help_says(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*path.split(), "--help"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in {None, 0}
    # But for the width of the terminal.
    assert capsys.readouterr().out.split() == dict(every_help())[path].split()
