"""Every error that signalq raises on purpose: one root, its families, their members.

NotAllConfirmed is beside the results that it holds, in signalq/publishing/results.py. The text of each error is one
sentence that says what to do. It quotes no value of an order and shows no password. Its `kind` is the name of its entry
in docs/errors.md.
"""

from dataclasses import dataclass
from typing import Any

from signalq.kinds import Kind


class SignalQError(Exception):
    """The root: catch it to catch every error that signalq raises on purpose.

    `kind` is a word for programs, such as `connection-refused`, of which docs/errors.md says more.
    """

    kind: Kind = Kind.COMMAND_FAILED

    def __init__(self, *args: object, kind: Kind | None = None) -> None:
        super().__init__(*args)
        if kind is not None:
            self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the constructor. A process pool that could not unpickle an error would wait for ever."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of an intent."""

    field: str | None
    """The bad field: its Python name where Python made the OrderIntent, its JSON name in a body; None for the whole."""
    message: str
    """The rule that is broken, in words."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field is not None else self.message


class InvalidIntent(SignalQError, ValueError):
    """The intent breaks a rule; `problems` names each bad field and quotes no value.

    It takes the place of pydantic's ValidationError, and is a ValueError as well.
    """

    kind = Kind.INVALID_INTENT
    problems: tuple[Problem, ...]
    """One for each bad field."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


class BrokerError(SignalQError):
    """The exchange with RabbitMQ failed."""

    kind = Kind.BROKER_UNREACHABLE


class BrokerUnreachable(BrokerError):
    """No connection could be made, or not in time."""

    what: str
    """The failure, in words."""
    advice: str | None
    """The advice on it, None where the cause is not known."""

    def __init__(self, what: str, advice: str | None = None, *, kind: Kind | None = None) -> None:
        self.what = what
        self.advice = advice
        super().__init__(f"{what}: {advice}" if advice else what, kind=kind)


class TopologyError(BrokerError):
    """An exchange or a queue is missing, or is there with other arguments; it was left as it is."""

    kind = Kind.WRONG_TOPOLOGY


class PublishError(BrokerError):
    """The broker did not confirm a message; repeat it with its `message_id`."""

    kind = Kind.UNCONFIRMED
    message_id: str | None
    """The intent's identity."""

    def __init__(self, sentence: str, message_id: str | None) -> None:
        self.message_id = message_id
        super().__init__(sentence)


class Unroutable(PublishError):
    """The broker returned the message, since no queue takes it. It is in no queue."""

    kind = Kind.UNROUTABLE


class Unconfirmed(PublishError):
    """No confirm came: the message may or may not be in the queue. Repeat it with the same `message_id`."""


class NotPermitted(BrokerError):
    """RabbitMQ refused this user; the sentence names the right that is missing."""

    kind = Kind.NOT_PERMITTED


class OutcomeError(SignalQError):
    """The outcome of an intent could not be told."""

    message_id: str
    """The intent's identity."""

    kind = Kind.OUTCOMES_UNAVAILABLE

    def __init__(self, sentence: str, message_id: str) -> None:
        self.message_id = message_id
        super().__init__(sentence)


class OutcomeTimeout(OutcomeError):
    """No outcome came in time. The intent may still be on its way, or its event was missed."""

    may_be_missed: bool
    """Whether the connection was lost since the intent was published, so that its event may have come meanwhile.

    Publishing it again with its `message_id` asks for it: a duplicate is answered with the first's outcome.
    """

    kind = Kind.OUTCOME_TIMEOUT

    def __init__(self, sentence: str, message_id: str, *, may_be_missed: bool = False) -> None:
        self.may_be_missed = may_be_missed
        super().__init__(sentence, message_id)


class OutcomesUnavailable(OutcomeError):
    """No outcome can come: a right is missing, the publisher does not listen, or it is closed."""


class InvalidEvent(SignalQError):
    """A message on `signalq.outcomes` is no outcome event; the sentence quotes no value."""

    kind = Kind.INVALID_EVENT


class SettingsError(SignalQError):
    """A setting is unknown, malformed, out of bounds, or contradicts another."""

    kind = Kind.WRONG_SETTING
