"""Snapshots that are made up, for what the console's pages say of them; and a console whose watch always has one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from yarl import URL

from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.orders.switch import ALL, Change, State, Switch
from signalq.kinds import Kind
from signalq.ops.console.desk import Desk, Host
from signalq.ops.console.gate.access import Viewer
from signalq.ops.console.gate.routes import find_route
from signalq.ops.console.moment.snapshot import (
    LONG_BUCKETS,
    REGIONS,
    SHORT_BUCKETS,
    Buckets,
    Ending,
    Lane,
    Letters,
    Notice,
    Region,
    Snapshot,
    Source,
    Spread,
)
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.view import View
from tests.support.console_site import settings_of

NOW_MS = 1_780_000_000_000
ALICE = Viewer("alice", "operate", "127.0.0.1")
WATCHER = Viewer("bob", "view", "127.0.0.1", "you are signed in to view only")
SHORT = Buckets([place % 7 for place in range(SHORT_BUCKETS)], [int(place % 20 == 3) for place in range(SHORT_BUCKETS)])
LONG = Buckets(
    [place * 3 % 50 for place in range(LONG_BUCKETS)],
    [int(place == 100) * 4 for place in range(LONG_BUCKETS)],
    {"rejected": [int(place == 100) * 4 for place in range(LONG_BUCKETS)]},
)
# Each would do harm, or hide something, in a page that writes it as it is.
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' style='position:fixed",
    "</title></script><!--",
    "{{ 7 * 7 }}",
    "\u202egnp.exe",
    "a\u200bb\x00c\nd\x1b[31m",
    "שלום",
    "x" * 255,
    "我" * 85,
    "..",
    "a/b?c#d%e",
)


def change(
    number: int, connector: str = ALL, state: State = "paused", who: str = "alice", why: str = "odd fills"
) -> Change:
    """A change of the switch, 4 minutes ago."""
    return Change(number, connector, state, NOW_MS - 240_000, who, why)


def replica(name: str = "host-a:411", *, seen: int = 0, silent_ms: int = 100) -> Replica:
    """A consumer."""
    return Replica(f"owner of {name}", name, NOW_MS - 3_600_000, silent_ms, seen, {}, {})


def lanes_of(name: str) -> list[Lane]:
    """A lane of each kind, and of each need."""
    ended = Ending("dead", NOW_MS - 3_000, "rejected", 401)
    closed = change(4, "delta", "close-only")
    shown = {"ready_ms": NOW_MS - 1_000, "short": SHORT}
    return [
        Lane(name, "q.1", ready=12, held=3, out=1, oldest_ms=NOW_MS - 400, consumer=name, last=ended, **shown),
        Lane("beta", "q.2", ready=14, oldest_ms=NOW_MS - 41_000, is_consumed=False, last=Ending("delivered", NOW_MS)),
        Lane("gamma", "q.3", ready=0, state="paused", change=change(3, "gamma", who=name, why=name), **shown),
        Lane("delta", "q.4", ready=41, state="close-only", change=closed, opens_due=9, is_old=True, **shown),
        Lane("zeta", "q.5", ready=3, failures=4, next_ms=NOW_MS + 9_000, retrying=3, why=name, doubts=2, **shown),
        Lane("quiet", "q.6", ready=0, **shown),
        Lane("retired", "q.7", ready=1, is_retired=True, is_consumed=False),
        Lane(f"{name} too", "q.8", is_own=False, state="open"),
        Lane(None, "q", ready=2, held=1, **shown),
    ]  # fmt: skip


def snapshot_of(name: str = "main", *, number: int = 18) -> Snapshot:
    """A moment in which everything is to be told, with this name in every field that is somebody else's."""
    changes = {"gamma": change(3, "gamma", who=name, why=name), "delta": change(4, "delta", "close-only")}
    return Snapshot(
        number=number,
        now_ms=NOW_MS,
        ahead_ms=3_200,
        ledger=Source(NOW_MS - 300),
        broker=Source(NOW_MS - 900, NOW_MS - 60_000, f"connection refused by {name}", Kind.CONNECTION_REFUSED),
        other_ledger=name,
        switch=Switch(18, {"gamma": "paused", "delta": "close-only", name: "paused"}),
        changes=changes,
        replicas=(replica(name, seen=18), replica("host-b:771", silent_ms=41_000), replica("host-c:92", seen=17)),
        last_consumer=(name, NOW_MS - 9_000),
        lanes=lanes_of(name),
        attention=(
            Notice(f"doubt:{name}", f"2 orders may have gone out and nobody knows {name}", is_grave=True, on=name),
            Notice(
                f"fresh:{name}",
                "31 letters in 10 min",
                is_grave=False,
                since_ms=NOW_MS - 41_000,
                on=name,
                links=(("Group", "/dead?reason=rejected"),),
                advice=f"Mend {name}",
            ),
        ),
        letters=Letters(212, 214, NOW_MS - 300_000_000, 214),
        scheduled=41,
        next_due_ms=NOW_MS + 8_000,
        total=SHORT,
        posts=Spread(84, 410, 900),
        late=Spread(3, 12, 40),
    )


