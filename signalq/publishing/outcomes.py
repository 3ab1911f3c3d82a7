"""The outcomes of a publisher's intents: each is expected for as long as its receipt is held, and listened for."""

from __future__ import annotations

import asyncio
import math
import os
from weakref import WeakSet, WeakValueDictionary

from signalq.amqp.connection import HEARTBEAT_S
from signalq.amqp.outcome_feed import OutcomeFeed
from signalq.amqp.publisher import CLOSED
from signalq.errors import BrokerError, NotPermitted, OutcomesUnavailable, OutcomeTimeout
from signalq.message.identity import digest_of, printable_id, separate_id
from signalq.message.outcome import ABSENT, Outcome, binding_key
from signalq.names import Names

IN_ANOTHER_PROCESS = "the publisher is closed, or was entered in another process, before a fork"
NOT_ENTERED = "outcomes are heard of by a publisher that is used in an `async with` block"


class ExpectedOutcome:
    """The outcome of one intent, known or to come; `outcome` is None until its event has come.

    `duplicate` is the event of a publish that the consumer knew already, and dropped; its times are those of the first
    publish. Setting `changed` lets `wait` look again.
    """

    def __init__(self, expectations: ExpectedOutcomes, message_id: str, digest: bytes) -> None:
        self.message_id = message_id
        self.digest = digest
        self.outcome: Outcome | None = None
        self.duplicate: Outcome | None = None
        self._expectations = expectations
        self._publishes = 0
        self.changed = asyncio.Event()
        self._process = os.getpid()

    def published(self) -> None:
        """Note that it is about to be published, for the first time or again."""
        self._publishes += 1
        # While no event can come, the event of what is published then may be missed, even if events come again soon.
        self._losses_before = self._expectations.losses - (self._expectations.away is not None)

    def take(self, outcome: Outcome) -> None:
        """Take the outcome of an event; one of a later generation (a replay) replaces that of an earlier one."""
        if outcome.status == "duplicate":
            self.duplicate = outcome
            return
        if self.outcome is None or outcome.generation >= self.outcome.generation:
            self.outcome = outcome
        self.changed.set()

    def forget(self) -> None:
        """Expect it no more, unless another publish of it may be confirmed: its id is free for other bytes."""
        self._publishes -= 1
        if self._publishes:
            return
        by_id = self._expectations.by_id
        for intent_id in (self.message_id, separate_id(self.message_id, self.digest)):
            if by_id.get(intent_id) is self:
                del by_id[intent_id]

    async def wait(self, timeout_s: float) -> Outcome:
        """Return the outcome once it is known. Raises OutcomeTimeout, OutcomesUnavailable."""
        if self.outcome is None and self._process != os.getpid():
            # The parent's listener hears its event; the child has no listener.
            raise OutcomesUnavailable(IN_ANOTHER_PROCESS, self.message_id)
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                while self.outcome is None:
                    if self._expectations.unavailable is not None:
                        raise OutcomesUnavailable(self._expectations.unavailable, self.message_id)
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            why, missed = self._why_nothing_came(timeout_s), self._may_be_missed
            raise OutcomeTimeout(why, self.message_id, may_be_missed=missed) from None
        return self.outcome

    @property
    def _may_be_missed(self) -> bool:
        return self._expectations.losses != self._losses_before

    def _why_nothing_came(self, timeout_s: float) -> str:
        ask = f"`signalq orders show {printable_id(self.message_id)}` says what became of it"
        if self._expectations.away is not None:
            return f"no outcome came within {timeout_s:g} s, and none can: {self._expectations.away}; {ask}"
        if self._may_be_missed:
            return (
                f"no outcome came within {timeout_s:g} s; the connection to RabbitMQ was lost since it was published, "
                f"so its event may have been missed: {ask}"
            )
        return f"no outcome came within {timeout_s:g} s: it may still be on its way; ask again, or {ask}"


class ExpectedOutcomes:
    """Every outcome that is expected, and whether its event can come.

    `unavailable` says why no event can come any more, `away` why none can come at the moment. `losses` counts the times
    when events may have been missed.
    """

    def __init__(self, unavailable: str | None = None) -> None:
        self.unavailable = unavailable
        self.away: str | None = None
        self.losses = 0
        # Weak: once no receipt holds an outcome, it is forgotten. So events that are not asked for take no memory.
        self.by_id: WeakValueDictionary[str, ExpectedOutcome] = WeakValueDictionary()
        self._all: WeakSet[ExpectedOutcome] = WeakSet()

    def expect(self, message_id: str, body: bytes) -> ExpectedOutcome:
        """Expect the outcome of an intent; to be called before it is published.

        The same bytes again have the outcome of the first. Other bytes under a known id are an intent of their own
        (dead, `invalid`), and do not get the outcome of the intent that the id belongs to.
        """
        digest = digest_of(body)
        first = self.by_id.get(message_id)
        if first is not None and first.digest == digest:
            first.published()
            return first
        expected = ExpectedOutcome(self, message_id, digest)
        expected.published()
        self._all.add(expected)
        self.by_id[separate_id(message_id, digest)] = expected
        if first is None:
            self.by_id[message_id] = expected
        return expected

    def take(self, outcome: Outcome) -> None:
        """Take the outcome of an event."""
        expected = self.by_id.get(outcome.intent_id)
        if expected is not None:
            expected.take(outcome)

    def note_away(self, why: str | None) -> None:
        """Note why no event can come at the moment; with None, that events come again."""
        self.losses += self.away is None and why is not None
        self.away = why

    def end(self, why: str) -> None:
        """Note why no event can come any more, and end every wait for an outcome."""
        self.unavailable = why
        for expected in list(self._all):
            expected.changed.set()


class OutcomeListener:
    """Listens for the outcomes of one strategy, and passes them on to those that are `expected`.

    It has a connection of its own: a refusal there closes no other channel. Publishing never waits for it.
    """

    def __init__(self, url: str, names: Names, *, strategy: str | None, heartbeat_s: int = HEARTBEAT_S) -> None:
        self.expected = ExpectedOutcomes(NOT_ENTERED)
        self._feed = OutcomeFeed(
            url,
            names,
            [binding_key(strategy=strategy or ABSENT)],
            name=f"signalq outcomes {strategy or ABSENT}",
            on_outcome=self.expected.take,
            on_away=self.expected.note_away,
            heartbeat_s=heartbeat_s,
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen from now on. A failure is not raised here, but by `outcome()` of a receipt."""
        self.expected.unavailable = None
        try:
            await self._feed.open()
        except NotPermitted as error:
            self.expected.end(str(error))
            return
        except BrokerError as error:
            self.expected.note_away(str(error))
        self._task = asyncio.create_task(self._keep(), name="signalq outcomes")

    async def close(self) -> None:
        """Listen no more, and end every wait for an outcome."""
        self.expected.end(CLOSED)
        if self._task is not None:
            self._task.cancel()
        try:
            if self._task is not None:
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            await self._feed.close()

    async def _keep(self) -> None:
        try:
            await self._feed.keep_open()
        except NotPermitted as error:
            self.expected.end(str(error))
