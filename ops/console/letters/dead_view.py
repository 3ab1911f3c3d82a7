"""The letters as the page of dead letters shows them: what its address says, and what the ledger answers to that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Self

from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import group_notes, letter_groups, letters, replays
from signalq.consumer.ledger.queries.group_notes import GroupNote
from signalq.consumer.ledger.queries.letter_groups import BYS, By, Facets, Group, Scope
from signalq.consumer.ledger.queries.letters import Letters, Listed, Settled
from signalq.ops.console.gate.query import Reader, digest, name, number, one_of
from signalq.ops.console.letters.tally import Fate, fate_of
from signalq.ops.dead_letters.listing import row_of
from signalq.ops.dead_letters.outlook import is_exit, outlook
from signalq.ops.dead_letters.rules import without_option
from signalq.ops.terminal.order_columns import order_text
from signalq.settings.sections import Settings

GROUPS_MAX = 200
ROWS_MAX = 100
# So many names are offered in a list; any other may be in the address.
NAMES_MAX = 200
# Of a letter's number, and of a time in ms.
NUMBER_MAX = 10**15
SINCE_MS: Mapping[str, int] = MappingProxyType({"15m": 900_000, "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000})
# The advice for each reason, in short; docs/operate/dead-letters.md has it in full.
TO_DO: Mapping[str, str] = MappingProxyType(
    {
        "invalid": "Mend their producer: the detail names each bad field.",
        "unauthorized": "See who published them and what that strategy may do; mend that, then replay.",
        "forbidden": "Is the order right, or the limit? Replay them if they are still wanted once opens go.",
        "expired": "Decide whether they are still wanted, then replay; old opens need a person's word.",
        "superseded": "Mostly nothing: a later exit took their place. Replay them if they are wanted after all.",
        "rejected": "Mostly a wrong token, a wrong connector or a rule of the platform. Mend that, then replay.",
        "exhausted": "See how the platform is, then replay them if they are still wanted.",
        "outcome-unknown": "Look on the platform whether it took them, before anything else; if not, replay.",
        "undeliverable": "Look at the log for intent.handling_failed, and report it.",
    }
)
NOT_OURS = "No letter of signalq: look who put it there."


def after(value: str) -> tuple[int, int]:
    """The place of a letter among others: `since_ms.number`."""
    since_ms, _, row = value.partition(".")
    read = number(0, NUMBER_MAX)
    return read(since_ms), read(row)


# The parameters that choose groups, in the address and in the form that acts on them.
FILTERS: Mapping[str, Reader] = MappingProxyType(
    {"by": one_of(BYS), "since": one_of(SINCE_MS), "reason": name, "connector": name, "strategy": name}
)
READERS: Mapping[str, Reader] = MappingProxyType(
    {**FILTERS, "until": number(0, NUMBER_MAX), "open": digest, "after": after}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The address of the page: how letters are grouped and filtered, the group that is open, the page of its rows.

    `until` is the number of the newest letter when the page was made: what came since is new, and not chosen.
    """

    by: By = "cause"
    since: str | None = None
    reason: str | None = None
    connector: str | None = None
    strategy: str | None = None
    until: int | None = None
    opened: bytes | None = None
    after: tuple[int, int] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The address by its parameters; those that are not there are absent."""
        filters = {key: given[key] for key in FILTERS if given.get(key) is not None}
        return cls(**filters, until=given.get("until"), opened=given.get("open"), after=given.get("after"))

    def scope(self, now_ms: int) -> Scope:
        """The letters that are meant."""
        since_ms = None if self.since is None else now_ms - SINCE_MS[self.since]
        return Scope(self.reason, self.connector, self.strategy, since_ms)

    @property
    def filters(self) -> dict[str, str | None]:
        """The parameters of the groups alone, as a link or a form has them."""
        given = {key: getattr(self, key) for key in FILTERS}
        return given | {"by": None if self.by == "cause" else self.by}

    @property
    def is_filtered(self) -> bool:
        """Whether some letters may be left out."""
        return any(value is not None for key, value in self.filters.items() if key != "by")

    def parameters(self, *, with_rows: bool = True) -> dict[str, object]:
        """All parameters, as a link has them."""
        given: dict[str, object] = {**self.filters, "until": self.until}
        given["open"] = None if self.opened is None else self.opened.hex()
        if with_rows and self.after is not None:
            given["after"] = f"{self.after[0]}.{self.after[1]}"
        return given


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups, with their notes by mark; `hidden` more are not shown. `total` counts all letters, filtered or not.

    `last` is the latest letter that left the queue, where there is none to show.
    """

    asked: Asked
    shown: Sequence[Group]
    hidden: int
    notes: Mapping[bytes, GroupNote]
    count: int
    total: int
    last: Settled | None

    @property
    def later(self) -> int:
        """How many of those that are shown came after the page was made."""
        return sum(group.later for group in self.shown)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of them died."""
        return min((group.first_ms for group in self.shown), default=None)


def look_at_groups(connection: Connection, asked: Asked) -> Groups:
    """Read the groups; where the address does not say up to which letter, `asked` says so then."""
    now_ms = clock_ms(connection)
    asked = replace(asked, until=letter_groups.newest(connection) if asked.until is None else asked.until)
    found = letter_groups.groups(connection, asked.scope(now_ms), asked.by, now_ms, asked.until)
    found.sort(key=lambda group: group.reason != "outcome-unknown")  # orders that may be on the platform are first
    shown, count = found[:GROUPS_MAX], sum(group.count + group.later for group in found)
    if asked.opened is None and len(found) == 1:
        asked = replace(asked, opened=found[0].mark)
    return Groups(
        asked,
        shown,
        hidden=len(found) - len(shown),
        notes=group_notes.read(connection, shown),
        count=count,
        total=letters.count(connection, Letters()) if asked.is_filtered else count,
        last=None if found else letters.last_settled(connection),
    )


def names_of(connection: Connection) -> Facets:
    """The names to filter by, as many as a list may have."""
    found = letter_groups.facets(connection)
    return Facets(found.reasons[:NAMES_MAX], found.connectors[:NAMES_MAX], found.strategies[:NAMES_MAX])


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A letter of the open group, its order in words, and its outlook: its fate in a replay, and why."""

    letter: Listed
    order: str | None
    fate: Fate
    why: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The open group, and a page of its letters; `next_after` is the place of the last one where there are more.

    `outlook` counts the rows by fate and doubt. `opens` are those that may go, by connector.
    """

    asked: Asked
    group: Group
    rows: Sequence[LetterRow]
    next_after: tuple[int, int] | None
    outlook: Sequence[tuple[Fate, str | None, int]]
    opens: Mapping[str, int]


def look_at_letters(
    connection: Connection, asked: Asked, settings: Settings, known: Sequence[Group] = ()
) -> Opened | None:
    """Read a page of the open group; None where none is open, or its letters are gone.

    The group is looked up where it is not among those that are `known`.
    """
    if asked.opened is None:
        return None
    now_ms = clock_ms(connection)
    scope = asked.scope(now_ms)
    group = _of_mark(known, asked.opened)
    if group is None:
        group = _of_mark(letter_groups.groups(connection, scope, asked.by, now_ms, asked.until), asked.opened)
    if group is None:
        return None
    found = letter_groups.page(connection, scope, group, ROWS_MAX + 1, asked.after)
    shown = found[:ROWS_MAX]
    standings = replays.of_letters(connection, [one.mark for one in shown])
    counts: Counter[tuple[Fate, str | None]] = Counter()
    opens: Counter[str] = Counter()
    rows = []
    for one in shown:
        result = outlook(one, standings.get(one.mark), settings, now_ms)
        fate = fate_of(result)
        counts[fate, result.doubt] += 1
        rows.append(LetterRow(one, order_text(row_of(one)), fate, result.why and without_option(result.why)))
        if fate in {"done", "doubt"} and one.connector is not None and not is_exit(settings, one.connector, one.action):
            opens[one.connector] += 1
    last = shown[-1] if len(found) > len(shown) else None
    return Opened(
        asked,
        group,
        rows,
        next_after=None if last is None else (last.since_ms, last.number),
        outlook=[(fate, doubt, count) for (fate, doubt), count in counts.most_common()],
        opens=opens,
    )


def _of_mark(groups: Sequence[Group], mark: bytes) -> Group | None:
    return next((group for group in groups if group.mark == mark), None)
