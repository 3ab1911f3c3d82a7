"""One attempt to POST an order; its result is a value. Read pipeline.py first.

    permit -> ledger claim -> last look, POST -> rules.after -> [the connector's next] -> ledger record

The claim is known before the first byte goes out, and the outcome before anything else is done. The next one's claim
is in line behind the outcome: it is saved with it or later, never without it. What the claim has read
of the lane and the switch holds for CLAIM_MS_MAX: whatever took longer than that is looked at again, or not POSTed.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from signalq.consumer.broker.publisher import OutcomePublisher
from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.lanes.turn import Turn
from signalq.consumer.ledger import CLAIM_MS_MAX, Conflict, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import lanes, rules
from signalq.consumer.orders.decisions import After, Done, Retry
from signalq.consumer.orders.limits import RateExceeded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import SwitchedOff
from signalq.consumer.slots import Slot
from signalq.consumer.telemetry.intents import IntentTelemetry
from signalq.consumer.webhook.client import Webhook
from signalq.settings.reload import CurrentSettings

_NO_PERMIT_NEEDED = nullcontext()


@dataclass(frozen=True, slots=True)
class Attempted:
    """The attempt has ended and is recorded; `after` says what is to follow."""

    known: LedgerEntry
    after: After


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Nothing was begun: time has passed, or the settings have changed, since the rules said so."""


class Attempts:
    """Makes attempts; in the shared lane at most `delivery.concurrency` at a time."""

    def __init__(
        self,
        current: CurrentSettings,
        *,
        ledger: Ledger,
        webhook: Webhook,
        telemetry: IntentTelemetry,
        outcomes: OutcomePublisher,
        clock: Clock,
        skew: Skew,
    ) -> None:
        self._current = current
        self._ledger = ledger
        self._webhook = webhook
        self._telemetry = telemetry
        self._outcomes = outcomes
        self._clock = clock
        self._skew = skew
        self._shared_posts = asyncio.Semaphore(current.settings.delivery.concurrency)

    async def make(
        self, delivery: Delivery, known: LedgerEntry, turn: Turn, slot: Slot
    ) -> Attempted | SwitchedOff | RateExceeded | AskAgain:
        """Make one attempt, once there is a permit for it. A refused claim is returned, and nothing was begun."""
        async with self._permit(known.order):
            if self._is_too_late(known, known.state, turn, 0) or turn.is_outdated() or turn.must_wait(known.order):
                return AskAgain()
            return await slot.finish(self._attempt(delivery, known, turn))

    def _permit(self, order: Order) -> AbstractAsyncContextManager[None]:
        """Of the shared lane alone: a connector with a lane of its own waits for no other."""
        has_own_lane = lanes.has_own_lane(self._current.settings, order.connector)
        return _NO_PERMIT_NEEDED if has_own_lane else self._shared_posts

    async def _attempt(
        self, delivery: Delivery, known: LedgerEntry, turn: Turn
    ) -> Attempted | SwitchedOff | RateExceeded:
        order, before = known.order, known.state
        rates = () if before.attempts else order.rates()
        claim = before.claimed(turn.now_ms())
        turn.claims(order)
        delivery.steps.claims()
        claimed = await self._ledger.claim(order, claim, delivery.epoch, rates=rates, attempt=before.unconcluded)
        if not isinstance(claimed, LedgerEntry):
            return claimed
        self._telemetry.claimed(claimed)
        self._outcomes.publish_in_background(claimed.canceled)
        delivery.steps.claimed(claimed.order, claimed.state)
        attempt = await self._post(delivery, claimed, before, turn)
        delivery.steps.tried(attempt)
        return await self._conclude(claimed, before, attempt, turn)

    async def _post(self, delivery: Delivery, claimed: LedgerEntry, before: IntentState, turn: Turn) -> Attempt:
        """POST the order, unless its claim took too long; `before` is the state that the claim was made on."""
        if self._is_too_late(claimed, before, turn, claimed.began_ms):
            return Attempt("not taken", sent=False, why="its claim took too long")
        turn.begins(claimed.order)
        return await self._webhook.post(claimed.order, lambda: self._may_begin(delivery, claimed, before, turn))

    def _may_begin(
        self, delivery: Delivery, claimed: LedgerEntry, before: IntentState, turn: Turn
    ) -> bool | Awaitable[bool]:
        """The last look, with a connection in hand and nothing sent: getting one may have taken long (DNS, TLS)."""
        if self._is_stale(claimed.began_ms):
            return self._is_confirmed(delivery, claimed, before, turn)
        return not self._is_too_late(claimed, before, turn, claimed.began_ms)

    async def _is_confirmed(self, delivery: Delivery, claimed: LedgerEntry, before: IntentState, turn: Turn) -> bool:
        """Look at lane, intent and switch again."""
        try:
            looked_ms = await self._ledger.confirm(claimed.order, claimed.state, delivery.epoch)
        except Conflict:
            return False
        return not isinstance(looked_ms, SwitchedOff) and not self._is_too_late(claimed, before, turn, looked_ms)

    def _is_too_late(self, known: LedgerEntry, before: IntentState, turn: Turn, looked_ms: int) -> bool:
        """Whether it must not be POSTed any more, or not by what was read of the lane and the switch at `looked_ms`."""
        return self._is_stale(looked_ms) or rules.too_late(known.order, before, turn.now_ms())

    def _is_stale(self, looked_ms: int) -> bool:
        """Whether what a transaction has read that began then does not count any more; 0 where nobody knows when."""
        return looked_ms > 0 and self._clock.even_ms() - looked_ms > CLAIM_MS_MAX

    async def _conclude(self, claimed: LedgerEntry, before: IntentState, attempt: Attempt, turn: Turn) -> Attempted:
        """Ask the rules what follows, and record that."""
        if attempt.clock_ahead_ms is not None:
            self._skew.note("webhook", *attempt.clock_ahead_ms)
        order = claimed.order
        tried = claimed.state.tried(attempt, was_in_doubt=before.in_doubt)
        backoff_s = turn.answered(order, attempt)
        now_ms, wall_ms = turn.now_ms(), self._clock.now_ms()
        after = rules.after(order, tried, attempt, backoff_s, now_ms)
        if isinstance(after, Retry):
            after = Retry(wall_ms + after.at_ms - now_ms)
        concluded = rules.concluded(tried, after, wall_ms)
        if isinstance(after, Done):
            turn.pass_on()  # the next one is woken before the ledger is: its claim comes behind this record, or with it
        known = await self._ledger.record(order, concluded, attempt=attempt)
        self._telemetry.attempted(order, concluded, attempt, after)
        return Attempted(known, after)
