"""What the pictures show: a desk in the middle of a day, with some trouble of each kind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.console.past import Past, now_ms, write
from signalq.settings.connections import Broker
from tests.support.consumer import ledger_url
from tests.support.desk import DAY_S, HOUR_S, MINUTE_S, SETTINGS, Desk, Plan, desk
from tests.support.person import Person
from tests.support.stores import ledger_at
from tests.support.waiting import wait_until

# How often each of them orders.
PAST_CONNECTORS = ("main", "main", "main", "main", "beta", "delta", "zeta", "zeta", "omega")
PAST_ORDERS, PAST_MS = 12_000, DAY_S * 1000
CONFIG = "[connectors.main]\n[connectors.beta]\n[connectors.delta]\n[connectors.gamma]\n"
SHOWN: Mapping[str, object] = {"console.name": "prod", "delivery.backoff_base_s": 1, "delivery.backoff_max_s": 4}
_GROUP = re.compile(r'name="group" value="([0-9a-f]+)"')
RETRIED = "3b61a24e3b6743658da38126d25cb526"


def plans() -> Sequence[Plan]:
    """The orders of the last minutes."""
    return [
        Plan("main", "again", intent_id=RETRIED, client_order_id="co-117"),
        Plan("main", "doubt", client_order_id="co-118"),
        *(Plan("beta", "refused", strategy="grid", client_order_id=f"grid-{number}") for number in range(31)),
        *(Plan("delta", strategy="carry", age_s=2 * MINUTE_S + number) for number in range(12)),
        Plan("delta", strategy="carry", action="closeLong", age_s=2 * HOUR_S),
        *(Plan("zeta", strategy="carry") for _ in range(5)),
        *(Plan("gamma", "broken", client_order_id=f"co-2{number:02}") for number in range(28)),
        Plan("gamma", "refused", client_order_id="co-228"),
        Plan("main", action="closeLong", delay_s=4 * MINUTE_S, client_order_id="co-119"),
        Plan("delta", strategy="carry", delay_s=28 * MINUTE_S),
        Plan("main", delay_s=9 * HOUR_S, client_order_id="co-120"),
        Plan("zeta", strategy="carry", action="closeShort", delay_s=2 * DAY_S),
    ]


@dataclass(frozen=True, slots=True)
class Pictured:
    """The world, and the paths of its pages by the names of their pictures."""

    world: Desk
    pages: Mapping[str, str]


@asynccontextmanager
async def scene(broker_url: str) -> AsyncIterator[Pictured]:
    """The desk, once all of that has happened."""
    prefix = Broker().prefix  # the broker is this program's alone
    async with ledger_at(ledger_url(prefix)):
        pass  # its tables are there now
    await write(ledger_url(prefix), Past(PAST_ORDERS, 0, PAST_CONNECTORS, now_ms(), PAST_MS, retrying=0))
    async with desk(broker_url, prefix, config=CONFIG, settings={**SETTINGS, **SHOWN}) as world:
        made = plans()
        await world.publish(*made)
        await world.settled(*(plan for plan in made if not plan.delay_s))
        await world.switch("", "paused", who="alice", why="odd fills")
        await world.switch("", "open", who="alice")
        await world.switch("delta", "close-only", who="bob", why="only exits until the fix")
        yield Pictured(world, PAGES)


async def replayed(person: Person, world: Desk) -> str:
    """Leave a note, and replay the letters of gamma, of which one is refused again; the path of the job."""
    world.is_mended = True
    await person.post("/notes", note="beta: its new token comes at 15:00, replay then")
    (group,) = _GROUP.findall(await person.read("/dead?connector=gamma&by=connector"))
    chosen = {"connector": "gamma", "by": "connector", "group": group}
    verdict = await person.post("/dead/verdict", **chosen, action="replay")
    await wait_until(partial(_is_over, person, verdict), what="the verdict")
    job = await person.post(f"{verdict}/replay")
    await wait_until(partial(_is_over, person, job), what="the replay")
    return job


async def _is_over(person: Person, job: str) -> bool:
    return "Check again what is there" in await person.read(job)


PAGES: Mapping[str, str] = {
    "overview": "/",
    "lane": "/lanes/main",
    "dead": "/dead",
    "order": f"/orders/{RETRIED}",
    "orders": "/orders",
    "schedule": "/schedule",
    "check": "/check",
    "activity": "/activity",
}