def calm() -> Snapshot:
    """A moment in which nothing needs anybody, and nothing waits."""
    lanes = [
        Lane("main", "q.1", ready=0, short=Buckets([0] * SHORT_BUCKETS, [0] * SHORT_BUCKETS), consumer="host-a:411")
    ]
    return Snapshot(
        number=1,
        now_ms=NOW_MS,
        ledger=Source(NOW_MS - 300),
        broker=Source(NOW_MS - 900),
        replicas=(replica(),),
        lanes=lanes,
        total=Buckets([0] * SHORT_BUCKETS, [0] * SHORT_BUCKETS),
    )


def with_all(snapshot: Snapshot, state: State, who: str = "alice") -> Snapshot:
    """The same with the switch of all connectors in this state."""
    states = {**snapshot.switch.states, ALL: state}
    changes = {**snapshot.changes, ALL: change(19, ALL, state, who=who)}
    return replace(snapshot, switch=Switch(19, states), changes=changes)


def ledger_away(snapshot: Snapshot, kind: Kind = Kind.LEDGER_LOCKED) -> Snapshot:
    """The same while the ledger can't be read."""
    why = "the ledger at /var/lib/signalq.db can't be used (database is locked): try again when it can"
    return replace(snapshot, ledger=Source(NOW_MS - 84_000, NOW_MS - 83_000, why, kind))


class StillRings:
    """A history that does not go on."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def until(self, _now_ms: int) -> Buckets:
        return self._buckets


class StillSeries:
    """The histories of a lane."""

    short = StillRings(SHORT)
    long = StillRings(LONG)


class StillWatch:
    """A watch that always sees this."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.latest = snapshot
        self.shown: list[str] = []

    async def snapshot(self) -> Snapshot:
        return self.latest

    async def look_now(self) -> Snapshot:
        return self.latest

    async def changes(self) -> AsyncIterator[frozenset[Region]]:
        yield REGIONS

    def show(self, connectors: Iterable[str]) -> None:
        self.shown = list(connectors)

    def history(self, _name: str | None) -> StillSeries:
        return StillSeries()

    async def close(self) -> None:
        return


def desk_of(snapshot: Snapshot, ledger_url: str = "sqlite+aiosqlite:////nowhere/signalq.db", **sections: Any) -> Desk:
    """A desk that sees this; its ledger is not there unless it is named."""
    settings = settings_of(ledger_url, **sections)
    desk = Desk(lambda: settings, Host(is_consumer=False, host="127.0.0.1", port=8082))
    desk.watch = cast("Any", StillWatch(snapshot))
    return desk


async def shown(desk: Desk, path: str, viewer: Viewer = ALICE) -> str:
    """The page of a path, as this person sees it. Raises what its handler raises."""
    request = make_mocked_request("GET", path)
    route, parts = find_route(ROUTES, "GET", URL(path, encoded=True).raw_path)
    response = await route.handler(View(request, desk, viewer, parts, desk.watch.latest))
    assert isinstance(response, web.Response)
    return response.text or ""


def own_files(folder: Path) -> list[Path]:
    """The files of a folder, without those of others, and what Python keeps beside its own."""
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and not {"vendor", "__pycache__"} & {*file.parts}
    )
