"""`./run test --profile`: where the workers' seconds went, as a table at the end of the run.

Each worker adds up its own; what waits, starts a process or sets a fixture up says so with `spent`. Seconds are of wall
time; what one part spends within another counts in both, so the second table explains the first and does not add to it.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import pytest

OPTION = "--profile"
ROWS_MAX = 16

_spent: Counter[str] = Counter()
_times: Counter[str] = Counter()


@contextmanager
def spent(what: str) -> Iterator[None]:
    """Count the time of the block under this heading."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        _spent[what] += time.perf_counter() - began_s
        _times[what] += 1


class Profile:
    """The plugin: in a worker it counts, in the process that was started it collects and shows."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._began_s = time.perf_counter()
        self._workers = 0
        self._total: Counter[str] = Counter()
        self._count: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        with spent(f"fixture {fixturedef.argname}"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Generator[None, object, object]:
        with spent("= setting up"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        folder = PurePath(item.nodeid.partition("::")[0]).parent
        with spent(f"= {folder}"):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        with spent("= taking down"):
            return (yield)

    def pytest_sessionfinish(self) -> None:
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        _spent["+ of the workers themselves"] += own.ru_utime + own.ru_stime
        _spent["+ of processes that they started and that have ended"] += children.ru_utime + children.ru_stime
        told = {"spent": dict(_spent), "times": dict(_times), "wall": time.perf_counter() - self._began_s}
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["profile"] = told
        elif not self._workers:
            self._add(told)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        if told := getattr(node, "workeroutput", {}).get("profile"):
            self._add(told)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if hasattr(self._config, "workeroutput"):
            return
        wall_s = self._total.pop("wall", 0.0)
        terminalreporter.section(f"where {wall_s:.0f} s of {self._workers} workers went")
        for heading, mark in (
            ("the whole", "="),
            ("of these", ""),
            ("CPU", "+"),
        ):
            terminalreporter.write_line(f"{heading}:")
            rows = [row for row in self._total.most_common() if (row[0][0] if row[0][0] in "=+" else "") == mark]
            shown = rows[:ROWS_MAX]
            if mark == "=":
                shown.append(("= starting, collecting, waiting for the last worker", wall_s - sum(s for _, s in rows)))
            for what, seconds in shown:
                times = f"{self._count[what]:6d} x" if self._count[what] else " " * 8
                terminalreporter.write_line(f"  {seconds:8.1f} s {times} {what.lstrip('=+ ')}")

    def _add(self, told: dict[str, Any]) -> None:
        self._workers += 1
        self._total.update(told["spent"])
        self._total["wall"] += told["wall"]
        self._count.update(told["times"])
