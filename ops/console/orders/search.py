"""The search for orders as a person writes it: an id, or qualifiers such as `connector:main status:dead since:2h`.

Pure: from the text to a Search. A value with spaces, and an id with a colon, stand in quotes.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from signalq.consumer.ledger.queries.orders import STATUSES, Filter
from signalq.consumer.ledger.row import storable
from signalq.consumer.orders.state import REASONS
from signalq.message.field_rules import EXIT_ACTIONS, FUTURES_ACTIONS
from signalq.message.near_names import nearest_clause
from signalq.ops.ledger import ends_of
from signalq.ops.terminal.layout import CUT
from signalq.ops.terminal.moments import moment_of

ACTIONS = tuple(dict.fromkeys(("buy", "sell", *FUTURES_ACTIONS, *EXIT_ACTIONS)))
HTTP_STATUSES = range(100, 600)
# So many characters of an id, or more, stand for an order; fewer are its whole id, or a client's.
BEGINNING_CHARACTERS_MIN = 6
# A completion for each of so many connectors; a list of more is no help.
COMPLETED_CONNECTORS_MAX = 100
SINCES = ("15m", "2h", "1d", "7d")

_TOKEN = re.compile(r'(?:([^\s":]*):)?(?:"((?:[^"\\]|\\.)*)"|([^\s"]*))(?=\s|$)')
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_PLAIN = re.compile(r'[^\s":\\]+')


class BadSearch(ValueError):
    """A search that can't be read; the sentence says what is wrong, and names the nearest that is known."""


@dataclass(frozen=True, slots=True)
class Search:
    """The conditions that are given. `word` is what stands there without a qualifier: an id of some kind."""

    word: str | None = None
    connector: str | None = None
    strategy: str | None = None
    action: str | None = None
    status: str | None = None
    reason: str | None = None
    since: datetime | timedelta | None = None
    http: int | None = None
    client: str | None = None
    trace: bytes | None = None

    @property
    def is_word_alone(self) -> bool:
        """Whether an id is looked for, and nothing else is said."""
        return self.word is not None and self == Search(self.word)

    def conditions(self) -> Filter:
        """The filter of all but the word, and the time, which the ledger's clock tells."""
        return Filter(
            connector=storable(self.connector),
            strategy=storable(self.strategy),
            # A reason is that of a dead letter, and those are found by their index.
            status="dead" if self.reason is not None and self.status is None else self.status,
            reason=self.reason,
            action=self.action,
            http_status=self.http,
            client_order_id=storable(self.client),
            trace_id=self.trace,
        )

    def meanings(self) -> Iterable[tuple[str, Filter]]:
        """The meanings of the word, each with its filter, the most exact first; one, if there is no word."""
        rest, word = self.conditions(), storable(self.word)
        if word is None:
            yield "", rest
            return
        yield "the id", replace(rest, intent_ids=(word,))
        if self.client is None:
            yield "the client order id", replace(rest, client_order_id=word)
        if is_short_id(word):
            begins, ends = ends_of(word) if CUT in word else (word, "")
            yield "an id that begins so", replace(rest, begins=begins, ends=ends)
        if self.trace is None and _TRACE_ID.fullmatch(word):
            yield "the trace id", replace(rest, trace_id=bytes.fromhex(word))


def is_short_id(text: str) -> bool:
    """Whether a text may stand for an id that begins so, or that begins and ends so."""
    return len(text.replace(CUT, "")) >= BEGINNING_CHARACTERS_MIN


def parse(text: str) -> Search:
    """The search that a text means. Raises BadSearch."""
    words: list[str] = []
    found: dict[str, Any] = {}
    for name, value in _tokens(text):
        if name is None:
            words.append(value)
        elif name in found:
            raise BadSearch(f"{name}: is there twice")
        else:
            found[name] = _read(name, value)
    return Search(word=" ".join(words) or None, **found)


def _tokens(text: str) -> Iterable[tuple[str | None, str]]:
    """The qualifier (None where there is none) and the value of each part."""
    rest = text.strip()
    while rest:
        if (token := _TOKEN.match(rest)) is None:
            raise BadSearch('a quote is not closed, or touches a word: write name:"a value"')
        name, in_quotes, bare = token.groups()
        yield name, bare if in_quotes is None else re.sub(r"\\(.)", r"\1", in_quotes)
        rest = rest[token.end() :].lstrip()


def _read(name: str, value: str) -> Any:
    if name not in READERS:
        known = [f"{one}:" for one in READERS]
        near = nearest_clause(f"{name}:", known)
        raise BadSearch(f'there is no qualifier {name}:{near}; an id with a colon in it stands in quotes, "{name}:…"')
    if not value:
        raise BadSearch(f"{name}: has no value")
    try:
        return READERS[name](value)
    except ValueError as error:
        raise BadSearch(f"{name}: {error}") from None


def asking(**conditions: str | int) -> str:
    """The text of the search for these, by the names of qualifiers."""
    return " ".join(f"{name}:{quoted(str(value))}" for name, value in conditions.items())


def completions(text: str, connectors: Iterable[str]) -> list[str]:
    """The offers of the box: the search as it is, with one more qualifier each."""
    try:
        search = parse(text)
    except BadSearch:
        return []
    values: Mapping[str, Iterable[str]] = {
        "status": STATUSES,
        "reason": REASONS,
        "connector": sorted(connectors)[:COMPLETED_CONNECTORS_MAX],
        "action": ACTIONS,
        "since": SINCES,
    }
    before = f"{text.strip()} " if text.strip() else ""
    return [
        f"{before}{name}:{quoted(value)}"
        for name, offered in values.items()
        if getattr(search, name) is None
        for value in offered
    ]


def quoted(text: str) -> str:
    """The value as it is, or in quotes where it needs them."""
    if _PLAIN.fullmatch(text):
        return text
    inside = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{inside}"'


def _word(kind: str, known: Collection[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value == "duplicate" and kind == "status":
            raise ValueError("a duplicate has no row of its own, see the consumer's log")
        if value not in known:
            raise ValueError(f"there is no {kind} {value}{nearest_clause(value, known)}")
        return value

    return read


def _http(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) == 3 and int(value) in HTTP_STATUSES):
        raise ValueError(f"an HTTP status is a number from {HTTP_STATUSES[0]} to {HTTP_STATUSES[-1]}")
    return int(value)


def _trace(value: str) -> bytes:
    if _TRACE_ID.fullmatch(value) is None:
        raise ValueError("the id of a trace has 32 hexadecimal digits")
    return bytes.fromhex(value)


def _same(value: str) -> str:
    return value


# The reader of each qualifier's value; it raises ValueError with a sentence.
READERS: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "connector": _same,
        "strategy": _same,
        "action": _word("action", ACTIONS),
        "status": _word("status", STATUSES),
        "reason": _word("reason", REASONS),
        "since": moment_of,
        "http": _http,
        "client": _same,
        "trace": _trace,
    }
)
