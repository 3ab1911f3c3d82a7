"""One message's way, from delivery to acknowledgement. Read this first.

    broker (lane) -> handling (slot) -> handle -> read -> waiting: the turn of its connector, what is known
        -> rules.before -> attempt: claim, POST, rules.after, outcome [and with a delivered one the connector's next]
        -> settle (publish, confirm, ledger) -> one log line -> [the connector's next] -> outcome event -> ack

What to do is a value (rules.py). Two doors lead on: waiting (lanes/turn.py) and an attempt (attempt.py); what is
decided is done in settling.py; when a message may be interrupted is in slots.py. What happens if we die after each step
is in docs/delivery-semantics.md.
"""

from collections.abc import Sequence

import structlog

from signalq.consumer.attempt import AskAgain, Attempted, Attempts
from signalq.consumer.broker.publisher import TELL_MAX_S, OutcomePublisher
from signalq.consumer.broker.session import Delivery
from signalq.consumer.lanes.first_in_line import FirstInLine, first_in_line
from signalq.consumer.lanes.floods import Floods
from signalq.consumer.lanes.turn import Turn, WaitingRoom
from signalq.consumer.ledger import Conflict, Epoch, Fenced, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import rules
from signalq.consumer.orders.decisions import DeadLetter, Deliver, Disposition, Done, Hold, Refusal, Wait
from signalq.consumer.orders.limits import RateExceeded
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.switch import SwitchedOff
from signalq.consumer.reception import Reception
from signalq.consumer.settling import Settler
from signalq.consumer.slots import Slot
from signalq.consumer.telemetry.intents import facts_of
from signalq.message.outcome import Outcome

log = structlog.get_logger()


class Pipeline:
    """Handles messages, each in a task of its own; holds no message itself."""

    def __init__(
        self,
        *,
        reception: Reception,
        floods: Floods,
        waiting: WaitingRoom,
        attempts: Attempts,
        settler: Settler,
        outcomes: OutcomePublisher,
        ledger: Ledger,
    ) -> None:
        self._reception = reception
        self._floods = floods
        self._waiting = waiting
        self._attempts = attempts
        self._settler = settler
        self._outcomes = outcomes
        self._ledger = ledger

    async def handle(self, delivery: Delivery, slot: Slot) -> None:
        """A message of a lane: read it, see it through, tell its ending, acknowledge it."""
        order = self._reception.read(delivery)
        if isinstance(order, Unreadable):
            await self._refuse(delivery, order, slot)
            return
        try:
            ended = await self._see_through(delivery, order, slot)
            if ended is not None:  # else it is not ours any more, and comes again
                # No await since the ledger knows, so nobody has come between.
                await self._let_go(delivery, ended, slot)
        finally:
            self._ledger.release(order)

    async def _see_through(self, delivery: Delivery, order: Order, slot: Slot) -> Sequence[Outcome] | None:
        """Ask the rules and do as they say, until the order is settled; return what has ended with it."""
        refusal: Refusal | None = None
        async with self._waiting.turn(delivery, order) as turn:
            while not slot.withdrawn:
                try:
                    known = await turn.known()
                    decision = rules.before(known.order, known.state, turn.now_ms(), turn.waits(known), refusal)
                    refusal = None  # a refusal is good for one decision
                    match decision:
                        case Wait(until_ms):
                            await turn.wait(until_ms)
                        case Hold(until_ms):
                            refusal = await turn.hold(until_ms)
                        case Deliver():
                            match await self._attempts.make(delivery, known, turn, slot):
                                case Attempted(known, Done() | DeadLetter() as ending):
                                    return await slot.finish(self._settle(delivery, known, ending, turn))
                                case SwitchedOff() | RateExceeded() as refusal:
                                    pass  # the rules say what follows from that
                                case Attempted() | AskAgain():
                                    pass  # to be tried again; or time has passed meanwhile
                        case disposition:
                            return await slot.finish(self._settle(delivery, known, disposition, turn))
                except Fenced:
                    delivery.session.lose("another consumer has become the active one")
                    return None
                except Conflict:  # look again: its ending may be recorded, and if nobody looks it stays in doubt
                    delivery.session.owe(delivery.tag)
                    log.debug("ledger.moved_on", **facts_of(known.order))
        return None

    async def _settle(
        self, delivery: Delivery, known: LedgerEntry, disposition: Disposition, turn: Turn
    ) -> Sequence[Outcome]:
        """Do what was decided; return what has ended, what an earlier consumer may have left untold first."""
        ended = await self._settler.settle(delivery, known, disposition)
        turn.settled(disposition)
        return *turn.unpublished, *ended

    async def _refuse(self, delivery: Delivery, unreadable: Unreadable, slot: Slot) -> None:
        async with self._floods.place(delivery):
            ended = await slot.finish(self._settler.refuse(delivery, unreadable))
            await self._let_go(delivery, ended, slot)

    async def _let_go(self, delivery: Delivery, ended: Sequence[Outcome], slot: Slot) -> None:
        delivery.session.owe(delivery.tag)
        await slot.finish_within(TELL_MAX_S, self._tell_and_ack(delivery, ended))

    async def _tell_and_ack(self, delivery: Delivery, ended: Sequence[Outcome]) -> None:
        """Tell what has ended, then acknowledge: if we die between, the message comes again, and is told again."""
        await self._outcomes.publish(ended)
        await delivery.ack()

    async def give_up(self, delivery: Delivery, slot: Slot, crashes: int) -> None:
        """A message whose handling failed unexpectedly so often: nobody can deliver it."""
        order = self._reception.read(delivery)
        if isinstance(order, Unreadable):
            await self._refuse(delivery, order, slot)
            return
        try:
            detail = f"handling it failed unexpectedly {crashes} times, see the log"
            ended = await slot.finish(self._settler.give_up(delivery, order, detail))
            await self._let_go(delivery, ended, slot)
        except Conflict:
            delivery.session.lose("handling a message failed, and the ledger has moved on meanwhile")
        finally:
            self._ledger.release(order)

    def remember(self, epoch: Epoch) -> None:
        """Go on waiting for what the lane's consumer before us waited for."""
        self._waiting.remember(epoch)

    def first_in_line(self) -> dict[str, FirstInLine]:
        """By the queue of each lane with orders here: how long the first in line wait."""
        clock = self._waiting.clock
        return first_in_line(self._waiting.queues, clock.even_ms(), clock.now_ms())

    async def told(self) -> None:
        """Return once nothing is told beside the messages any more; see OutcomePublisher."""
        await self._outcomes.drained()

    async def close(self) -> None:
        """Nothing is waited for any more."""
        self._waiting.close()
        await self._outcomes.close()
