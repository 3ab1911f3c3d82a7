"""An alert's own time, in the field that `gateway.time_field` names."""

from datetime import UTC, datetime, timedelta

from signalq.errors import InvalidIntent, Problem
from signalq.message.creation import CREATED_DIGITS_MAX, why_no_creation
from signalq.message.strict_json import JsonNumber

# The longest form that there is: a date, a time to the microsecond, an offset.
TIME_CHARACTERS_MAX = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = "expected is ISO 8601 with its zone (2026-01-31T12:00:00Z), or ms since 1970 in UTC"


def time_ms(given: object, field: str, now_ms: int) -> int:
    """The ms since the epoch; a part of one is cut off. Raises InvalidIntent, which says what is expected.

    A time without a zone is refused, a date alone too: nobody would know which moment is meant. The bounds are those
    of the header `signalq-created-ms`.
    """
    text = given.text if isinstance(given, JsonNumber) else given
    if not isinstance(text, str):
        raise _refused(field, f"is no time; {_EXPECTED}")
    found = _from_digits(text, field) if text.isascii() and text.isdigit() else _from_iso(text, field)
    if why := why_no_creation(found, now_ms):
        raise _refused(field, f"{why}; {_EXPECTED}")
    return found


def _from_digits(text: str, field: str) -> int:
    if len(text) > CREATED_DIGITS_MAX:
        raise _refused(field, f"is no time; {_EXPECTED}")
    return int(text)


def _from_iso(text: str, field: str) -> int:
    try:
        moment = datetime.fromisoformat(text if len(text) <= TIME_CHARACTERS_MAX else "")
    except ValueError:
        raise _refused(field, f"is no time; {_EXPECTED}") from None
    if moment.tzinfo is None:
        raise _refused(field, f"has no zone; {_EXPECTED}")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _refused(field: str, message: str) -> InvalidIntent:
    return InvalidIntent([Problem(field, message)])
