"""The contact with a source: whether it answers, since when it does not, and why."""

import time
from dataclasses import replace

from signalq.errors import SignalQError
from signalq.kinds import Kind
from signalq.ops.console.moment.snapshot import Source

# A question without an answer after so long counts as one that has none. It goes on all the same, and its answer is
# welcome: a second question would not be answered sooner.
SILENT_S = 2.0


class Contact:
    """One question at a time: each `ask` ends with `answer` or `fail`. Times are on the ledger's clock."""

    def __init__(self) -> None:
        self._source = Source()
        self._asked_s: float | None = None

    def ask(self) -> None:
        """Note that the source is asked now."""
        self._asked_s = time.monotonic()

    def answer(self, at_ms: int) -> None:
        """Note that it has answered."""
        self._asked_s = None
        self._source = Source(at_ms)

    def fail(self, at_ms: int, error: SignalQError) -> None:
        """Note that it has not."""
        self._asked_s = None
        self._away(at_ms, str(error), error.kind)

    def rest(self) -> None:
        """Note that nobody asks any more."""
        self._asked_s = None

    def source(self, now_ms: int) -> Source:
        """The source as it is now."""
        silent_s = 0.0 if self._asked_s is None else time.monotonic() - self._asked_s
        if silent_s >= SILENT_S:
            self._away(now_ms - round(silent_s * 1000), "it was asked, and gives no answer", Kind.NO_ANSWER)
        return self._source

    def _away(self, at_ms: int, why: str, kind: Kind) -> None:
        since_ms = at_ms if self._source.away_since_ms is None else self._source.away_since_ms
        self._source = replace(self._source, away_since_ms=since_ms, why=why, kind=kind)
