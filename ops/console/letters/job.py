"""A job: what a person asked of the queue of dead letters, how far it has come, and its results."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.database import machine_ms
from signalq.consumer.orders.letters import MARK_BYTES
from signalq.ops.console.letters.tally import Tally
from signalq.ops.dead_letters.actions import LetterResult
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.terminal.spool import Spool
from signalq.secrets.masking import SECRET_CHARACTERS_MIN
from signalq.settings.sections import Settings

# Of letter after letter so much time goes by until pages are told.
STEP_S = 0.5
# The name under which a row has its letter's identity; it is no field of a letter.
MARK = "mark"

Action = Literal["replay", "discard"]
# A verdict is a dry run of its action; `letter` reads the queue for one letter, `queue` to tell the ledger of all.
JobKind = Literal["verdict", "replay", "discard", "letter", "queue"]
JobState = Literal["waiting", "running", "done", "failed", "canceled", "interrupted"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The letters that a job is about: their identities, one after the other, and what the audit says of them."""

    marks: bytes = b""
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.marks) // MARK_BYTES

    def each(self) -> frozenset[bytes]:
        """The identities."""
        return frozenset(_each(self.marks))


@dataclass(frozen=True, slots=True)
class Asked:
    """A person's request: of which kind, by whom, on which letters.

    `action` is the one that a verdict judges. `forced` are the letters among those chosen that a person has confirmed,
    one identity after the other. `intent_id` is the letter to show. `follows` is the job that it goes on from.
    """

    kind: JobKind
    actor: Actor
    chosen: Chosen = Chosen()
    action: Action = "replay"
    forced: bytes = b""
    intent_id: str | None = None
    follows: str | None = None

    def confirmed(self) -> frozenset[bytes]:
        """The identities of the letters that a person has confirmed."""
        return frozenset(_each(self.forced))


class Job:
    """One request, and what has become of it. Times are ms since the epoch, by this machine's clock.

    `waits` is the sentence of one that waits for another reader. `said` is the news at its end, or why it failed.
    `audited` is the number of its row in the audit, once it has one.
    """

    def __init__(self, key: str, number: int, asked: Asked, on_change: Callable[[], None]) -> None:
        self.key = key
        self.number = number
        self.asked = asked
        self.asked_ms = machine_ms()
        self.state: JobState = "waiting"
        self.began_ms: int | None = None
        self.ended_ms: int | None = None
        self.read = 0
        self.to_read: int | None = None
        self.unread = 0
        self.waits: str | None = None
        self.said: str | None = None
        self.canceled_by: str | None = None
        self.followed_by: str | None = None
        self.audited: int | None = None
        self.rows = Spool()
        self.tally = Tally()
        self.task: asyncio.Task[None] | None = None
        self._on_change = on_change
        self._told_s = float("-inf")

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.ended_ms is not None

    @property
    def missing(self) -> int:
        """How many of the chosen letters were not in the queue any more, once all of it was read."""
        whole = self.state == "done" and not self.unread
        return max(0, self.asked.chosen.count - len(self.rows)) if whole else 0

    def begin(self) -> None:
        """Note that it is its turn."""
        self.state, self.began_ms = "running", machine_ms()
        self._on_change()

    def wait(self, sentence: str) -> None:
        """Note that another reader has the queue."""
        self.waits = sentence
        self._on_change()

    def begin_reading(self, to_read: int) -> None:
        """Note that it has the queue, and how many letters there are."""
        self.waits, self.to_read = None, to_read
        self._on_change()

    def step(self) -> None:
        """Count a letter that was read."""
        self.read += 1
        now_s = time.monotonic()
        if now_s - self._told_s >= STEP_S:
            self._told_s = now_s
            self._on_change()

    def add(self, letter: Letter, result: LetterResult, settings: Settings, *, is_open: bool) -> None:
        """Keep the result of a letter that was chosen; `is_open`: its order opens something."""
        would = "would be " if self.asked.kind == "verdict" else ""
        row = {**letter.row(), "result": would + result.result, "why": result.why}
        self.tally.add(len(self.rows), letter.identity, row, result, is_open=is_open)
        self.keep(row, letter.identity, settings)

    def keep(self, row: Mapping[str, object], identity: bytes, settings: Settings) -> None:
        """Keep the row of a letter, without any secret that the settings have."""
        shown = {name: _blanked(value, settings) for name, value in row.items()}
        self.rows.add(shown | {MARK: identity.hex()})

    def end(self, state: JobState, said: str | None = None) -> None:
        """Note its end."""
        self.state, self.ended_ms, self.waits = state, machine_ms(), None
        self.said = said if said is not None else self.said
        self._on_change()


def _each(marks: bytes) -> Iterator[bytes]:
    return (marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES))


def _blanked(value: object, settings: Settings) -> object:
    """JSON data with the settings' secrets blanked in every text."""
    if isinstance(value, str):
        return settings.blanker(value, characters_min=SECRET_CHARACTERS_MIN)
    if isinstance(value, Mapping):
        return {name: _blanked(item, settings) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_blanked(item, settings) for item in value]
    return value
