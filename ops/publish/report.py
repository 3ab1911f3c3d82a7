"""The output of a run of `signalq publish`: a progress bar, the bad lines, the outcomes, and the summary."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Self

from signalq.errors import Unroutable
from signalq.kinds import Kind
from signalq.message.outcome import at
from signalq.ops.publish.bar import ProgressBar
from signalq.ops.publish.tally import OutcomeTally, RunTally
from signalq.ops.terminal.errors import DONE, FAILED, INTERRUPTED, Failure
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import is_quiet
from signalq.ops.terminal.plain import ascii_json, json_line, plural
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.publishing.results import Receipt
from signalq.times import iso_utc

if TYPE_CHECKING:
    from signalq.ops.publish.waiting import Ending


class PublishReport:
    """Counts and shows each line as it is dealt with; `message_id` is that of one intent from flags, without a file.

    Published intents go to standard output, and with `waits` their outcomes; with JSON that is an object an intent and
    nothing else, and the summary is the last line of standard error.
    """

    def __init__(self, *, as_json: bool, message_id: str | None = None, waits: bool = False) -> None:
        self.tally = RunTally(outcomes=OutcomeTally() if waits else None)
        self._as_json = as_json
        self._message_id = message_id
        self._from_file = message_id is None
        self._began_s = time.monotonic()
        self._last_due: datetime | None = None
        # JSON on the same terminal would run through the bar.
        wanted = self._from_file and not is_quiet() and not (as_json and sys.stdout.isatty())
        self.bar = ProgressBar(wanted=wanted, counts_outcomes=waits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.bar.stop()

    # ---- a line ----

    def published(self, line: IntentLine, receipt: Receipt, *, is_duplicate: bool) -> None:
        """Show an intent that was confirmed; with outcomes its row comes once its outcome is known."""
        tally = self.tally
        tally.published += 1
        if tally.duplicates is not None:
            tally.duplicates += is_duplicate
        self.bar.advance_to(line.line)
        due_at = self._due_at(line, receipt)
        if tally.outcomes is not None:
            self.bar.count_outcomes(tally.outcomes.counts.total())
        elif self._as_json:
            self.write(json_line(self.row(line) | {"due_at": _shown(due_at)}))
        if not self._from_file and not self._as_json:
            self._published_one(line, due_at)

    def _published_one(self, line: IntentLine, due_at: datetime | None) -> None:
        self.write(f"published {named(line)}, message_id {escaped(line.message_id)}")
        if self.tally.outcomes is None and due_at is not None:
            self.write(f"due at {iso_utc(due_at)}, in {line.intent.delay_ms / 1000:,.10g} s")
        elif self.tally.outcomes is not None and sys.stderr.isatty() and not is_quiet():
            self.say("waiting for its outcome; Ctrl-C ends the waiting, the order stays")

    def ended(self, ending: Ending) -> None:
        """Show what became of an intent."""
        tally, outcome = self.tally, ending.outcome
        if tally.outcomes is None:
            return
        reason = outcome.reason if outcome is not None else None
        tally.outcomes.add(ending.status, reason, is_duplicate=ending.is_duplicate, is_well=ending.is_well)
        self.bar.count_outcomes(tally.outcomes.counts.total())
        if self._as_json:
            self.write(json_line(self.row(ending.line) | _ending_row(ending)))
        elif self._from_file:
            self.write(f"line {ending.line.line}: {ending_sentence(ending)}: {named(ending.line)}")
        else:
            self.write(ending_sentence(ending))

    def bad(self, line: BadLine) -> None:
        """Show a line that holds no intent."""
        self.tally.bad += 1
        self.bar.advance_to(line.line)
        self.bar.print(f"line {line.line}: {escaped(line.problem)}")

    def unconfirmed(self, error: Exception | None) -> None:
        """Count an intent that was not confirmed; the summary says what to do."""
        self.tally.unconfirmed += 1
        if isinstance(error, Unroutable):
            self.tally.refused = self.tally.refused or str(error)

    def say(self, sentence: str) -> None:
        """Show a sentence about the whole run."""
        self.bar.print(f"signalq: {escaped(sentence)}")

    def row(self, line: IntentLine) -> dict[str, object]:
        """The fields of a line, as JSON has them."""
        return {
            "line": line.line if self._from_file else None,
            "message_id": line.message_id,
            "connector": line.intent.connector_name,
            "action": line.intent.action,
        }

    def _due_at(self, line: IntentLine, receipt: Receipt) -> datetime | None:
        """When the intent falls due; it counts as delayed."""
        delay_ms = line.intent.delay_ms
        if not delay_ms or (due_at := at(receipt.created_ms + delay_ms)) is None:
            return None
        self.tally.delayed += 1
        self._last_due = max(self._last_due or due_at, due_at)
        return due_at

    def write(self, text: str) -> None:
        """Write to standard output, and if that fails to standard error: the intent is published all the same."""
        if self.bar.is_shown and sys.stdout.isatty():
            self.bar.print(text)
            return
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError:
            self.bar.print(f"signalq: standard output can't be written, so it is said here: {text}")

    # ---- the end ----

    def finish(self, *, what_next: str = "", not_kept: str | None = None) -> int:
        """Show the summary, and return the exit status.

        `what_next` is the advice for lines that are not dealt with; `not_kept` says why the progress was not written.
        """
        tally, seconds = self.tally, time.monotonic() - self._began_s
        if self._from_file and not self._as_json:
            self.write(tally.summary(seconds, last_due=_shown(self._last_due)))
        if not_kept is not None:
            self.say(f"--resume will not know how far it came: {not_kept}")
        if open_lines := self._what_is_open(what_next):
            self.bar.print(f"signalq: {open_lines}")
        is_empty = self._from_file and not (tally.published or tally.bad or tally.unconfirmed or tally.skipped)
        if is_empty and tally.stopped_by is None:
            # An export that failed is likelier than a day without orders, and exit status 0 would hide it.
            self.say("the input holds no intent: nothing was published")
        if self._from_file and self._as_json:
            self.bar.print(ascii_json(tally.row(seconds)))
        if tally.stopped_by is not None:
            return INTERRUPTED
        is_failed = tally.bad or tally.unconfirmed or tally.gave_up or (tally.outcomes and tally.outcomes.failed)
        return FAILED if is_failed or is_empty else DONE

    def _what_is_open(self, what_next: str) -> str | None:
        """One sentence on the lines that are not dealt with, and what to run next; None if there are none."""
        tally = self.tally
        unknown = tally.outcomes.counts["unknown"] if tally.outcomes is not None else 0
        if tally.refused:
            one = Failure(tally.refused, Kind.UNROUTABLE).with_address
            return f"{tally.refused}; then {what_next}" if self._from_file else one
        if not tally.unconfirmed and not unknown and not tally.gave_up and tally.stopped_by is None:
            return None
        if self._message_id is not None:
            return self._what_of_the_one(escaped(self._message_id))
        why = tally.gave_up or "RabbitMQ does not confirm any more"
        if tally.stopped_by is not None:
            why = f"stopped by {tally.stopped_by}"
        line = tally.through_line
        if tally.outcomes is None:
            done = f"everything up to line {line:,} is dealt with" if line else "nothing is confirmed"
        else:
            done = f"every outcome up to line {line:,} is known" if line else "no outcome is known"
        sentence = f"{escaped(why)}: {done}"
        if tally.unconfirmed:
            sentence += f", {plural(tally.unconfirmed, 'intent')} behind it may have arrived or not"
        if unknown:
            sentence += f", {plural(unknown, 'intent')} behind it may still be on the way"
        return f"{sentence}; {what_next}"

    def _what_of_the_one(self, message_id: str) -> str | None:
        """The same sentence for one intent from flags."""
        tally = self.tally
        if tally.unconfirmed or not tally.published:
            sentence = (
                "RabbitMQ did not confirm it: once it is reachable, run the same command with "
                f"--message-id {message_id}, that orders it once"
            )
            return Failure(sentence, Kind.UNCONFIRMED).with_address
        if tally.outcomes is None or not tally.outcomes.counts["unknown"]:
            return None
        sentence = (
            f"it is published, and its outcome is not known yet: `signalq orders show {message_id}` says what became "
            f"of it, and the same command with --message-id {message_id} waits again, and orders nothing twice"
        )
        return Failure(sentence, Kind.OUTCOME_TIMEOUT).with_address


def ending_sentence(ending: Ending) -> str:
    """The ending in words, such as `dead, rejected (HTTP 400) after 2 attempts`."""
    outcome = ending.outcome
    said = "duplicate of one that is " if ending.is_duplicate else ""
    if outcome is None:
        due = f", due at {iso_utc(ending.due_at)}" if ending.due_at is not None else ""
        return f"{said}{'not known' if ending.status == 'unknown' else ending.status}{due}"
    said += ending.status
    if outcome.status == "delivered":
        return said if ending.is_duplicate else f"{said} in {ending.seconds:.2f} s"
    answered = f" (HTTP {outcome.http_status})" if outcome.http_status is not None else ""
    attempts = f" after {plural(outcome.attempts, 'attempt')}" if outcome.attempts else ""
    return f"{said}{f', {escaped(outcome.reason)}' if outcome.reason else ''}{answered}{attempts}"


def _ending_row(ending: Ending) -> dict[str, object]:
    outcome = ending.outcome
    return {
        "status": ending.status,
        "duplicate": ending.is_duplicate,
        "reason": outcome.reason if outcome is not None else None,
        "attempts": outcome.attempts if outcome is not None else None,
        "http_status": outcome.http_status if outcome is not None else None,
        "due_at": _shown(ending.due_at),
        "updated_at": _shown(outcome.updated_at if outcome is not None else None),
    }


def named(line: IntentLine) -> str:
    """A line's order, for people."""
    return f"{line.intent.action} for {escaped(line.intent.connector_name)}"


def _shown(moment: datetime | None) -> str | None:
    return iso_utc(moment) if moment is not None else None
