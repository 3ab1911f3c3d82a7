"""The state of an intent, as the ledger knows it: a value, and the pure steps from one to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

Status = Literal["received", "scheduled", "sending", "retrying", "dying", "delivered", "dead", "canceled"]
Certainty = Literal["accepted", "not taken", "refused", "unknown"]
# Why there is no whole answer: the last look said no, the proxy did, nothing came in time, there was no connection, or
# it broke after the request began to go out, or the consumer had to end.
Failure = Literal["too_late", "proxy", "timeout", "connect", "disconnected", "cut_off"]
Reason = Literal[
    "invalid",
    "unauthorized",
    "forbidden",
    "expired",
    "superseded",
    "rejected",
    "exhausted",
    "outcome-unknown",
    "undeliverable",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
ENDINGS = frozenset({"delivered", "dead", "canceled"})
# To which statuses each may step; any other step is a mistake of ours. `sending` to itself: a claim that was never
# concluded, claimed again. `received`: the next generation of what was dead. `dying` is the stored name of what is
# being dead-lettered.
STEPS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        "received": frozenset({"scheduled", "sending", "dying", "canceled"}),
        "scheduled": frozenset({"sending", "dying", "canceled"}),
        "sending": frozenset({"sending", "delivered", "retrying", "dying"}),
        "retrying": frozenset({"sending", "dying"}),
        "dying": frozenset({"dead"}),
        "delivered": frozenset(),
        "dead": frozenset({"received"}),
        "canceled": frozenset(),
    }
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST, begun or tried, and how certain we are of what became of it.

    `sent`: bytes of the request may have gone out. `why` is half a sentence for people, without any foreign text.
    `answer` is foreign: the beginning of an answer that was not the expected one, without any known secret.
    `clock_ahead_ms`: by the answer's date, our clock is between so much ahead of the webhook's and so much.
    `failure` is a word for what took the place of an answer.
    """

    certainty: Certainty
    sent: bool
    why: str
    status: int | None = None
    retry_after_s: float | None = None
    duration_s: float = 0.0
    answer: str | None = None
    clock_ahead_ms: tuple[int, int] | None = field(default=None, compare=False)
    failure: Failure | None = field(default=None, compare=False)


NEVER_CONCLUDED = Attempt("unknown", sent=True, why="the consumer ended while it was sending")


@dataclass(frozen=True)
class IntentState:
    """All that is known of one intent, by identity.

    `attempts` counts POSTs begun or tried; `attempts_counted` those that were answered or may have gone out.
    `in_doubt`: an attempt may have been taken. `maybe_second_delivery`: no message_id, redelivered, and an equal
    body was met before whose acknowledgement may have been lost. `version` counts the saves: a save on top of another
    version than the ledger's is refused. `leased_for_ms`: another consumer is POSTing it, and lives for so long yet.
    `replayed_ms`: when the present generation began, by the ledger's clock, if it is not the first.
    `updated_ms`: when the ledger wrote it, by its clock; 0 where that is not known. `wait_ms`: for how long the next
    attempt was put off, when it was; None where that is not known. `answer` is the last attempt's.
    """

    intent_id: str
    digest: bytes
    generation: int = 1
    status: Status = "received"
    reason: Reason | None = None
    detail: str | None = None
    attempts: int = 0
    attempts_counted: int = 0
    first_post_ms: int | None = None
    next_attempt_ms: int = 0
    in_doubt: bool = False
    why: str | None = None
    http_status: int | None = None
    maybe_second_delivery: bool = False
    version: int = 0
    leased_for_ms: int = 0
    replayed_ms: int | None = None
    updated_ms: int = field(default=0, compare=False)
    wait_ms: int | None = None
    answer: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it has its one ending."""
        return self.status in ENDINGS

    @property
    def unconcluded(self) -> Attempt | None:
        """The attempt of a claim that is known as begun and no more: who finds it so, and goes on, notes it."""
        return NEVER_CONCLUDED if self.status == "sending" else None

    def scheduled(self) -> Self:
        """Parked on the broker until it is due."""
        return self._stepped("scheduled")

    def claimed(self, now_ms: int) -> Self:
        """About to be POSTed. A claim that is never concluded leaves the intent in doubt, and counts, from here on."""
        return self._stepped(
            "sending",
            attempts=self.attempts + 1,
            attempts_counted=self.attempts_counted + 1,
            first_post_ms=self.first_post_ms if self.first_post_ms is not None else now_ms,
            in_doubt=True,
            why=None,
            answer=None,
        )

    def tried(self, attempt: Attempt, *, was_in_doubt: bool) -> Self:
        """The attempt of this claim has ended, and nothing is decided yet. `was_in_doubt`: how it stood before."""
        return self._changed(
            attempts_counted=self.attempts_counted - (0 if attempt.sent else 1),
            in_doubt=was_in_doubt or attempt.certainty == "unknown",
            why=attempt.why,
            http_status=attempt.status,
            answer=attempt.answer,
        )

    def delivered(self) -> Self:
        """The webhook took it."""
        return self._stepped("delivered")

    def retrying(self, at_ms: int, wait_ms: int | None = None) -> Self:
        """To be tried again, not before `at_ms`, which is `wait_ms` from now."""
        return self._stepped("retrying", next_attempt_ms=at_ms, wait_ms=wait_ms)

    def dead_lettering(self, reason: Reason, detail: str) -> Self:
        """About to be dead-lettered: the letter may or may not be in the queue."""
        return self._stepped("dying", reason=reason, detail=detail)

    def dead(self) -> Self:
        """The broker has confirmed the dead letter."""
        return self._stepped("dead")

    def replayed(self, now_ms: int) -> Self:
        """The next generation of what is dead: its attempts begin anew, and its age begins now."""
        return self._stepped(
            "received",
            generation=self.generation + 1,
            reason=None,
            detail=None,
            attempts=0,
            attempts_counted=0,
            first_post_ms=None,
            next_attempt_ms=0,
            in_doubt=False,
            why=None,
            http_status=None,
            wait_ms=None,
            answer=None,
            replayed_ms=now_ms,
        )

    def saved(self, now_ms: int) -> Self:
        """As the ledger has it, once it has saved it at `now_ms` of its clock."""
        return self._changed(version=self.version + 1, updated_ms=now_ms)

    def _stepped(self, status: Status, **changes: Any) -> Self:
        """One step on. Raises ValueError for a step that no intent may take."""
        if status not in STEPS[self.status]:
            raise ValueError(f"an intent that is {self.status} can't become {status}")
        return self._changed(status=status, **changes)

    def _changed(self, **changes: Any) -> Self:
        """The same state but for these fields; `replace` would set each of the twenty, five times an order."""
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, **changes)
        return changed
