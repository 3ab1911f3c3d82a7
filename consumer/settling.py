"""Settling does what is decided of an intent: it is parked, forwarded, dead-lettered, or dropped.

Each publishes, waits for the confirm, and records: a crash between can repeat, and can't lose. Nothing here
acknowledges; that comes last, and from the pipeline.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, assert_never

from signalq import names
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.ledger import Conflict, Epoch, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import lanes, outcomes, rules
from signalq.consumer.orders.decisions import DeadLetter, Disposition, Done, Drop, Forward, Park
from signalq.consumer.orders.letters import record_of
from signalq.consumer.orders.marks import marks_of
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.state import IntentState
from signalq.consumer.telemetry.intents import IntentTelemetry
from signalq.message.envelope import republish_properties
from signalq.message.identity import separate_id
from signalq.message.outcome import Outcome
from signalq.times import iso_ms


class Settler:
    """Does what the rules say; every method returns once it has happened and is recorded."""

    def __init__(self, ledger: Ledger, publisher: BrokerPublisher, telemetry: IntentTelemetry, clock: Clock) -> None:
        self._ledger = ledger
        self._publisher = publisher
        self._telemetry = telemetry
        self._clock = clock

    async def settle(self, delivery: Delivery, known: LedgerEntry, disposition: Disposition) -> Sequence[Outcome]:
        """Publish and confirm, then record. Returns what has ended."""
        match disposition:
            case Done():
                self._telemetry.settled(known.order, "delivered")
                return (self._ending(known),)
            case Park(due_ms):
                await self._park(delivery, known, due_ms)
                return ()
            case Forward(queue):
                await self._forward(delivery, known, queue)
                return ()
            case DeadLetter():
                return await self._bury(delivery, known, disposition)
            case Drop(duplicate):
                return await self._drop(delivery, known, duplicate=duplicate)
            case _:
                assert_never(disposition)

    async def give_up(self, delivery: Delivery, order: Order, detail: str) -> Sequence[Outcome]:
        """Nobody can deliver it: it is buried, unless what is known of it stands. Returns what has ended."""
        known = await self._ledger.recall(order, delivery.epoch)
        disposition = rules.given_up(known.order, known.state, detail, self._clock.now_ms())
        return *known.maybe_unpublished, *await self.settle(delivery, known, disposition)

    async def refuse(self, delivery: Delivery, unreadable: Unreadable) -> Sequence[Outcome]:
        """Bury a message that holds no intent: its letter is all that is known of it."""
        letter, dead_ms = DeadLetter(unreadable.reason, unreadable.detail), self._clock.now_ms()
        # First: no row of an intent says that it is among the letters, so this is all that the ledger has of it.
        record = record_of(unreadable, letter, None, delivery.message, dead_ms)
        await self._ledger.note_letter(record, delivery.message.queue)
        await self._publish_letter(delivery, unreadable, letter, None, dead_ms)
        self._telemetry.settled(unreadable, "dead", unreadable.reason)
        # An event of what came back would come back as well.
        if unreadable.came_back or self._is_sealed(delivery.message):
            return ()
        return (outcomes.unreadable(unreadable, self._clock.now_ms()),)

    async def _drop(self, delivery: Delivery, known: LedgerEntry, *, duplicate: bool) -> Sequence[Outcome]:
        """Drop a message that came again. Its ending is told again: an earlier consumer may have died before that."""
        if known.order.provenance.is_letter:
            await self._put_back(delivery, known)
        if self._is_sealed(delivery.message):
            return ()
        ended = (self._ending(known),) if known.state.ended else ()
        if not duplicate:
            return ended
        self._telemetry.settled(known.order, "duplicate")
        return outcomes.duplicate(known.order, known.state, self._clock.now_ms()), *ended

    def _ending(self, known: LedgerEntry) -> Outcome:
        return outcomes.ending(known.order, known.state, known.state.updated_ms or self._clock.now_ms())

    async def _park(self, delivery: Delivery, known: LedgerEntry, due_ms: int) -> None:
        """Onto the ladder, confirmed, then recorded. Until then it is `received`: whatever dies between, its message
        comes again and is parked again, and of two copies the second is dropped when it is due.
        """
        order, message = known.order, delivery.message
        if (fence := _fence(delivery, known)) is not None:
            known = await self._ledger.record(order, known.state, fence)
        properties = republish_properties(message.properties, marks_of(order), order.intent_id)
        await self._publisher.park(due_ms, self._clock.now_ms, message.body, properties)
        # Further on already (a clock was set back, an earlier copy came back): that stands, this is one more copy.
        if known.state.status == "received":
            try:
                await self._ledger.record(order, known.state.scheduled())
            except Conflict:
                if not order.provenance.is_own_copy:
                    raise  # whether it was said twice is told by another look
        self._telemetry.parked(order, due_ms)

    async def _forward(self, delivery: Delivery, known: LedgerEntry, queue: str) -> None:
        """Into the queue of its lane, confirmed. It is in the ledger before, so that the copy is known for what it is;
        whatever dies between, its message comes again and is forwarded again, and of two copies the second is dropped.
        What has no message_id is noted as forwarded: the copy stands for it now, and no equal message.
        """
        order, message = known.order, delivery.message
        is_copy = order.is_copy
        if not known.state.version:
            await self._ledger.record(order, known.state, _fence(delivery, known))
            is_copy = True
        marks = marks_of(order) | {names.HOPS: order.route.forwards % lanes.FORWARDS_MAX + 1}
        if not is_copy:  # a producer's second publish of what is known: it stays one
            del marks[names.INTENT_ID]
        properties = republish_properties(message.properties, marks, order.intent_id)
        await self._publisher.forward(queue, message.body, properties)
        if order.identity.message_id is None:
            await self._ledger.note_forwarded(order, known.state)
        self._telemetry.forwarded(order, queue)

    def _is_sealed(self, message: Message) -> bool:
        """Whether it is a letter of ours that came back: its ending was told when it was buried first, and told each
        time it might go round for ever. The marks of a letter prove nothing, anybody can set them; its seal does.
        """
        headers = message.properties.headers or {}
        return names.SEAL in headers and headers[names.SEAL] == self._seal(headers.get(names.INTENT_ID), message.body)

    def _seal(self, intent_id: object, body: bytes) -> str:
        """The digest that only a consumer on our ledger can write on a letter."""
        return blake2b(
            f"{intent_id}\n".encode(errors="replace") + body, key=self._ledger.ledger_id.encode(), digest_size=16
        ).hexdigest()

    async def _put_back(self, delivery: Delivery, known: LedgerEntry) -> None:
        """A letter that left the dead letters by no command of ours (somebody moved it, or a policy): it goes back, if
        it still holds.
        """
        state = known.state
        if state.status == "dead" and state.reason is not None:
            letter, dead_ms = DeadLetter(state.reason, state.detail or ""), self._clock.now_ms()
            await self._publish_letter(delivery, known.order, letter, state, dead_ms)
            record = record_of(known.order, letter, state, delivery.message, dead_ms)
            await self._ledger.note_letter(record, delivery.message.queue)

    async def _bury(self, delivery: Delivery, known: LedgerEntry, letter: DeadLetter) -> Sequence[Outcome]:
        """Ledger `dying`, letter confirmed, ledger `dead`: a letter may be there twice, never be missing."""
        if letter.under_own_id:
            own_id = separate_id(known.order.intent_id, known.order.identity.digest)
            known = await self._ledger.recall(known.order.named(known.order.strategy, own_id), delivery.epoch)
            if known.state.ended:  # a redelivery of what is in the dead letters already
                return await self._drop(delivery, known, duplicate=False)
        if known.state.status != "dying":
            dying = known.state.dead_lettering(letter.reason, letter.detail)
            fence, attempt = _fence(delivery, known), known.state.unconcluded
            known = await self._ledger.record(known.order, dying, fence, attempt=attempt)
        dead_ms = self._clock.now_ms()
        await self._publish_letter(delivery, known.order, letter, known.state, dead_ms)
        record = record_of(known.order, letter, known.state, delivery.message, dead_ms)
        known = await self._ledger.record(known.order, known.state.dead(), letter=record)
        self._telemetry.settled(known.order, "dead", letter.reason)
        return (self._ending(known),)

    async def _publish_letter(
        self,
        delivery: Delivery,
        order: Order | Unreadable,
        letter: DeadLetter,
        state: IntentState | None,
        dead_ms: int,
    ) -> None:
        message = delivery.message
        headers: dict[str, Any] = {
            names.REASON: letter.reason,
            names.DETAIL: letter.detail,
            names.ATTEMPTS: state.attempts if state else 0,
            names.HTTP_STATUS: state.http_status if state else None,
            names.ANSWER: state.answer if state else None,
            names.DEAD_AT: iso_ms(dead_ms),
            names.INTENT_ID: order.intent_id,
            names.GENERATION: state.generation if state else 1,
            names.CONNECTOR: order.connector,
            names.STRATEGY: order.strategy,
            names.ORIGIN_USER: order.identity.origin_user,
            names.BODY_BYTES: message.body_bytes if message.is_cut else None,
            names.SEAL: self._seal(order.intent_id, message.body),
        }
        await self._publisher.dead_letter(
            message.body, republish_properties(message.properties, headers, order.intent_id)
        )
        self._telemetry.dead_lettered(order, letter, state.answer if state else None)


def _fence(delivery: Delivery, known: LedgerEntry) -> Epoch | None:
    """An intent that is known by nothing yet may be recorded only while its lane is ours: the lane's next consumer
    has the same message, and could not tell that it is the same.
    """
    return delivery.epoch if known.order.identity.message_id is None and not known.state.version else None
