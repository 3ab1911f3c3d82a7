"""A receipt: proof that the broker has an intent, and the way to ask for its outcome."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from signalq.errors import OutcomesUnavailable
from signalq.message.outcome import Outcome
from signalq.publishing.expected_outcomes import IN_ANOTHER_PROCESS, ExpectedOutcome

OUTCOME_TIMEOUT_S = 30.0

NOT_LISTENING = "this publisher does not listen for outcomes"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that the broker confirmed an intent.

    `message_id` is the intent's identity within its strategy, `created_ms` its creation time in ms since the epoch.
    """

    message_id: str
    created_ms: int
    expected: ExpectedOutcome | None = field(default=None, repr=False, compare=False)

    async def outcome(self, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Outcome:
        """Return the outcome of the intent, delivered, dead (with its reason) or canceled, once it is known.

        Asking again is fine, and so is asking from several tasks. It is an answer for people and dashboards, not a
        condition for the next order: an event can be missed while the connection is lost. The time-out then says so,
        and how to find out.

        Raises OutcomeTimeout where none came within `timeout_s`, and OutcomesUnavailable where none can come: a right
        is missing on the broker, `outcomes=False`, or the publisher is closed. Both carry the `message_id`.
        """
        if self.expected is None:
            raise OutcomesUnavailable(NOT_LISTENING, self.message_id)
        return await self.expected.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class SyncReceipt:
    """A Receipt for code without asyncio; its fields mean the same."""

    message_id: str
    created_ms: int
    receipt: Receipt = field(repr=False, compare=False)
    run: Callable[[Coroutine[Any, Any, Outcome]], Outcome] = field(repr=False, compare=False)

    def outcome(self, *, timeout_s: float = OUTCOME_TIMEOUT_S) -> Outcome:
        """Do as Receipt.outcome does, blocking."""
        expected = self.receipt.expected
        if expected is not None and expected.outcome is not None:
            return expected.outcome
        try:
            return self.run(self.receipt.outcome(timeout_s=timeout_s))
        except RuntimeError:
            raise OutcomesUnavailable(IN_ANOTHER_PROCESS, self.message_id) from None
