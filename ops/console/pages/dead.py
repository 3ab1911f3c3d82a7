"""The dead letters: in groups by what they died of, with what to do; chosen here, and judged in a job."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.queries.letter_groups import Facets
from signalq.consumer.orders.switch import ALL, Switch
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.letters.dead_view import (
    NOT_OURS,
    READERS,
    SINCE_MS,
    TO_DO,
    Asked,
    Groups,
    Opened,
    look_at_groups,
    look_at_letters,
    names_of,
)
from signalq.ops.console.letters.jobs import Jobs
from signalq.ops.console.moment.letter_notices import DIFFERS
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.view import View


async def dead(view: View) -> web.StreamResponse:
    """The page."""
    asked = Asked.of(view.query(**READERS))

    def look(connection: Connection) -> tuple[Groups, Opened | None, Facets]:
        found = look_at_groups(connection, asked)
        return found, look_at_letters(connection, found.asked, view.settings, found.shown), names_of(connection)

    groups, opened, names = await view.desk.ledger.read(look)
    context = _context(view, groups) | _letters_context(view, groups.asked, opened)
    return view.page("dead.html", **context, since=list(SINCE_MS), names=names)


async def groups_part(view: View) -> web.StreamResponse:
    """The groups, as they change."""
    found = await view.desk.ledger.read(partial(look_at_groups, asked=Asked.of(view.query(**READERS))))
    return view.part("parts/dead_groups.html", **_context(view, found), why_not=why_not(view.snapshot))


async def letters_part(view: View) -> web.StreamResponse:
    """The letters of the open group, as they change."""
    asked = Asked.of(view.query(**READERS))
    opened = await view.desk.ledger.read(partial(look_at_letters, asked=asked, settings=view.settings))
    return view.part("parts/dead_letters.html", **_letters_context(view, asked, opened))


def why_not(snapshot: Snapshot) -> str | None:
    """Why nothing can be done with letters here and now, whoever asks; None where it can."""
    if snapshot.other_ledger is not None:
        return f"the lanes on this broker belong to another ledger: {snapshot.other_ledger}"
    if snapshot.broker.is_away:
        return f"the broker is away: {snapshot.broker.why}"
    if snapshot.ledger.is_away:
        return f"the ledger is away: {snapshot.ledger.why}"
    return None


@dataclass(frozen=True, slots=True)
class Warned:
    """A connector that the switch holds, or all others (None), and how many of the opens that may go are theirs."""

    connector: str | None
    state: str
    opens: int


def warnings(switch: Switch, opens: Mapping[str, int]) -> list[Warned]:
    """The connectors whose opens would die again, or wait, because of the switch."""
    named = [name for name in sorted(opens) if switch.own(name) != "open"]
    found = [Warned(name, switch.state_of(name), opens[name]) for name in named]
    others = sum(opens.values()) - sum(one.opens for one in found)
    return [*found, Warned(None, switch.own(ALL), others)] if others and switch.own(ALL) != "open" else found


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue beside the ledger: how many messages are ready (None: not known), and how many `more` than it knows.

    `is_read`: a reader has it now, so the two can't be compared. `lasts`: they have differed for so long that these
    are not just two moments.
    """

    ready: int | None
    more: int
    is_read: bool
    lasts: bool


def queue_of(snapshot: Snapshot, jobs: Jobs) -> Queue:
    """The queue, as the watch has last seen it."""
    known = snapshot.letters
    ready = None if snapshot.broker.is_away else known.ready
    is_read = known.is_read or any(job.state == "running" for job in jobs.under_way())
    lasts = any(notice.key == DIFFERS for notice in snapshot.attention)
    return Queue(ready, 0 if ready is None else ready - known.messages, is_read, lasts)


def _context(view: View, found: Groups) -> dict[str, Any]:
    return {
        "asked": found.asked,
        "groups": found,
        "queue": queue_of(view.snapshot, view.desk.jobs),
        "to_do": TO_DO,
        "not_ours": NOT_OURS,
    }


def _letters_context(view: View, asked: Asked, opened: Opened | None) -> dict[str, Any]:
    after = None if opened is None else opened.next_after
    return {
        "asked": asked,
        "opened": opened,
        "why_not": why_not(view.snapshot),
        "switched": [] if opened is None else warnings(view.snapshot.switch, opened.opens),
        "next_page": None if after is None else replace(asked, after=after).parameters(),
        "first_page": None if asked.after is None else asked.parameters(with_rows=False),
    }


ROUTES = (
    Route("GET", "/dead", dead),
    Route("GET", "/parts/dead", groups_part),
    Route("GET", "/parts/dead/letters", letters_part),
)
