"""The intents that publishing takes, and its results: a receipt of one, and of many the result of each and of all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from signalq.errors import BrokerError, InvalidIntent, OutcomesUnavailable, Unconfirmed, Unroutable
from signalq.kinds import Kind
from signalq.message.identity import new_message_id
from signalq.message.intent import OrderIntent
from signalq.message.outcome import Outcome
from signalq.publishing.outcomes import IN_ANOTHER_PROCESS, ExpectedOutcome

OUTCOME_TIMEOUT_S = 30.0
INVALID_KEPT_MAX = 100
"""The error at the end keeps so many invalid ones; `on_result` is called for each."""
STEP_S = 0.002
"""For so long a plain iterable may keep the event loop to itself, unless one of its steps takes longer."""
NOT_LISTENING = "this publisher does not listen for outcomes"

Given = OrderIntent | tuple[OrderIntent, str]
"""`publish_many` takes an intent, or an intent and its `message_id`."""

AnyReceipt = TypeVar("AnyReceipt")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that the broker confirmed an intent."""

    message_id: str
    """The intent's identity within its strategy."""
    created_ms: int
    """The intent's creation time, in ms since the epoch."""
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
    """A Receipt for code without asyncio."""

    message_id: str
    """The intent's identity within its strategy."""
    created_ms: int
    """The intent's creation time, in ms since the epoch."""
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


@dataclass(frozen=True, slots=True)
class _Result(Generic[AnyReceipt]):
    """The result of publishing one intent: it has a `receipt`, or else an `error`."""

    number: int
    """The intent's place among those given, counted from 1."""
    intent: OrderIntent
    """The intent as it was given."""
    message_id: str
    """The intent's identity within its strategy."""
    receipt: AnyReceipt | None = None
    """The proof of the broker's confirm."""
    error: InvalidIntent | Unroutable | Unconfirmed | None = None
    """The error that `publish` would have raised.

    The intent never left (InvalidIntent), is in no queue (Unroutable), or may or may not be in one (Unconfirmed). After
    the latter two it can be repeated with the `message_id`.
    """


class PublishResult(_Result[Receipt]):
    __doc__ = _Result.__doc__
    __slots__ = ()


class SyncPublishResult(_Result[SyncReceipt]):
    """PublishResult for code without asyncio."""

    __slots__ = ()


AnyPublishResult = PublishResult | SyncPublishResult


class NotAllConfirmed(BrokerError):
    """`publish_many` ended, and not every intent that it took was confirmed.

    Intents that were not taken are still in the iterable.
    """

    kind = Kind.UNCONFIRMED

    confirmed: int
    """The count of confirmed intents."""
    invalid_count: int
    """The count of invalid intents, which never left."""
    invalid: tuple[AnyPublishResult, ...]
    """The results of the first invalid intents, INVALID_KEPT_MAX at most."""
    unconfirmed: tuple[AnyPublishResult, ...]
    """The results of all that may or may not be in a queue, and of all that were returned, in their order."""

    def __init__(
        self,
        confirmed: int,
        invalid_count: int,
        invalid: Sequence[AnyPublishResult],
        unconfirmed: Sequence[AnyPublishResult],
    ) -> None:
        self.confirmed = confirmed
        self.invalid_count = invalid_count
        self.invalid = tuple(invalid)
        self.unconfirmed = tuple(unconfirmed)
        super().__init__(confirmed, invalid_count)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the arguments of this constructor."""
        return type(self), (self.confirmed, self.invalid_count, self.invalid, self.unconfirmed)

    def __str__(self) -> str:
        said = f"of {self.taken} intents {self.confirmed} were confirmed"
        if self.invalid:
            first = self.invalid[0]
            said += f"; {self.invalid_count} invalid, the first is number {first.number} ({first.error})"
        if self.unconfirmed:
            said += f"; {len(self.unconfirmed)} not, to be published again as `to_repeat` ({self.unconfirmed[0].error})"
        return said

    @property
    def taken(self) -> int:
        """How many intents were taken from the iterable; of a list, `intents[taken:]` was not touched."""
        return self.confirmed + self.invalid_count + len(self.unconfirmed)

    @property
    def to_repeat(self) -> list[tuple[OrderIntent, str]]:
        """The unconfirmed intents, each with its `message_id`, as `publish_many` takes them."""
        return [(result.intent, result.message_id) for result in self.unconfirmed]


class ResultCollector:
    """Counts the results of one `publish_many` and passes each on; `conclude` says how all of it ended."""

    def __init__(self, on_result: Callable[[PublishResult], object] | None) -> None:
        self._on_result = on_result
        self._confirmed = 0
        self._invalid_count = 0
        self._invalid: list[PublishResult] = []
        self._unconfirmed: list[PublishResult] = []

    def add(self, result: PublishResult) -> None:
        """Count a result, and pass it to the callback. Raises what the callback raises."""
        if result.error is None:
            self._confirmed += 1
        elif isinstance(result.error, InvalidIntent):
            self._invalid_count += 1
            if len(self._invalid) < INVALID_KEPT_MAX:
                self._invalid.append(result)
        else:
            self._unconfirmed.append(result)
        if self._on_result is not None:
            self._on_result(result)

    def conclude(self, failure: Exception | None) -> int:
        """Return how many intents were taken, where all of them were confirmed.

        Raises NotAllConfirmed where some were not (from `failure`, where there is one), else `failure`.
        """
        if self._invalid or self._unconfirmed:
            raise NotAllConfirmed(self._confirmed, self._invalid_count, self._invalid, self._unconfirmed) from failure
        if failure is not None:
            raise failure
        return self._confirmed


def intent_and_id(given: Given) -> tuple[OrderIntent, str]:
    """An intent and its identity, a new one where none is given. Raises TypeError for anything else."""
    if isinstance(given, OrderIntent):
        return given, new_message_id()
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], OrderIntent) and isinstance(given[1], str):
        return given
    raise TypeError(
        f"publish_many takes an OrderIntent, or a tuple of one and its message_id, not {type(given).__name__}"
    )


async def each_of(intents: Iterable[Given]) -> AsyncIterator[Given]:
    """Iterate a plain iterable. Where its steps take long, each intent goes out before the next is made."""
    clock = asyncio.get_running_loop().time
    since_s = clock()
    for intent in intents:
        yield intent
        if clock() - since_s > STEP_S:
            await asyncio.sleep(0)
            since_s = clock()
