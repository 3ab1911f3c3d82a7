"""docs/writing-strategies.md: its code works, and its commands are understood."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from signalq.producers.strategies import desk, ma_cross, rebalancer

PAGE = Path(__file__).parents[3] / "docs" / "writing-strategies.md"
COMMAND = re.compile(r"python -m producers\.strategies\.([a-z_]+) ([^\n]+)")


def test_the_strategy_on_the_page_passes_its_test() -> None:
    strategy, its_test = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(strategy + its_test, names)  # noqa: S102 - our own page
    names["test_a_breakout_is_bought_once_for_each_candle"]()


def commands() -> list[tuple[str, list[str]]]:
    """Those of the page and of every --help, without --help itself; continued lines are joined."""
    texts = [PAGE.read_text("utf-8"), *(module.EXAMPLES for module in (desk, ma_cross, rebalancer))]
    found = COMMAND.findall("\n".join(texts).replace("\\\n", " "))
    return [(name, shlex.split(flags)) for name, flags in found]


@pytest.mark.parametrize(("name", "flags"), commands(), ids=str)
def test_the_commands_on_the_page_and_in_the_help_are_understood(name: str, flags: list[str]) -> None:
    """Each is parsed by its program, flags and all."""
    module = importlib.import_module(f"signalq.producers.strategies.{name}")
    given = module.read_flags(flags)
    if name == "desk" and given.order:
        desk.intent_of(given.order)
