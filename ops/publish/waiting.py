"""`signalq publish --wait`: the outcome of each confirmed line is waited for, and lines are held back until then."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from signalq import BrokerError, OrderPublisher, OutcomesUnavailable, OutcomeTimeout, Receipt
from signalq.message.outcome import EPOCH, Outcome, at
from signalq.ops.publish.hold_back import HoldBack
from signalq.producers.files.reader import IntentLine
from signalq.settings.sections import Settings

# An order whose delay ends after the waiting counts as scheduled, once no refusal of it has come for so long.
REFUSAL_S = 2.0
# So often it is looked whether an event may have been missed; then the order is published again, which asks for it.
LOOK_PERIOD_S = 2.0

Status = Literal["delivered", "dead", "canceled", "scheduled", "unknown"]


@dataclass(frozen=True, slots=True)
class Ending:
    """The state of a line at the end of the waiting for it: its outcome, or that it is scheduled, or not known.

    `seconds` went by since its confirm. A duplicate has the outcome of the intent that it repeats.
    """

    line: IntentLine
    status: Status
    seconds: float
    is_duplicate: bool = False
    outcome: Outcome | None = None
    due_at: datetime | None = None

    @property
    def is_well(self) -> bool:
        """Whether the order was, or will be, POSTed as it was meant."""
        return self.status in ("delivered", "scheduled")

    @property
    def is_too_late(self) -> bool:
        """Whether it was too old when its turn came: then so will be those behind it."""
        return self.outcome is not None and self.outcome.reason == "expired" and not self.is_duplicate


class OutcomeWaiting:
    """Waits for the outcomes of one run, each for at most `wait_s` from its confirm, or from its due time.

    `on_ending` is called once for each line that `begin` was called for; `on_trouble` with a sentence that says why no
    more lines should be sent.
    """

    def __init__(
        self,
        settings: Settings,
        orders: OrderPublisher,
        wait_s: float,
        *,
        on_ending: Callable[[Ending], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._orders = orders
        self._wait_s = wait_s
        self._on_ending = on_ending
        self._on_trouble = on_trouble
        self._hold_back = HoldBack(settings)
        self._changed = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        # In their order, in which they are told when the waiting ends.
        self._waits: dict[asyncio.Task[Outcome | None], None] = {}
        self._is_over = False
        self._is_canceled = False
        self._failure: BaseException | None = None

    async def has_room(self, line: IntentLine) -> bool:
        """Hold a line back until it can be POSTed in time; whether it may go, which it may not after `end`."""
        while not self._is_over and (hold_s := self._hold_back.take(line.intent, self._clock())):
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(hold_s if hold_s < math.inf else None):
                    await self._changed.wait()
        return not self._is_over

    def skip(self, line: IntentLine) -> None:
        """Wait for no outcome of a line that was given room: it was not confirmed, or is waited for no more."""
        self._hold_back.ended(line.intent)
        self._changed.set()

    def begin(self, line: IntentLine, receipt: Receipt) -> None:
        """Begin to wait for the outcome of a line that was confirmed."""
        began_s = self._clock()
        wait = asyncio.create_task(self._outcome(line, receipt, began_s), name="wait for an outcome")
        self._waits[wait] = None
        wait.add_done_callback(partial(self._ended, line, receipt, began_s))
        if self._is_canceled:
            wait.cancel()

    async def finish(self) -> None:
        """Return once every line that was begun has its ending. Raises an error that nobody foresaw."""
        while self._waits:
            await asyncio.wait(self._waits)
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Hold nothing back any more, and let nothing more go."""
        self._is_over = True
        self._changed.set()

    def cancel(self) -> None:
        """Wait no more: the outcomes that have not come are not known."""
        self._is_canceled = True
        self.end()
        for wait in self._waits:
            wait.cancel()

    async def _outcome(self, line: IntentLine, receipt: Receipt, began_s: float) -> Outcome | None:
        """The outcome, or None where none comes in time. Raises OutcomesUnavailable."""
        delay_s = line.intent.delay_ms / 1000
        limit_s = min(REFUSAL_S, self._wait_s) if delay_s > self._wait_s else delay_s + self._wait_s
        is_missed = False
        while (left_s := began_s + limit_s - self._clock()) > 0:
            try:
                return await receipt.outcome(timeout_s=min(LOOK_PERIOD_S, left_s))
            except OutcomeTimeout as error:
                is_missed = is_missed or error.may_be_missed
            if is_missed:
                with suppress(BrokerError, TimeoutError):
                    async with asyncio.timeout_at(began_s + limit_s):
                        await self._orders.publish(line.intent, message_id=line.message_id)
                    is_missed = False
        return None

    def _ended(self, line: IntentLine, receipt: Receipt, began_s: float, wait: asyncio.Task[Outcome | None]) -> None:
        del self._waits[wait]
        self.skip(line)
        error = wait.exception() if not wait.cancelled() else None
        outcome = receipt.expected.outcome if receipt.expected is not None else None
        ending = ending_of(line, receipt, outcome, seconds=self._clock() - began_s, now_ms=time.time_ns() // 1_000_000)
        self._on_ending(ending)
        if isinstance(error, OutcomesUnavailable):
            self._trouble(str(error))
        elif error is not None:
            self._failure = error
            self._trouble("the waiting failed")
        elif ending.status == "unknown":
            self._trouble(
                f"no outcome of line {line.line:,} came within {self._wait_s:g} s "
                "(`signalq lanes list` says whether its lane is served)"
            )
        elif ending.is_too_late:
            self._trouble(f"line {line.line:,} is dead, expired: its connector can't keep up, or its webhook is down")

    def _trouble(self, why: str) -> None:
        """Say, the first time, why no more lines should go."""
        if not self._is_over:
            self._on_trouble(why)


def ending_of(line: IntentLine, receipt: Receipt, outcome: Outcome | None, *, seconds: float, now_ms: int) -> Ending:
    """The state of a line at `now_ms`, by its outcome if one has come."""
    first = receipt.expected.duplicate if receipt.expected is not None else None
    # Its own message may have come twice, over a broken connection: then both have the time of this publish.
    is_duplicate = first is not None and first.created_at != at(receipt.created_ms)
    if outcome is not None:
        return Ending(line, outcome.status, seconds, is_duplicate, outcome, outcome.due_at)  # type: ignore[arg-type]
    due_at = at(receipt.created_ms + line.intent.delay_ms) if line.intent.delay_ms else None
    if first is not None and is_duplicate:
        due_at = first.due_at
    is_scheduled = due_at is not None and due_at > EPOCH + timedelta(milliseconds=now_ms)
    return Ending(line, "scheduled" if is_scheduled else "unknown", seconds, is_duplicate, due_at=due_at)
