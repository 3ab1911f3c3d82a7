"""One transaction, and the works that it does, in their order.

The claim and the outcome that every order needs are values, a `Save` each, and those side by side are done together.
All other works are functions of the transaction, on SQLAlchemy's connection.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from signalq.consumer.ledger import Conflict, Epoch, Fenced, LaneMemory, LedgerEntry
from signalq.consumer.ledger.queries import events, intents, lanes, letters, rates, schedule, switches
from signalq.consumer.ledger.queries.events import TimelineEvent
from signalq.consumer.ledger.queries.intents import NextVersion
from signalq.consumer.ledger.queries.look import Look, look
from signalq.consumer.orders.letters import LetterRecord
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import Switch, SwitchedOff, stops

CANCELING = frozenset({"cancel", "cancelAll"})


@dataclass(frozen=True, slots=True, eq=False)
class Save:
    """The next version of an intent: a claim has an `owner`, whatever else is recorded has none.

    With an epoch, it holds only while that is its lane's. `attempt`: one that ended, or was never concluded, for the
    intent's timeline. `letter`: the one in which an intent that is dead now was buried.
    """

    order: Order
    state: IntentState
    epoch: Epoch | None = None
    attempt: Attempt | None = None
    owner: str | None = None
    letter: LetterRecord | None = None


def lanes_of(works: Iterable[object]) -> set[str]:
    """The lanes whose epochs the saves among these hold under."""
    return {work.epoch.lane for work in works if isinstance(work, Save) and work.epoch is not None}


# A part of a transaction. It says by its answer that it has lost a race: raised, that would undo the others'.
Work = Save | Callable[["Transaction"], Any]


class TakesRates(partial[Any]):
    """A work that takes places in rates: its transaction begins with their lock."""


@dataclass(slots=True)
class Transaction:
    """The connection, and what was looked up in it.

    `began_ms`: before anything was looked up, on the clock that nobody sets. `switch_before`: how the switch stood when
    an earlier transaction looked.
    """

    connection: Connection
    looked: Look
    began_ms: int
    switch_before: Switch = field(default_factory=Switch)
    switch_read: Switch | None = None
    events: list[TimelineEvent] = field(default_factory=list)
    letters: list[LetterRecord] = field(default_factory=list)
    memories: dict[str, tuple[str, LaneMemory]] = field(default_factory=dict)

    @property
    def now_ms(self) -> int:
        """The ledger's clock."""
        return self.looked.now_ms

    @property
    def epochs(self) -> dict[str, int | None]:
        """The epochs of the lanes that were looked up yet."""
        return self.looked.epochs

    def do(self, works: Sequence[Work]) -> list[Any]:
        """Do all of them, and what was noted to be written last; return their answers."""
        answers: list[Any] = []
        for are_saves, run in groupby(works, lambda work: isinstance(work, Save)):
            some: list[Any] = list(run)
            answers += self.save(some) if are_saves else [work(self) for work in some]
        self.write_events()
        letters.note(self.connection, self.now_ms, self.letters)
        lanes.remember(self.connection, self.now_ms, self.memories)
        return answers

    def save(self, saves: Sequence[Save]) -> list[LedgerEntry | SwitchedOff | Conflict]:
        """Save them, each for itself: what lost a race has a Conflict for an answer, and changes nothing."""
        self._look_up(lanes_of(saves))
        refused = [self.refusal(save) for save in saves]
        versions = [
            NextVersion(save.order, save.state, save.owner)
            for save, why_not in zip(saves, refused, strict=True)
            if why_not is None
        ]
        saved = iter(intents.save_each(self.connection, self.now_ms, versions))
        return [
            why_not if why_not is not None else self._saved(save) if next(saved) else Conflict()
            for save, why_not in zip(saves, refused, strict=True)
        ]

    def _saved(self, save: Save) -> LedgerEntry:
        self.note(save.order, save.state, save.attempt)
        if save.letter is not None:
            self.letters.append(save.letter)
        return LedgerEntry(save.order, save.state.saved(self.now_ms), began_ms=self.began_ms)

    def refusal(self, save: Save) -> SwitchedOff | Fenced | None:
        """The answer to what is not even tried: the lane is another's, or the switch lets no such claim pass."""
        if save.epoch is not None and not self.is_current(save.epoch):
            return Fenced()
        return self.switched_off(save.order) if save.owner is not None else None

    def claim(self, claim: Save, rates_taken: Sequence[Rate]) -> LedgerEntry | SwitchedOff | RateExceeded | Conflict:
        """Save a claim that takes places in rates, or that cancels what its order means with the same stroke."""
        if (why_not := self.refusal(claim)) is not None:
            return why_not
        over = rates.over(self.connection, self.now_ms, rates_taken)
        if full := [rate for rate in over if rate.enforced]:
            return RateExceeded(full[0])
        (saved,) = self.save([claim])
        if not isinstance(saved, LedgerEntry):
            return saved
        rates.take(self.connection, self.now_ms, rates_taken)
        if claim.order.intent.kind not in CANCELING:
            return replace(saved, over_rates=tuple(over))
        self.write_events()  # in the order in which it happened
        canceled = schedule.cancel_by(self.connection, self.now_ms, claim.order)
        return replace(saved, over_rates=tuple(over), canceled=tuple(canceled))

    def is_current(self, epoch: Epoch) -> bool:
        """Whether nobody has become the lane's consumer since."""
        self._look_up({epoch.lane})
        return self.epochs[epoch.lane] == epoch.number

    def _look_up(self, wanted: set[str]) -> None:
        """Look up the epochs of these lanes, each once a transaction: they stay until it ends."""
        if unknown := wanted - self.epochs.keys():
            self.epochs.update(look(self.connection, unknown).epochs)

    def switch(self) -> Switch:
        """How the switch stands: its version is looked up once a transaction, and never before it began."""
        if self.switch_read is None:
            self.switch_read = switches.read_of(self.connection, self.looked.switch_version, self.switch_before)
        return self.switch_read

    def switched_off(self, order: Order) -> SwitchedOff | None:
        """The answer to the claim of an order that the switch does not let pass."""
        state = self.switch().state_of(order.connector)
        return SwitchedOff(state) if stops(state, is_exit=order.is_exit) else None

    def note(self, order: Order, state: IntentState, attempt: Attempt | None = None) -> None:
        """Have the events that a save makes written with it: all those of one transaction together, at its end."""
        self.events += events.of_save(order, state, attempt)

    def write_events(self) -> None:
        """Write what was noted so far."""
        events.write(self.connection, self.now_ms, self.events)
        self.events.clear()

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """Have it kept for the lane's next consumer, at the end of the transaction; the last word of each counts."""
        _, before = self.memories.get(memory.connector, (lane, memory))
        if memory.posted_ago_ms is None:
            memory = replace(memory, posted_ago_ms=before.posted_ago_ms)
        self.memories[memory.connector] = lane, memory
