"""The counts of a run of `signalq publish`, and the sentences and the JSON object that are made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from signalq.ops.terminal.plain import Row, plural

# In the order in which they are told.
COUNTED = ("delivered", "dead", "canceled", "scheduled", "duplicate", "unknown")


@dataclass(slots=True)
class OutcomeTally:
    """The counts of lines by what became of them; duplicates count apart, and so do the reasons of the dead ones.

    `failed` counts the lines that are neither delivered nor scheduled, duplicates of such included.
    """

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failed: int = 0

    def add(self, status: str, reason: str | None, *, is_duplicate: bool, is_well: bool) -> None:
        """Count one more line."""
        counted = "duplicate" if is_duplicate and status != "unknown" else status
        self.counts[counted] += 1
        self.failed += not is_well
        if counted == "dead":
            self.reasons[reason or "-"] += 1

    def sentence(self) -> str:
        """The counts that are not 0, such as `545 delivered, 455 dead (455 expired)`."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())
        said = {"dead": f"dead ({reasons})", "unknown": "not known"}
        said["duplicate"] = "duplicate" if self.counts["duplicate"] == 1 else "duplicates"
        parts = [f"{self.counts[name]:,} {said.get(name, name)}" for name in COUNTED if self.counts[name]]
        return ", ".join(parts) or "no outcome"

    def row(self) -> Row:
        """The counts, as JSON has them."""
        return {name: self.counts[name] for name in COUNTED} | {"failed": self.failed, "reasons": dict(self.reasons)}


@dataclass(slots=True)
class RunTally:
    """The counts of lines by their results.

    `duplicates` of the `published` lines were published before, too (None: not known). `skipped` intents were dealt
    with by an earlier run. Every line up to `through_line` is dealt with. `gave_up` says why the run took no more.
    """

    published: int = 0
    duplicates: int | None = 0
    skipped: int = 0
    bad: int = 0
    unconfirmed: int = 0
    delayed: int = 0
    through_line: int = 0
    refused: str | None = None
    gave_up: str | None = None
    stopped_by: str | None = None
    outcomes: OutcomeTally | None = None

    def rate_per_s(self, seconds: float) -> float:
        """The intents that were published in a second."""
        return self.published / max(seconds, 1e-3)

    def summary(self, seconds: float, *, last_due: str | None) -> str:
        """One line about the whole run; `last_due` is when the last delayed intent falls due."""
        parts = [f"published {plural(self.published, 'intent')}"]
        if self.outcomes is not None and self.published:
            parts[0] += f": {self.outcomes.sentence()}"
        elif self.duplicates:
            parts.append(f"{self.duplicates:,} of them published before, and dropped as duplicates")
        if last_due is not None:
            parts.append(f"{self.delayed:,} of them delayed, the last one is due at {last_due}")
        if self.bad:
            parts.append(plural(self.bad, "line was bad", "lines were bad"))
        if self.skipped:
            parts.append(f"{plural(self.skipped, 'intent')} skipped: confirmed before")
        if self.published:
            parts.append(f"in {seconds:,.1f} s, {self.rate_per_s(seconds):,.4g} per s")
        return ", ".join(parts)

    def row(self, seconds: float) -> Row:
        """The same as a JSON object."""
        row: dict[str, object] = {
            "published": self.published,
            "bad": self.bad,
            "skipped_lines": self.skipped,
            "duplicates": self.duplicates,
            "unconfirmed": self.unconfirmed,
            "through_line": self.through_line,
            "seconds": round(seconds, 3),
            "rate_per_s": round(self.rate_per_s(seconds), 1),
            "stopped_by": self.stopped_by,
        }
        return row if self.outcomes is None else row | {"outcomes": self.outcomes.row()}
