"""The creation time of an intent, by the properties of its message."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, Self

from pamqp.commands import Basic

from signalq import names
from signalq.errors import InvalidIntent, Problem

# Above this (the year 9999) a whole number in a header is not a date.
CREATED_MS_MAX = 253_402_300_799_000
# The year 2001. A number below was most likely meant in seconds.
CREATED_MS_MIN = 978_307_200_000
CREATED_DIGITS_MAX = 20
# A producer's clock may be wrong; a date that is further ahead than this is refused.
CREATED_AHEAD_MS_MAX = 86_400_000
# Clocks agree as well as this. A date further ahead is logged, and the time that counts instead is kept at once.
CLOCKS_AGREE_MS = 1_000

CreatedFrom = Literal["signalq-created-ms", "timestamp_in_ms", "timestamp", "first receipt"]


@dataclass(frozen=True, slots=True)
class Creation:
    """The creation time of an intent, in ms since the epoch, and the property that says it.

    `age_ms` is where its age begins, `delay_ms` where its delay begins. They differ for a `timestamp` in whole seconds:
    the second's start counts for the age and its end for the delay, so the intent is never too young and never early.
    `pinned` says that the message itself does not carry this time (it gave none, or one in the future): a copy of the
    message must carry it in a header. `ahead_ms` is how far the given time lay in the future.
    """

    age_ms: int
    delay_ms: int
    source: CreatedFrom
    pinned: bool = False
    ahead_ms: int = field(default=0, compare=False)

    @property
    def is_ahead(self) -> bool:
        """Whether the given time lies in the future by more than clocks differ: now counts instead, once."""
        return self.ahead_ms > CLOCKS_AGREE_MS

    def as_given(self) -> Self:
        """The same time as it was given. A copy of ours lies ahead only because our clock was set back since."""
        return replace(self, age_ms=self.age_ms + self.ahead_ms, delay_ms=self.delay_ms + self.ahead_ms, ahead_ms=0)


def creation(properties: Basic.Properties, received_ms: int) -> Creation:
    """The creation time; one in the future counts as now. Raises InvalidIntent for a header that can't be a date."""
    headers = properties.headers or {}
    if names.CREATED_MS in headers:
        return _created(_created_ms(headers[names.CREATED_MS], received_ms), "signalq-created-ms", received_ms)
    if (stamped_ms := broker_stamp_ms(properties)) is not None:
        return _created(stamped_ms, "timestamp_in_ms", received_ms)
    if isinstance(properties.timestamp, datetime):
        return _created(int(properties.timestamp.timestamp()) * 1000, "timestamp", received_ms, unsure_ms=1000)
    return Creation(received_ms, received_ms, "first receipt", pinned=True)


def broker_stamp_ms(properties: Basic.Properties) -> int | None:
    """The time at which the broker took the message, by its clock, in ms since the epoch; None without its stamp."""
    stamped_ms = (properties.headers or {}).get(names.BROKER_TIMESTAMP_MS)
    if not isinstance(stamped_ms, int) or isinstance(stamped_ms, bool):
        return None
    return stamped_ms if 0 <= stamped_ms <= CREATED_MS_MAX else None


def _created(given_ms: int, source: CreatedFrom, received_ms: int, *, unsure_ms: int = 0) -> Creation:
    ahead_ms = max(0, given_ms - received_ms)
    age_ms, delay_ms = min(given_ms, received_ms), min(given_ms + unsure_ms, received_ms)
    return Creation(age_ms, delay_ms, source, pinned=ahead_ms > 0, ahead_ms=ahead_ms)


def _created_ms(given: object, received_ms: int) -> int:
    """The ms of a `signalq-created-ms`. Raises InvalidIntent, which says what is expected and quotes nothing."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= CREATED_DIGITS_MAX:
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool):
        kind = _KINDS.get(type(given), "something else")
        raise _not_a_date(f"{kind} is no creation time")
    if why := why_no_creation(given, received_ms):
        raise _not_a_date(why)
    return given


def why_no_creation(given_ms: int, now_ms: int) -> str | None:
    """Why a number of ms is no creation time; None if it may be one."""
    if given_ms < CREATED_MS_MIN:
        return "it lies before 2001 (seconds instead of ms?)"
    if given_ms > now_ms + CREATED_AHEAD_MS_MAX:
        return "it lies more than a day ahead (is the producer's clock wrong, or was it given in µs or ns?)"
    return None


def _not_a_date(why: str) -> InvalidIntent:
    expected = "an integer is expected, or its digits as a string: ms since 1970 in UTC"
    return InvalidIntent([Problem(names.CREATED_MS, f"{why}; {expected}")])


_KINDS: dict[type, str] = {
    bool: "a boolean",
    float: "a floating-point number",
    Decimal: "a decimal",
    datetime: "an AMQP timestamp",
    str: "a string of anything but digits",
    bytes: "a byte array",
    bytearray: "a byte array",
    dict: "a table",
    list: "a list",
    type(None): "a null",
}
