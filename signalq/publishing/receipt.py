"""A receipt, and the outcome that it can be asked for."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from signalq.errors import OutcomesUnavailable, OutcomeTimeout
from signalq.message.identity import digest_of, printable_id, separate_id
from signalq.message.outcome import Outcome

OUTCOME_TIMEOUT_S = 30.0

NOT_LISTENING = "nobody listens for outcomes here"
NOT_HERE = "the publisher is closed, or was entered in another process, before a fork"


class Expected:
    """The outcome of one intent, known or to come; it lives as long as somebody holds its receipt."""

    def __init__(self, listening: Listening, message_id: str, digest: bytes) -> None:
        self.message_id = message_id
        self.digest = digest
        self.outcome: Outcome | None = None
        self._listening = listening
        # What is published while nobody listens may be missed even if somebody does soon after.
        self._losses_before = listening.losses - (listening.away is not None)
        self._changed = asyncio.Event()
        self._process = os.getpid()

    def take(self, outcome: Outcome) -> None:
        """Its event has come; a later generation's (it was replayed) counts more."""
        if self.outcome is None or outcome.generation >= self.outcome.generation:
            self.outcome = outcome
        self._changed.set()

    def look_again(self) -> None:
        """Something has changed for those who wait."""
        self._changed.set()

    async def arrive(self, timeout_s: float) -> Outcome:
        """The outcome, once it is known. Raises OutcomeTimeout, OutcomesUnavailable."""
        if self.outcome is None and self._process != os.getpid():
            # What the parent hears, its child does not.
            raise OutcomesUnavailable(NOT_HERE, self.message_id)
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                while self.outcome is None:
                    if self._listening.unavailable is not None:
                        raise OutcomesUnavailable(self._listening.unavailable, self.message_id)
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise OutcomeTimeout(self._why_nothing_came(timeout_s), self.message_id) from None
        return self.outcome

    def _why_nothing_came(self, timeout_s: float) -> str:
        ask = f"`signalq orders show {printable_id(self.message_id)}` says what became of it"
        if self._listening.away is not None:
            return f"no outcome came within {timeout_s:g} s, and none can: {self._listening.away}; {ask}"
        if self._listening.losses != self._losses_before:
            return (
                f"no outcome came within {timeout_s:g} s; the connection to RabbitMQ was lost since it was published, "
                f"so its event may have been missed: {ask}"
            )
        return f"no outcome came within {timeout_s:g} s: it may still be on its way; ask again, or {ask}"


class Listening:
    """Which outcomes are expected, and whether they can be heard.

    `unavailable` says why they can't be, for good; `away` why they can't be just now. `losses` counts the times when
    events may have been missed.
    """

    def __init__(self, unavailable: str | None = None) -> None:
        self.unavailable = unavailable
        self.away: str | None = None
        self.losses = 0
        # Weak: an outcome whose receipt nobody holds is forgotten, so events that nobody asks for take no memory.
        self._by_id: WeakValueDictionary[str, Expected] = WeakValueDictionary()
        self._all: WeakSet[Expected] = WeakSet()

    def expect(self, message_id: str, body: bytes) -> Expected:
        """Expect the outcome of what is about to be published; call it before that.

        The same bytes again have the outcome of the first. Other bytes under a known id are an intent of their own
        (dead, `invalid`), and are not told the outcome of the one that the id belongs to.
        """
        digest = digest_of(body)
        first = self._by_id.get(message_id)
        if first is not None and first.digest == digest:
            return first
        expected = Expected(self, message_id, digest)
        self._all.add(expected)
        self._by_id[separate_id(message_id, digest)] = expected
        if first is None:
            self._by_id[message_id] = expected
        return expected

    def forget(self, expected: Expected) -> None:
        """It was not published after all, or nobody knows: its id is free for other bytes."""
        for intent_id in (expected.message_id, separate_id(expected.message_id, expected.digest)):
            if self._by_id.get(intent_id) is expected:
                del self._by_id[intent_id]

    def take(self, outcome: Outcome) -> None:
        """An event has come; that of a duplicate says nothing about the intent."""
        expected = self._by_id.get(outcome.intent_id)
        if expected is not None and outcome.status != "duplicate":
            expected.take(outcome)

    def note_away(self, why: str | None) -> None:
        """Events can't be heard just now, and why; with None: they are heard again."""
        self.losses += self.away is None and why is not None
        self.away = why

    def end(self, why: str) -> None:
        """Events can't be heard any more; whoever waits is told."""
        self.unavailable = why
        for expected in list(self._all):
            expected.look_again()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that the broker confirmed an intent; `message_id` is its identity within its strategy."""

    message_id: str
    created_ms: int
    expected: Expected | None = field(default=None, repr=False, compare=False)

    async def outcome(self, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Outcome:
        """What became of the intent: delivered, dead (with its reason) or canceled; waits for it if need be.

        Asking again is fine, and so is asking from several tasks. It is an answer for people and dashboards, not a
        condition for the next order: an event can be missed while the connection is lost, and the time-out then says
        so, and how to find out.

        Raises OutcomeTimeout where none came within `timeout_s`, OutcomesUnavailable where none can come (a right is
        missing on the broker, `outcomes=False`, or the publisher is closed). Both carry the `message_id`.
        """
        if self.expected is None:
            raise OutcomesUnavailable(NOT_LISTENING, self.message_id)
        return await self.expected.arrive(timeout_s)


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """Receipt for code without asyncio."""

    message_id: str
    created_ms: int
    receipt: Receipt = field(repr=False, compare=False)
    run: Callable[[Coroutine[Any, Any, Outcome]], Outcome] = field(repr=False, compare=False)

    def outcome(self, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Outcome:
        """See Receipt.outcome; blocks."""
        expected = self.receipt.expected
        if expected is not None and expected.outcome is not None:
            return expected.outcome
        try:
            return self.run(self.receipt.outcome(timeout_s=timeout_s))
        except RuntimeError:
            raise OutcomesUnavailable(NOT_HERE, self.message_id) from None
