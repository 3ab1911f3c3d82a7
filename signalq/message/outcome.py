"""The outcome of an intent, and its event on the exchange `signalq.outcomes`, for both ends of that exchange.

An event is a JSON object with the fields of `Outcome`; its routing key is `<connector>.<strategy>.<status>`.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, Self, TypeVar, get_args

from signalq.errors import InvalidEvent
from signalq.times import iso_utc

Status = Literal["delivered", "dead", "canceled", "duplicate"]
STATUSES: tuple[Status, ...] = get_args(Status)

# The beginning of every event that `to_event` writes, and more bytes than it can write: three names of 255 bytes, in
# escapes, and some short fields. Both make it cheap to tell an event from an order.
EVENT_BEGINS = b'{"intent_id":'
OWN_EVENT_BYTES_MAX = 16_384
# A later version may write a longer event.
EVENT_BYTES_MAX = 65_536
# A routing key has at most 255 bytes: both names, the longest status and two dots.
CONNECTOR_CHARACTERS_MAX = 128
STRATEGY_CHARACTERS_MAX = 116
WORDS_CACHED_MAX = 4096
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ABSENT = "-"
ANY = "*"

_encode = json.JSONEncoder(separators=(",", ":"), default=iso_utc).encode
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One ending of one intent: `delivered`, `dead` (with its `reason`), `canceled` or `duplicate`.

    A `duplicate` is the ending of a second publish and says nothing about the first. Times are aware and in UTC. A time
    that is not known is None, and so are `action` and `client_order_id` of a body that could not be read.
    """

    intent_id: str
    """The `message_id`, or one given at first receipt."""
    generation: int
    """The count of its publishes: 1, and one more with each replay."""
    connector: str
    """The connector; of a body that could not be read, the routing key."""
    strategy: str
    """The strategy, `-` where there is none."""
    action: str | None
    """The order's action."""
    client_order_id: str | None
    """The order's id, where it has one."""
    status: Status
    """The ending."""
    reason: str | None
    """The reason why it is dead; docs/operate/dead-letters.md lists them."""
    attempts: int
    """The count of POSTs begun or tried."""
    http_status: int | None
    """The status of the webhook's last answer, None where there was none."""
    created_at: datetime | None
    """The time of its creation."""
    due_at: datetime | None
    """The time at which a delayed order falls due."""
    updated_at: datetime | None
    """The time of the ending."""

    def row(self) -> dict[str, object]:
        """The fields as JSON has them, in the contract's order: the row of a listing, and the body of an event."""
        row = self._values()
        return row | {name: iso_utc(moment) for name, moment in row.items() if isinstance(moment, datetime)}

    def to_event(self) -> bytes:
        """The body of the outcome's event: the row as UTF-8 JSON."""
        return _encode(self._values()).encode()

    def _values(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_event(cls, body: bytes) -> Self:
        """Read an event's body; unknown fields are ignored, as a later version may add some. Raises InvalidEvent."""
        if len(body) > EVENT_BYTES_MAX:
            raise InvalidEvent(f"an outcome event has at most {EVENT_BYTES_MAX} bytes")
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise InvalidEvent("an outcome event is a JSON object")
        status = _taken(fields, "status", str)
        if status not in STATUSES:
            raise InvalidEvent(f"status: is one of {', '.join(STATUSES)}")
        return cls(
            intent_id=_taken(fields, "intent_id", str),
            generation=_taken(fields, "generation", int),
            connector=_taken(fields, "connector", str),
            strategy=_taken(fields, "strategy", str),
            action=_if_there(fields, "action", str),
            client_order_id=_if_there(fields, "client_order_id", str),
            status=status,
            reason=_if_there(fields, "reason", str),
            attempts=_taken(fields, "attempts", int),
            http_status=_if_there(fields, "http_status", int),
            created_at=_moment(fields, "created_at"),
            due_at=_moment(fields, "due_at"),
            updated_at=_moment(fields, "updated_at"),
        )


def is_event(body: bytes) -> bool:
    """Whether these bytes are an outcome event, which no order can be: an order has none of its fields."""
    if not body.startswith(EVENT_BEGINS) or len(body) > OWN_EVENT_BYTES_MAX:
        return False
    try:
        Outcome.from_event(body)
    except InvalidEvent:
        return False
    return True


def at(ms: int | None) -> datetime | None:
    """The UTC time of ms since the epoch."""
    return EPOCH + timedelta(milliseconds=ms) if ms is not None else None


def routing_key(connector: str, strategy: str, status: str) -> str:
    """The routing key of an event: each name cut to fit, with `_` for any character but a letter, digit, `_` or `-`."""
    return f"{_word(connector, CONNECTOR_CHARACTERS_MAX)}.{_word(strategy, STRATEGY_CHARACTERS_MAX)}.{status}"


def binding_key(*, connector: str | None = None, strategy: str | None = None, status: Status | None = None) -> str:
    """The key that binds a queue to the events of one connector, strategy and status; None means any.

    Different names can have the same key: a listener to which that matters compares the event's own fields as well.
    """
    return f"{_word(connector, CONNECTOR_CHARACTERS_MAX)}.{_word(strategy, STRATEGY_CHARACTERS_MAX)}.{status or ANY}"


@lru_cache(WORDS_CACHED_MAX)
def _word(name: str | None, characters_max: int) -> str:
    return ANY if name is None else _NOT_PLAIN.sub("_", name[:characters_max]) or ABSENT


def _taken(fields: dict[str, Any], name: str, kind: type[T]) -> T:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidEvent(f"{name}: is a {'text' if kind is str else 'whole number'}")
    return value


def _if_there(fields: dict[str, Any], name: str, kind: type[T]) -> T | None:
    return _taken(fields, name, kind) if fields.get(name) is not None else None


def _moment(fields: dict[str, Any], name: str) -> datetime | None:
    text = _if_there(fields, name, str)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidEvent(f"{name}: is a time as in ISO 8601") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
