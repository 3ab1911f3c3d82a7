"""The audit: a row for each command that changes something, by whom, on what, and to how many; none for a look."""

from __future__ import annotations

import getpass
import json
import socket
from typing import Any

import pytest

from signalq.amqp.topology import Topology
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import audit
from signalq.consumer.ledger.queries.audit import Act, Audited
from signalq.names import Names
from signalq.ops import lanes
from signalq.settings.sources import load_settings
from tests.support.broker import Broker
from tests.support.commands import Signalq, ended, start
from tests.support.consumer import ledger_url
from tests.support.graveyard import bury, dead, in_ledger
from tests.support.orders import body, new_id, order
from tests.support.stores import Store, ledger_at
from tests.support.waiting import wait_until

BOB = Actor("bob\x00", "console", "10.2.0.7")


def audited(names: Names) -> list[tuple[Any, ...]]:
    """What, about what, how many were done and refused, and why."""
    rows = in_ledger(
        names.prefix, "SELECT what, about, done, refused, why, who, via, address FROM audit ORDER BY number"
    )
    assert {row[5:] for row in rows} <= {(getpass.getuser(), "cli", socket.gethostname())}
    return [(what, json.loads(about), done, refused, why) for what, about, done, refused, why, *_ in rows]


async def scheduled(names: Names, *intent_ids: str) -> None:
    """Let intents be pending in the ledger."""
    async with ledger_at(ledger_url(names.prefix)) as ledger:
        epoch = await ledger.open_lane(names.orders)
        for intent_id in intent_ids:
            await ledger.recall(order(body(delaySeconds=3600, log=intent_id), message_id=intent_id), epoch)


async def test_the_switch_is_audited_with_its_reason(names: Names, signalq: Signalq) -> None:
    await scheduled(names)
    assert (await signalq("lanes", "pause", "main", "--why", "odd fills")).status == 0
    assert (await signalq("lanes", "resume", "--all")).status == 0
    assert audited(names) == [
        ("switch", {"connector": "main", "state": "paused"}, 1, 0, "odd fills"),
        ("switch", {"state": "open"}, 1, 0, ""),
    ]


async def test_replays_and_discards_are_a_row_a_command_however_many_batches_they_take(
    broker: Broker, topology: Topology, names: Names, signalq: Signalq
) -> None:
    old = [dead(f"old-{n}", created_ms=1_000_000_000_000) for n in range(20)]
    expired = [dead(f"expired-{n}", reason="expired") for n in range(5)]
    await bury(broker.url, names, [*(dead(n) for n in range(230)), *old, *expired])
    assert (await signalq("dead", "replay", "--reason", "rejected")).status == 1, "opens that are too old are refused"
    assert (await signalq("dead", "replay", "--reason", "rejected", "--force")).status == 0
    chosen = [f"--id=id-expired-{n}" for n in range(5)]
    assert (await signalq("dead", "discard", *chosen, "--connector", "main")).status == 0
    assert audited(names) == [
        ("replay", {"reason": "rejected"}, 230, 20, ""),
        ("replay", {"reason": "rejected", "force": True}, 20, 0, ""),
        ("discard", {"ids": [f"id-expired-{n}" for n in range(5)], "connector": "main"}, 5, 0, ""),
    ]


async def test_a_replay_that_is_killed_is_audited_as_far_as_it_came(
    broker: Broker, topology: Topology, names: Names, signalq: Signalq
) -> None:
    await bury(broker.url, names, [dead(n) for n in range(1_000)])
    process = await start("dead", "replay", "--all")
    await wait_until(lambda: len(in_ledger(names.prefix, "SELECT * FROM audit WHERE done >= 200")) == 1)
    process.kill()
    await ended(process)
    ((_, about, done, refused, _),) = audited(names)
    ((replayed,),) = in_ledger(names.prefix, "SELECT count(*) FROM steps WHERE what = 'replayed'")
    assert (about, done, refused) == ({"all": True}, replayed, 0)


