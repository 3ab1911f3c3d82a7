"""The progress bar of `signalq publish`: on a terminal alone, within 80 columns, and lines above it stay whole."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest

from signalq.ops.publish.bar import ProgressBar


@contextmanager
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal of 80 columns as standard error; its other end."""
    ours, theirs = pty.openpty()
    stream: TextIO = os.fdopen(theirs, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("LINES", "24"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    yield ours
    monkeypatch.undo()
    stream.close()
    os.close(ours)


def all_of(terminal: int) -> str:
    """The text that was written to it; each reading gives a part."""
    os.set_blocking(terminal, False)
    parts: list[bytes] = []
    with suppress(BlockingIOError):
        while True:
            parts.append(os.read(terminal, 65_536))
    return b"".join(parts).decode()


def test_on_a_terminal_it_counts_lines_and_outcomes_and_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_terminal(monkeypatch) as terminal:
        bar = ProgressBar(wanted=True, counts_outcomes=True)
        bar.start("checking", None)
        bar.start("publishing", 200_000)
        bar.advance_to(150_000)
        bar.count_outcomes(149_990)
        bar.print("line 3: percnt: is not a field of an intent")
        assert bar.is_shown
        bar.stop()
        shown = all_of(terminal)
    assert "line 3: percnt: is not a field of an intent\r\n" in shown
    drawn = [line for line in shown.replace("\n", "\r").split("\r") if "149,990 outcomes" in line]
    assert drawn
    for whole in drawn:
        assert "publishing" in whole
        assert "150000/200000 lines" in whole
        assert len(whole.rstrip()) <= 80
    assert not bar.is_shown


@pytest.mark.parametrize("wanted", [True, False])
def test_elsewhere_there_are_only_the_lines(wanted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar(wanted=wanted, counts_outcomes=True)
    bar.start("publishing", 10)
    bar.advance_to(4)
    bar.print("line 3: bad")
    bar.stop()
    assert capsys.readouterr().err == "line 3: bad\n"
