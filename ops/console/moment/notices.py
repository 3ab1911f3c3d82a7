"""The words and links that notices share. A sentence holds no name of somebody else: that stands beside it, in `on`."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar
from urllib.parse import quote, urlencode

from signalq.consumer.orders.switch import Change
from signalq.ops.console.moment.snapshot import Lane, Notice
from signalq.ops.terminal.escaping import escaped

Links = Sequence[tuple[str, str]]

# Of one kind so many are told one by one.
NAMED_MAX = 6
SENTENCE_CHARACTERS_MAX = 240
CHECK: Links = (("Check", "/check"),)

T = TypeVar("T")


def each(found: Sequence[T], tell: Callable[[T], Notice], further: str, *, is_grave: bool = False) -> Iterator[Notice]:
    """A notice for each of the first NAMED_MAX; and one for the others, which are so many `further` ones."""
    yield from map(tell, found[:NAMED_MAX])
    if (more := len(found) - NAMED_MAX) > 0:
        yield Notice(f"further:{further}", f"{more:,} further {further}", is_grave=is_grave)


def said(text: str) -> str:
    """A sentence of somebody else, safe and not too long."""
    shown = escaped(text)
    return f"{shown[: SENTENCE_CHARACTERS_MAX - 1]}…" if len(shown) > SENTENCE_CHARACTERS_MAX else shown


def by(change: Change | None) -> str:
    """Half a sentence: who made a change, and why."""
    if change is None:
        return ""
    why = f": {said(change.why)}" if change.why else ""
    return f", by {said(change.who)}{why}"


def name_of(lane: Lane) -> str:
    """The name of a lane, for people."""
    return "the shared lane" if lane.connector is None else lane.connector


def link_of(connector: str | None) -> Links:
    """The page of a lane; the shared one has none."""
    return CHECK if connector is None else (("Lane", f"/lanes/{quote(connector, safe='')}"),)


def path_with(path: str, **given: str | None) -> str:
    """A path with those of the parameters that are not None."""
    return f"{path}?{urlencode({name: value for name, value in given.items() if value is not None})}"
