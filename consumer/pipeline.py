"""One message's way, from delivery to disposition. Read this first.

    broker (lane) -> service (slot) -> handle -> order.read -> [turn of its connector]
        -> ledger.recall -> rules.before -> ledger claim -> webhook.post -> rules.after -> ledger outcome
        -> settle (publish, confirm, ledger, ack) -> one log line

What to do is a value (rules.py); doing it is here; when a message may be interrupted is in slots.py. What happens if we
die after each step is in docs/delivery-semantics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, assert_never

import structlog

from consumer import rules
from consumer.broker import Delivery, Dispositions
from consumer.clock import Clock
from consumer.delays import backoff_s, park_seconds
from consumer.due import DueTimes
from consumer.history import Attempt, History
from consumer.ledger import Ledger
from consumer.order import Order, Unreadable, read
from consumer.rules import DeadLetter, Deliver, Disposition, Done, Drop, Park, Release, Retry, Wait
from consumer.settings import Settings
from consumer.slots import Slot
from consumer.telemetry import Metrics
from consumer.turns import Turn, Turns
from consumer.webhook import Webhook
from signalq import names
from signalq.envelope import republish_properties

log = structlog.get_logger()


class Pipeline:
    """Handles messages, each in a task of its own; holds no message itself."""

    def __init__(
        self,
        settings: Settings,
        *,
        ledger: Ledger,
        webhook: Webhook,
        dispositions: Dispositions,
        due_times: DueTimes,
        metrics: Metrics,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._webhook = webhook
        self._dispositions = dispositions
        self._due_times = due_times
        self._metrics = metrics
        self._clock = clock
        self._jitter = jitter
        self._turns = Turns()
        self._posts = asyncio.Semaphore(settings.delivery.concurrency)
        self._last_rank = 0

    async def handle(self, delivery: Delivery, slot: Slot) -> None:
        """A message of a lane: read it, wait for its connector's turn, POST it, settle it."""
        order = self._ranked(self._read(delivery))
        async with self._turn(order) as turn:
            if isinstance(order, Unreadable):
                disposition: Disposition = DeadLetter("invalid", order.detail)
            else:
                disposition = await self._deliver(order, turn, slot)
            if not isinstance(disposition, Release):
                with slot.busy():
                    await self._settle(delivery, order, disposition)

    async def give_up(self, delivery: Delivery, slot: Slot) -> None:
        """A message whose handling failed unexpectedly `delivery.crashes_max` times: nobody can deliver it."""
        detail = f"handling it failed unexpectedly {self._settings.delivery.crashes_max} times, see the log"
        with slot.busy():
            await self._settle(delivery, self._read(delivery), DeadLetter("undeliverable", detail))

    async def handle_due(self, delivery: Delivery, slot: Slot) -> None:
        """A message that the ladder handed back: hold it for its last second, then give it to its lane."""
        order = self._read(delivery)
        if isinstance(order, Unreadable):
            with slot.busy():
                await self._settle(delivery, order, DeadLetter("invalid", order.detail))
            return
        due_ms = order.due_ms or 0
        if park_seconds(due_ms, self._clock.now_ms()) > 0:  # a clock was set back: not yet
            with slot.busy():
                await self._settle(delivery, order, Park(due_ms))
            return
        await self._due_times.wait_until(due_ms, rank=order.park_rank, session=delivery.session)
        with slot.busy():
            properties = republish_properties(delivery.message.properties, _marks(order), order.intent_id)
            await self._dispositions.hand_to_lane(order.connector, delivery.message.body, properties)
            await self._dispositions.ack(delivery)

    def _read(self, delivery: Delivery) -> Order | Unreadable:
        order = read(delivery.message, self._settings, self._clock.now_ms())
        if isinstance(order, Order):
            age_s = (order.received_ms - order.creation.age_ms) / 1000
            self._metrics.receipt_age_seconds.observe(age_s)
            log.debug("intent.received", **_facts(order), redelivered=order.redelivered)
        return order

    def _ranked(self, order: Order | Unreadable) -> Order | Unreadable:
        """Write down the place in the lane of what will be parked: µs, made to rise, also from replica to replica."""
        if isinstance(order, Unreadable) or order.is_due:
            return order
        self._last_rank = max(self._last_rank + 1, order.received_ms * 1000)
        return replace(order, park_rank=self._last_rank)

    @asynccontextmanager
    async def _turn(self, order: Order | Unreadable) -> AsyncIterator[Turn]:
        """The connector's turn; what can't be read or is not due yet waits for none and holds up none."""
        if isinstance(order, Unreadable) or not order.is_due:
            yield Turn()
            return
        async with self._turns.take(order.connector) as turn:
            yield turn

    async def _deliver(self, order: Order, turn: Turn, slot: Slot) -> Disposition:
        """Ask the rules and do as they say, until the intent has a disposition."""
        while not slot.withdrawn:
            history = await self._ledger.recall(order)
            match rules.before(order, history, turn.opens_ms, self._clock.now_ms()):
                case Wait(until_ms):
                    await self._clock.sleep_until(until_ms)
                case Deliver():
                    result = await self._attempt_in_time(order, history, turn, slot)
                    if not isinstance(result, Retry):
                        return result
                case disposition:
                    return disposition
        return Release()

    async def _attempt_in_time(self, order: Order, history: History, turn: Turn, slot: Slot) -> rules.After:
        """One attempt, once one of the `delivery.concurrency` places is free and if there is still time then."""
        async with self._posts:
            now_ms = self._clock.now_ms()
            if now_ms > order.expires_ms:
                return Retry(now_ms)  # the rules are asked again, and see that it has expired
            with slot.busy():
                return await self._attempt(order, history, turn)

    async def _attempt(self, order: Order, history: History, turn: Turn) -> rules.After:
        """Claim, POST, record: the claim is known before the first byte goes out, the outcome before anything else."""
        claim = history.claimed(self._clock.now_ms())
        await self._ledger.save(order, claim)
        self._observe_start(order, claim)
        attempt = await self._webhook.post(order)
        concluded = claim.concluded(attempt, was_in_doubt=history.in_doubt)
        wait_s = self._note_answer(turn, attempt)
        after = rules.after(order, concluded, attempt, wait_s, self._clock.now_ms())
        if isinstance(after, Retry):
            concluded = concluded.retrying(after.at_ms)
        await self._ledger.save(order, concluded)
        self._log_attempt(order, concluded, attempt, after)
        return after

    def _note_answer(self, turn: Turn, attempt: Attempt) -> float:
        """Keep the lane's backoff; return how long it waits at least, in seconds."""
        if attempt.certainty in {"accepted", "refused"}:
            turn.succeeded()
            return 0.0
        turn.failures += 1
        delivery = self._settings.delivery
        wait_s = backoff_s(
            turn.failures, base_s=delivery.backoff_base_s, max_s=delivery.backoff_max_s, fraction=self._jitter()
        )
        asked_s = min(attempt.retry_after_s or 0.0, delivery.retry_after_max_s)
        turn.closed_until(self._clock.now_ms() + round(max(wait_s, asked_s) * 1000))
        return wait_s

    async def _settle(self, delivery: Delivery, order: Order | Unreadable, disposition: Disposition) -> None:
        """Publish and confirm, then record, then acknowledge: a crash between can repeat, and can't lose."""
        match disposition:
            case Done():
                self._metrics.note_accepted(order.connector)
                self._log_settled(order, "delivered")
            case Park(due_ms):
                await self._park(delivery, order, due_ms)
            case DeadLetter():
                await self._bury(delivery, order, disposition)
                self._log_settled(order, "dead", disposition.reason)
            case Drop(duplicate):
                if duplicate:
                    self._log_settled(order, "duplicate")
            case Release():
                return
            case _:
                assert_never(disposition)
        await self._dispositions.ack(delivery)

    async def _park(self, delivery: Delivery, order: Order | Unreadable, due_ms: int) -> None:
        message = delivery.message
        properties = republish_properties(message.properties, _marks(order), order.intent_id)
        await self._dispositions.park(due_ms, self._clock.now_ms, message.body, properties)
        if isinstance(order, Order):
            history = await self._ledger.recall(order)
            # Parking is repeated until it is confirmed: an earlier copy may have come back and been POSTed meanwhile.
            if history.status == "received":
                await self._ledger.save(order, history.scheduled())
        self._metrics.intents.labels(self._metrics.connector_label(order.connector), "scheduled", "").inc()
        log.info("intent.scheduled", **_facts(order), due_at=_iso(due_ms))

    async def _bury(self, delivery: Delivery, order: Order | Unreadable, letter: DeadLetter) -> None:
        """Ledger `dying`, letter confirmed, ledger `dead`: a letter may be there twice, never be missing."""
        if isinstance(order, Unreadable):
            await self._publish_letter(delivery, order, letter, None)
            return
        if letter.under_own_id:
            order = replace(order, intent_id=f"{order.intent_id[:200]}~{order.digest.hex()[:16]}")
        history = await self._ledger.recall(order)
        if history.ended:
            return  # a redelivery of what is in the dead letters already
        history = history.dying(letter.reason, letter.detail)
        await self._ledger.save(order, history)
        await self._publish_letter(delivery, order, letter, history)
        await self._ledger.save(order, history.dead())

    async def _publish_letter(
        self, delivery: Delivery, order: Order | Unreadable, letter: DeadLetter, history: History | None
    ) -> None:
        headers: dict[str, Any] = {
            names.REASON: letter.reason,
            names.DETAIL: letter.detail,
            names.ATTEMPTS: history.attempts if history else 0,
            names.HTTP_STATUS: history.http_status if history else None,
            names.DEAD_AT: _iso(self._clock.now_ms()),
            names.INTENT_ID: order.intent_id,
            names.GENERATION: history.generation if history else 1,
            names.CONNECTOR: order.connector,
            names.STRATEGY: order.strategy,
            names.ORIGIN_USER: order.origin_user,
        }
        message = delivery.message
        await self._dispositions.bury(message.body, republish_properties(message.properties, headers, order.intent_id))
        log.error("intent.dead_lettered", **_facts(order), reason=letter.reason, detail=letter.detail)

    def _observe_start(self, order: Order, claim: History) -> None:
        if claim.attempts > 1:
            return
        late_s = (self._clock.now_ms() - order.age_from_ms) / 1000
        self._metrics.end_to_end_seconds.observe(late_s)
        if order.due_ms is not None:
            self._metrics.delay_error_seconds.observe(late_s)

    def _log_attempt(self, order: Order, history: History, attempt: Attempt, after: rules.After) -> None:
        label = self._metrics.connector_label(order.connector)
        self._metrics.attempts.labels(label, attempt.certainty).inc()
        self._metrics.webhook_seconds.observe(attempt.duration_s)
        log.info(
            "delivery.attempted",
            **_facts(order),
            attempt=history.attempts,
            certainty=attempt.certainty,
            why=attempt.why,
            duration_ms=round(attempt.duration_s * 1000, 1),
            next_attempt_at=_iso(after.at_ms) if isinstance(after, Retry) else None,
        )

    def _log_settled(self, order: Order | Unreadable, status: str, reason: str = "") -> None:
        self._metrics.intents.labels(self._metrics.connector_label(order.connector), status, reason).inc()
        log.info("intent.settled", **_facts(order), status=status, reason=reason or None)


def _facts(order: Order | Unreadable) -> dict[str, Any]:
    """What every log line about an intent tells of it."""
    facts = {"intent_id": order.intent_id, "connector": order.connector, "strategy": order.strategy}
    if isinstance(order, Order):
        facts["action"] = order.intent.action
    return facts


def _marks(order: Order | Unreadable) -> dict[str, Any]:
    """The headers that tell us, when the intent comes back, where to look."""
    marks: dict[str, Any] = {names.INTENT_ID: order.intent_id, names.ORIGIN_USER: order.origin_user}
    if isinstance(order, Order):
        marks[names.PARK_RANK] = order.park_rank or None
        # A `timestamp` in whole seconds counts from its end, or from now if that is to come: later, "now" is another.
        if order.creation.pinned or order.creation.source == "timestamp":
            marks[names.CREATED_MS] = order.creation.delay_ms
    return marks


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
