"""The figures of the present moment, for a watch that reads them again and again: each by an index of its own.

The conditions are written as those of the partial indexes: with a parameter in the place of a status, neither database
would know that it may use one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from signalq.consumer.ledger.tables import (
    OPEN_LETTER,
    PENDING,
    RETRYING,
    SENDING,
    audit,
    group_notes,
    intents,
    lanes,
    letters,
    paces,
)

# So many connectors are told of at a time: their names are foreign, and without a limit.
CONNECTORS_MAX = 4_000
GROUPS_MAX = 100


class LaneRow(NamedTuple):
    """The last consumer of a lane (None where it never had an active one), and when it was last looked after."""

    owner: str | None
    alive_ms: int


@dataclass(frozen=True, slots=True)
class Retrying:
    """The orders of a connector that wait for another attempt: how many, where the age of the oldest begins, and why
    one of them failed.
    """

    count: int
    oldest_ms: int
    http_status: int | None
    why: str | None


class Newest(NamedTuple):
    """The highest numbers of the intents and of the acts of people: as long as they stay, there is no new one."""

    intent: int
    act: int


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The schedule: how many orders are pending, and when the next is due.

    `mark` changes with every order that comes or goes, as far as a sum can tell.
    """

    count: int = 0
    next_due_ms: int | None = None
    mark: int = 0


@dataclass(frozen=True, slots=True)
class OpenLetters:
    """The open letters: how many they are, how many messages of the queue, when the oldest died; the newest's number.

    `noted_ms`: when a note on a group was last written.
    """

    count: int = 0
    messages: int = 0
    oldest_ms: int | None = None
    newest: int = 0
    noted_ms: int = 0


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Open letters of one reason, connector and HTTP status; `first_ms` and `last_ms` are when they died."""

    reason: str | None
    connector: str | None
    http_status: int | None
    count: int
    first_ms: int
    last_ms: int


def lane_rows(connection: Connection) -> dict[str, LaneRow]:
    """Every lane that the ledger knows, by its queue."""
    rows = connection.execute(_lanes)
    return {lane: LaneRow(owner if epoch else None, alive_ms) for lane, epoch, owner, alive_ms in rows}


def sending(connection: Connection, now_ms: int) -> dict[str, int]:
    """How many orders of each connector are being POSTed: claimed, by a consumer that lives."""
    return dict(connection.execute(_sending, {"now_ms": now_ms}).all())


def retrying(connection: Connection) -> dict[str, Retrying]:
    """The orders that wait for another attempt, by connector; those whose letter is not confirmed yet among them."""
    return {connector: Retrying(*rest) for connector, *rest in connection.execute(_retrying)}


def failures(connection: Connection) -> dict[str, int]:
    """How often in a row the webhook has failed, by connector; without zeros."""
    return dict(connection.execute(_failures).all())


def newest(connection: Connection) -> Newest:
    """The highest numbers."""
    return Newest(*connection.execute(_newest).one())


def scheduled(connection: Connection) -> Scheduled:
    """The schedule."""
    count, next_due_ms, total = connection.execute(_scheduled).one()
    return Scheduled(count, next_due_ms, int(total or 0))


def due_until(connection: Connection, until_ms: int, connectors: Sequence[str] | None) -> dict[tuple[str, str], int]:
    """How many pending orders fall due by then, by connector and action: of these connectors, or of all."""
    query = _due if connectors is None else _due.where(intents.c.connector.in_(connectors))
    rows = connection.execute(query, {"until_ms": until_ms})
    return {(connector, action): count for connector, action, count in rows}


def open_letters(connection: Connection) -> OpenLetters:
    """The open letters as a whole."""
    count, messages, oldest_ms, newest_number = connection.execute(_letters).one()
    noted_ms = connection.execute(_noted).scalar_one()
    return OpenLetters(count, int(messages), oldest_ms, newest_number, noted_ms)


def letters_since(connection: Connection, since_ms: int) -> list[LetterGroup]:
    """The open letters of those that died since then, the largest groups first, at most GROUPS_MAX."""
    return [LetterGroup(*row) for row in connection.execute(_letters_since, {"since_ms": since_ms})]


def letters_of(connection: Connection, reason: str) -> list[LetterGroup]:
    """All open letters of a reason, by connector and HTTP status: this reads every open letter."""
    return [LetterGroup(*row) for row in connection.execute(_letters_of, {"reason": reason})]


_lanes = select(lanes.c.lane, lanes.c.epoch, lanes.c.owner, lanes.c.alive_ms)
# A claim whose lease has run out is nobody's: its consumer is gone, and nothing of it is on the wire.
_sending = (
    select(intents.c.connector, func.count())
    .where(SENDING, intents.c.lease_until_ms >= bindparam("now_ms"))
    .group_by(intents.c.connector)
    .limit(CONNECTORS_MAX)
)
_retrying = (
    select(
        intents.c.connector,
        func.count(),
        func.min(intents.c.age_from_ms),
        func.max(intents.c.http_status),
        func.max(intents.c.why),
    )
    .where(RETRYING)
    .group_by(intents.c.connector)
    .limit(CONNECTORS_MAX)
)
_failures = select(paces.c.connector, paces.c.failures).where(paces.c.failures > 0).limit(CONNECTORS_MAX)
_newest = select(
    func.coalesce(select(func.max(intents.c.number)).scalar_subquery(), 0),
    func.coalesce(select(func.max(audit.c.number)).scalar_subquery(), 0),
)
_scheduled = select(func.count(), func.min(intents.c.due_ms), func.sum(intents.c.due_ms)).where(PENDING)
_due = (
    select(intents.c.connector, intents.c.action, func.count())
    .where(PENDING, intents.c.due_ms <= bindparam("until_ms"))
    .group_by(intents.c.connector, intents.c.action)
    .limit(CONNECTORS_MAX)
)
_letters = select(
    func.count(),
    func.coalesce(func.sum(letters.c.messages), 0),
    func.min(letters.c.since_ms),
    func.coalesce(func.max(letters.c.number), 0),
).where(OPEN_LETTER)
_noted = select(func.coalesce(func.max(group_notes.c.at_ms), 0))
_kind = letters.c.reason, letters.c.connector, letters.c.http_status
_grouped = (
    select(*_kind, func.count(), func.min(letters.c.since_ms), func.max(letters.c.since_ms))
    .where(OPEN_LETTER)
    .group_by(*_kind)
    .order_by(func.count().desc(), *_kind)
    .limit(GROUPS_MAX)
)
_letters_since = _grouped.where(letters.c.since_ms >= bindparam("since_ms"))
_letters_of = _grouped.where(letters.c.reason == bindparam("reason"))
