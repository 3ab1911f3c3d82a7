"""Every error signalq raises on purpose: one root, its families, their members.

One more, NotAllConfirmed, is with the results it holds (signalq/publishing/results.py).

The text of each is one sentence that says what to do. None quotes a value of an order, and none shows a password.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class SignalQError(Exception):
    """The root: catch this to catch everything signalq raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an intent: the field (None: the body as a whole) and what is wrong.

    The field is named as it was given: as Python has it where an OrderIntent is made, as the JSON has it of a body.
    """

    field: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field is not None else self.message


class InvalidIntent(SignalQError, ValueError):
    """The intent breaks a rule of its fields; `problems` names each bad field, no value is quoted.

    It is a ValueError, as pydantic's ValidationError is, which it takes the place of.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors go from one process to another whole: a pool that can't read one waits for ever."""
        return type(self), (list(self.problems),)


class BrokerError(SignalQError):
    """Something between us and RabbitMQ went wrong."""


class BrokerUnreachable(BrokerError):
    """No connection could be made, or not in time; `advice` says what to do, if the cause is known."""

    def __init__(self, what: str, advice: str | None = None) -> None:
        self.what = what
        self.advice = advice
        super().__init__(f"{what}: {advice}" if advice else what)


class TopologyError(BrokerError):
    """An exchange or a queue is missing, or is there with other arguments; nothing was forced."""


class PublishError(BrokerError):
    """A message was not confirmed by the broker; `message_id` is the identity to repeat it with."""

    def __init__(self, sentence: str, message_id: str | None) -> None:
        self.message_id = message_id
        super().__init__(sentence)

    def __reduce__(self) -> tuple[Any, ...]:
        """See InvalidIntent."""
        return type(self), (str(self), self.message_id)


class Unroutable(PublishError):
    """The broker returned the message: no queue takes it. It is in no queue."""


class Unconfirmed(PublishError):
    """No confirm came: the message may or may not be in the queue. Repeat it with the same `message_id`."""


class NotPermitted(BrokerError):
    """RabbitMQ refuses it to this user; the sentence says which right is missing."""


class OutcomeError(SignalQError):
    """What became of an intent could not be told; `message_id` is the intent's identity."""

    def __init__(self, sentence: str, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(sentence)

    def __reduce__(self) -> tuple[Any, ...]:
        """See InvalidIntent."""
        return type(self), (str(self), self.message_id)


class OutcomeTimeout(OutcomeError):
    """No outcome came in time: the intent may still be on its way, or its event was missed."""


class OutcomesUnavailable(OutcomeError):
    """Outcomes can't be had here: a right is missing, nobody listens, or the publisher is closed."""


class InvalidEvent(SignalQError):
    """A message on `signalq.outcomes` is no outcome event; no value is quoted."""


class SettingsError(SignalQError):
    """A setting is unknown, malformed, out of bounds, or contradicts another."""