async def test_a_cancel_is_audited_with_what_was_too_late(names: Names, signalq: Signalq) -> None:
    await scheduled(names, "a", "b", "c")
    in_ledger(names.prefix, "UPDATE intents SET status = 'delivered', ended_ms = 1 WHERE intent_id = 'b'")
    assert (await signalq("scheduled", "cancel", "--id", "a", "--id", "b")).status == 1
    assert (await signalq("scheduled", "cancel", "--all")).status == 0
    assert audited(names) == [
        ("cancel", {"ids": ["a", "b"], "too_late": ["b"]}, 1, 1, ""),
        ("cancel", {"all": True}, 1, 0, ""),
    ]


async def test_of_many_ids_the_first_are_told_and_the_others_counted(names: Names, signalq: Signalq) -> None:
    await scheduled(names)
    given = [f"--id={number:032}" for number in range(25)]
    assert (await signalq("scheduled", "cancel", *given)).status == 1, "the ledger knows none of them"
    ((what, about, *counts),) = audited(names)
    assert (what, counts) == ("cancel", [0, 0, ""])
    assert (len(about["ids"]), about["more_ids"]) == (20, 5)


async def test_adopting_a_ledger_is_audited(topology: Topology, names: Names, signalq: Signalq) -> None:
    await scheduled(names)
    assert (await signalq("topology", "adopt-ledger")).status == 0
    ((what, about, *counts),) = audited(names)
    assert (what, counts) == ("adopt-ledger", [1, 0, ""])
    assert about == {"ledger": ledger_url(names.prefix)}


async def test_looking_is_not_audited(broker: Broker, topology: Topology, names: Names, signalq: Signalq) -> None:
    await bury(broker.url, names, [dead(1)])
    for arguments in (
        ["dead", "list"],
        ["dead", "list", "--queue"],
        ["dead", "show", "id-1"],
        ["dead", "replay", "--id", "id-nothing"],
        ["orders", "list"],
        ["lanes", "list"],
        ["scheduled", "list"],
        ["check"],
    ):
        await signalq(*arguments)
    assert audited(names) == []


async def test_another_actor_is_named_in_the_audit_and_in_the_change(names: Names, signalq: Signalq) -> None:
    await scheduled(names)
    async with LedgerClient(load_settings().ledger.url.get_secret_value()) as ledger:
        done = await lanes.change_switch(
            ledger, "main", "close-only", why="by hand", actor=Actor("bob", "console", "::1")
        )
    assert done.change.who == "bob"
    rows = in_ledger(names.prefix, "SELECT who, via, address, why FROM audit")
    assert rows == [("bob", "console", "::1", "by hand")]
    assert Actor("bob", "console", "::1").told("a command") == "by bob, in the console"


@pytest.mark.parametrize("text", ["\x00", "é" * 5_000, "'); DROP TABLE audit; --"])
async def test_any_text_can_be_audited_and_the_latest_acts_come_first(store: Store, text: str) -> None:
    await store.ledger()
    async with LedgerClient(store.url) as ledger:
        for number in range(3):
            act = Act("switch", {"connector": text, "number": number, "none": None}, done=number, why=text)
            await ledger.transact(lambda now, act=act: audit.note(now, 7, BOB, act))
        last = await ledger.transact(lambda now: audit.note(now, 7, BOB, Act("cancel", {"id": new_id()})))
        await ledger.transact(lambda now: audit.add(now, last, done=2, refused=1))
        await ledger.transact(lambda now: audit.add(now, last, done=3, refused=0))
        found: list[Audited] = await ledger.read(lambda now: audit.latest(now, 2))
        rest: list[Audited] = await ledger.read(lambda now: audit.latest(now, 10, before=found[-1].number))
    assert [(one.what, one.done, one.refused) for one in found] == [("cancel", 5, 1), ("switch", 2, 0)]
    assert [one.done for one in rest] == [1, 0]
    assert json.loads(rest[0].about) == {"connector": text, "number": 1}
    assert (rest[0].who, rest[0].via, rest[0].address) == ("bob\\x00", "console", "10.2.0.7")
