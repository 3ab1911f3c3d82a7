"""The audit: a row for each command of a person that has changed something, kept for ever."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from sqlalchemy import Connection, bindparam, insert, select, update

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.row import storable
from signalq.consumer.ledger.tables import audit

# So many ids of a filter are told.
IDS_MAX = 20

What = Literal["switch", "replay", "discard", "cancel", "adopt-ledger", "note"]


@dataclass(frozen=True, slots=True)
class Act:
    """A command: what it does, on what (`about`: a filter, a connector), how many were done and refused, and why."""

    what: What
    about: Mapping[str, object]
    done: int = 0
    refused: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Audited:
    """A row of the audit; `about` is a JSON object."""

    number: int
    at_ms: int
    who: str
    via: str
    address: str
    what: str
    about: str
    done: int
    refused: int
    why: str


_columns = tuple(audit.c[one.name] for one in fields(Audited))
_row = update(audit).where(audit.c.number == bindparam("by_number"))


def about_filter(ids: Collection[str], **conditions: object) -> dict[str, object]:
    """The filter of a command, as an act is about it: the first IDS_MAX ids, and how many more; or all, without any."""
    given = {name: value for name, value in conditions.items() if value is not None}
    if ids:
        given |= {"ids": sorted(ids)[:IDS_MAX], "more_ids": max(0, len(ids) - IDS_MAX) or None}
    return given or {"all": True}


def note(connection: Connection, now_ms: int, actor: Actor, act: Act) -> int:
    """Note an act, in its own transaction where it has one; return the row's number."""
    row = {
        "at_ms": now_ms,
        "who": storable(actor.name),
        "via": actor.via,
        "address": storable(actor.address),
        "what": act.what,
        "about": json.dumps({name: value for name, value in act.about.items() if value is not None}),
        "done": act.done,
        "refused": act.refused,
        "why": storable(act.why),
    }
    number: int = connection.execute(insert(audit).values(row).returning(audit.c.number)).scalar_one()
    return number


def add(connection: Connection, number: int, *, done: int, refused: int) -> None:
    """Count further ones that the act of a row has done, and refused."""
    counts = {"done": audit.c.done + done, "refused": audit.c.refused + refused}
    connection.execute(_row.values(counts), {"by_number": number})


def end(connection: Connection, number: int) -> None:
    """Note that the act of a row has ended, and was not broken off: it is `ended` in what the row is about."""
    about = connection.execute(select(audit.c.about).where(audit.c.number == number)).scalar_one()
    connection.execute(_row.values(about=json.dumps(json.loads(about) | {"ended": True})), {"by_number": number})


def of_jobs(connection: Connection, rows_max: int) -> list[Audited]:
    """The latest replays and discards that were jobs of a console, the newest first."""
    query = select(*_columns).where(audit.c.about.contains('"job": "')).order_by(audit.c.number.desc())
    return [Audited(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def of_job(connection: Connection, job: str) -> Audited | None:
    """The act of one job, by its key; None where it has changed nothing."""
    query = select(*_columns).where(audit.c.about.contains(f'"job": {json.dumps(job)}', autoescape=True))
    row = connection.execute(query.order_by(audit.c.number.desc()).limit(1)).first()
    return None if row is None else Audited(**row._mapping)


def latest(connection: Connection, rows_max: int, before: int | None = None) -> list[Audited]:
    """The latest acts, the newest first: at most `rows_max`, and those with a number below `before`."""
    query = select(*_columns).order_by(audit.c.number.desc()).limit(rows_max)
    if before is not None:
        query = query.where(audit.c.number < before)
    return [Audited(**row._mapping) for row in connection.execute(query)]


def explain(connection: Connection, number: int, why: str) -> None:
    """Say why an act has gone as it has, where that is known only after it."""
    connection.execute(_row.values(why=storable(why)), {"by_number": number})


def find(connection: Connection, number: int) -> Audited | None:
    """The act of this number, if there is one."""
    row = connection.execute(select(*_columns).where(audit.c.number == number)).first()
    return None if row is None else Audited(**row._mapping)
