"""The parameters of a page's address, and the fields of its forms: each is known, bounded, and of a type.

A page that gets one it does not know answers 400: a misspelt filter must not look like a page without one.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from multidict import MultiMapping

from signalq.consumer.orders.letters import MARK_BYTES
from signalq.ops.console.gate.errors import Refused

# Of one value; the longest that is of use is a filter of several ids.
VALUE_CHARACTERS_MAX = 2_048
# No form is read with more, by aiohttp's own default.
FIELDS_MAX = 1_000

Reader = Callable[[str], Any]


def read_fields(given: MultiMapping[str], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The values by name, None for those that are absent or empty. A reader raises ValueError with a sentence.

    The values of a `many` are a list. Raises Refused for an unknown name, one that is there twice, and a value that its
    reader refuses.
    """
    if len(given) > FIELDS_MAX:
        raise Refused(f"there are more than {FIELDS_MAX:,} fields")
    found: dict[str, Any] = {name: [] if isinstance(reader, many) else None for name, reader in readers.items()}
    for name, value in given.items():
        if name not in readers:
            raise Refused(f"there is no parameter of that name here: it is one of {', '.join(readers) or 'none'}")
        if found[name] is not None and not isinstance(readers[name], many):
            raise Refused(f"{name} is given twice")
        if len(value) > VALUE_CHARACTERS_MAX:
            raise Refused(f"{name} has more than {VALUE_CHARACTERS_MAX:,} characters")
        if "\0" in value:
            raise Refused(f"{name} has a NUL in it, which no name has")
        if value:
            try:
                read = readers[name](value)
            except ValueError as error:
                raise Refused(f"{name}: {error}") from None
            if isinstance(readers[name], many):
                found[name].append(read)
            else:
                found[name] = read
    return found


class many:  # noqa: N801 - beside the other readers, which are functions
    """A field that may be there more than once, such as boxes that are ticked; each value is read by `reader`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __call__(self, value: str) -> Any:
        """One of its values."""
        return self._reader(value)


def text(value: str) -> str:
    """Any text without control characters."""
    if not all(character.isprintable() for character in value):
        raise ValueError("has characters that can't be printed")
    return value


def name(value: str) -> str:
    """A name of a connector, a strategy, an id: foreign, so anything that the ledger can hold."""
    return value


def one_of(known: Collection[str]) -> Reader:
    """One of some words."""

    def read(value: str) -> str:
        if value not in known:
            raise ValueError(f"is one of {', '.join(known)}")
        return value

    return read


def number(least: int, most: int) -> Reader:
    """A whole number within bounds."""

    def read(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) <= 18 and least <= int(value) <= most):
            raise ValueError(f"is a whole number from {least:,} to {most:,}")
        return int(value)

    return read


def flag(value: str) -> bool:
    """A ticked box."""
    if value not in {"1", "on"}:
        raise ValueError("is 1, or absent")
    return True


def digest(value: str) -> bytes:
    """The mark of a letter or of a group, in hexadecimal."""
    if len(value) != 2 * MARK_BYTES or not set(value) <= set("0123456789abcdef"):
        raise ValueError("is no mark")
    return bytes.fromhex(value)
