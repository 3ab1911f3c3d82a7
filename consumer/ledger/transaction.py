"""One transaction of the ledger's writer: what the works in it share, and what is written at its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from signalq.consumer.ledger import Epoch, LaneMemory
from signalq.consumer.ledger.queries import events, lanes, paces, schedule, switches
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import Switch, SwitchedOff, stops


@dataclass(slots=True)
class Transaction:
    """The connection, the ledger's clock, and the epochs and the switch as they were looked up in it.

    `began_ms`: before anything was read, on the clock that nobody sets. `switch_before`: how the switch stood when an
    earlier transaction looked.
    """

    connection: Connection
    now_ms: int
    began_ms: int
    switch_before: Switch = field(default_factory=Switch)
    switch_read: Switch | None = None
    epochs: dict[str, int | None] = field(default_factory=dict)
    events: list[events.TimelineEvent] = field(default_factory=list)
    memories: dict[str, tuple[str, LaneMemory]] = field(default_factory=dict)

    def is_current(self, epoch: Epoch) -> bool:
        """Whether nobody has become the lane's consumer since."""
        if epoch.lane not in self.epochs:
            self.epochs[epoch.lane] = lanes.current_epoch(self.connection, epoch.lane)
        return self.epochs[epoch.lane] == epoch.number

    def switch(self) -> Switch:
        """How the switch stands: looked up once a transaction, and never before it began."""
        if self.switch_read is None:
            self.switch_read = switches.read(self.connection, self.switch_before)
        return self.switch_read

    def switched_off(self, order: Order) -> SwitchedOff | None:
        """The answer to the claim of an order that the switch does not let pass."""
        state = self.switch().state_of(order.connector)
        return SwitchedOff(state) if stops(state, is_exit=order.is_exit) else None

    def note(self, order: Order, state: IntentState, attempt: Attempt | None) -> None:
        """Have the event that a save makes written with it: all those of one transaction together, at its end."""
        made = [events.of_receipt(order) if state.version == 0 else None, events.of_save(order, state, attempt)]
        self.events += [event for event in made if event is not None]

    def note_receipt(self, order: Order) -> None:
        """The same for an intent whose first record is made by a look at it."""
        if (event := events.of_receipt(order)) is not None:
            self.events.append(event)

    def cancel_by(self, order: Order) -> tuple[Pending, ...]:
        """What the claim of a `cancel` or `cancelAll` cancels; nothing, for any other."""
        if order.intent.kind not in {"cancel", "cancelAll"}:
            return ()
        self.write_events()  # in the order in which it happened
        return tuple(schedule.cancel_by(self.connection, self.now_ms, order))

    def write_events(self) -> None:
        """Write what was noted so far."""
        if self.events:
            events.write(self.connection, self.now_ms, self.events)
            self.events.clear()

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """Have it kept for the lane's next consumer, at the end of the transaction; the last word of each counts."""
        _, before = self.memories.get(memory.connector, (lane, memory))
        if memory.posted_ago_ms is None:
            memory = replace(memory, posted_ago_ms=before.posted_ago_ms)
        self.memories[memory.connector] = lane, memory

    def end(self) -> None:
        """Write what was noted to be written last."""
        self.write_events()
        paces.remember(self.connection, self.now_ms, self.memories)
