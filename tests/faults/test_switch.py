"""What the exit status of `signalq lanes pause` promises, measured: no POST begins later than 1 s after it returned."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from signalq.names import Names
from tests.support import commands
from tests.support.broker import Broker
from tests.support.commands import Ran
from tests.support.consumer import Consumer, ledger_file
from tests.support.intents import make_intents
from tests.support.proxy import Proxy
from tests.support.scene import Scene, scene
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 10
INTENTS = 600
BEFORE = 40
STRICT_S = 1.0
# Long enough after the pause that whatever was going to begin has begun.
WATCHED_S = 2.5


@dataclass
class Measured:
    """When the command returned and when its change was made, and the POSTs that began after each, in ms."""

    ran: Ran
    took_s: float
    returned_ns: int
    changed_ns: int

    def check(self, play: Scene) -> None:
        """No POST began later than STRICT_S after the return; tell how late the last one was."""
        last_ns = max(order.at_ns for order in play.hook.orders)
        after_return_ms = (last_ns - self.returned_ns) / 1e6
        after_change_ms = (last_ns - self.changed_ns) / 1e6
        told = (
            f"the last POST began {after_return_ms:.0f} ms after the command returned, {after_change_ms:.0f} ms after "
            f"the change; the command took {self.took_s:.2f} s"
        )
        sys.stdout.write(f"{told}\n")
        assert len({order.body for order in play.hook.orders}) < INTENTS // 2, "nothing was left to begin"
        assert after_return_ms <= STRICT_S * 1000, told
        assert after_change_ms <= STRICT_S * 1000, told


@asynccontextmanager
async def stage(
    broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch, ledger_url: str | None, seed: int
) -> AsyncIterator[Scene]:
    """Consumers' scene, with the settings for commands in this process's environment."""
    async with scene(broker.url, names, ledger_url=ledger_url, seed=seed) as play:
        monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
        monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
        monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", names.prefix)
        monkeypatch.setenv("SIGNALQ_LEDGER__URL", play.ledger_url)
        yield play


async def pause_all() -> Measured:
    began_s = time.monotonic()
    ran = await commands.run("lanes", "pause", "--all", "--why", "a test", "--json")
    returned_ns = time.time_ns()
    assert ran.status == 0, ran.err
    changed_at = datetime.fromisoformat(ran.rows[0]["changed_at"])
    return Measured(ran, time.monotonic() - began_s, returned_ns, round(changed_at.timestamp() * 1e9))


async def resume_all() -> None:
    ran = await commands.run("lanes", "resume", "--all")
    assert ran.status == 0, ran.err


async def freeze_between_writes(play: Scene, consumer: Consumer) -> None:
    """Frozen in the middle of one it would hold the lock of a ledger's file, and nobody could change anything."""
    while True:
        consumer.freeze()
        if not play.ledger_url.startswith("sqlite") or is_writable(play):
            return
        consumer.thaw()
        await elapsed(0.05)


def is_writable(play: Scene) -> bool:
    with closing(sqlite3.connect(ledger_file(play.names.prefix), timeout=0.2, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        other.execute("ROLLBACK")
        return True


def publish(play: Scene) -> None:
    """More than can be sent before the command returns."""
    play.answers_after_s = (0.05, 0.1)
    play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS, delays_s=(1.0, 4.0)))


async def rest(play: Scene) -> None:
    """Everything goes on, in order, nothing lost and nothing doubled. Lanes may have gone over from one consumer to the
    other meanwhile: then what has no identity came redelivered, and may be in doubt beside its equals.
    """
    await resume_all()
    play.answers_after_s = (0.001, 0.003)
    account = await play.account()
    account.check(doubts_max=account.in_doubt["no message_id, came again"])


async def test_no_post_begins_a_second_after_the_pause_has_returned(
    broker: Broker, names: Names, any_ledger: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two consumers under load; and what was held goes on as if nothing had been."""
    async with stage(broker, names, monkeypatch, any_ledger, 61) as play:
        await play.consumer()
        await play.consumer()
        publish(play)
        await play.posted(BEFORE)
        measured = await pause_all()
        assert len(measured.ran.rows[0]["taken_up_by"]) == 2
        assert measured.ran.rows[0]["not_taken_up_by"] == []
        await elapsed(WATCHED_S)
        measured.check(play)
        for consumer in play.consumers:
            await wait_until(lambda consumer=consumer: consumer.events("switch.changed", state="paused"))
            assert await consumer.metric("signalq_lane_paused", connector="*") == 1
        await rest(play)


async def test_a_frozen_consumer_begins_no_post_when_it_is_woken_after_the_pause(
    broker: Broker, names: Names, any_ledger: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command does not wait for who does not live; who stood still reads the switch before it goes on."""
    async with stage(broker, names, monkeypatch, any_ledger, 62) as play:
        active = await play.consumer()
        publish(play)
        await play.posted(BEFORE)
        await freeze_between_writes(play, active)
        frozen_ns = time.time_ns()
        measured = await pause_all()
        assert measured.ran.rows[0]["taken_up_by"] == []
        seen = len(play.hook.orders)
        active.thaw()
        await wait_until(lambda: active.events("switch.changed", state="paused"))
        await elapsed(WATCHED_S)
        late = len(play.hook.orders) - seen
        assert late == 0, f"{late} POSTs began after it was woken, {(time.time_ns() - frozen_ns) / 1e9:.1f} s frozen"
        measured.check(play)
        await resume_all()
        play.answers_after_s = (0.001, 0.003)
        account = await play.account()
        # Frozen for longer than the broker waits for a heartbeat, it has its messages come again.
        account.check(doubts_max=CONNECTORS + account.in_doubt["no message_id, came again"])


async def test_a_consumer_that_can_not_read_the_switch_begins_no_post_after_a_second(
    broker: Broker, names: Names, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link to the ledger stalls: it knows of no pause, and sends nothing all the same."""
    target = make_url(postgres_url)
    async with (
        Proxy(target.port or 5432) as proxy,
        stage(broker, names, monkeypatch, postgres_url, 63) as play,
    ):
        cut_off = target.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        consumer = await play.consumer({"ledger.url": cut_off})
        publish(play)
        await play.posted(BEFORE)
        proxy.stall()
        stalled_ns = time.time_ns()
        measured = await pause_all()
        assert measured.ran.rows[0]["taken_up_by"] == []
        await elapsed(WATCHED_S)
        last_ms = (max(order.at_ns for order in play.hook.orders) - stalled_ns) / 1e6
        assert last_ms <= STRICT_S * 1000, f"a POST began {last_ms:.0f} ms after the ledger was out of reach"
        measured.check(play)
        proxy.heal()
        await wait_until(lambda: consumer.events("switch.changed", state="paused"))
        await elapsed(WATCHED_S)
        measured.check(play)
        await rest(play)


async def test_many_that_change_the_switch_at_once_leave_one_state_that_all_consumers_see(
    broker: Broker, names: Names, any_ledger: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one wins, whoever that is; each is in the audit."""
    async with stage(broker, names, monkeypatch, any_ledger, 64) as play:
        consumer = await play.consumer()
        ran = await asyncio.gather(
            *(commands.run("lanes", how, f"c{at}", "--json") for at in range(3) for how in ("pause", "close-only"))
        )
        assert [one.status for one in ran] == [0] * 6, [one.err for one in ran]
        listed = await commands.run("lanes", "list", "--json")
        states: dict[str, Any] = {row["connector"]: row["state"] for row in listed.rows if row["connector"]}
        assert set(states) == {"c0", "c1", "c2"}
        assert len(consumer.events("switch.changed")) == 6
        logged = {event["connector"]: event["state"] for event in consumer.events("switch.changed")}
        assert logged == states


@pytest.mark.long
async def test_a_pause_that_could_not_be_written_says_so_and_nothing_is_sent_meanwhile_anyway(
    broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the file's lock, as a consumer does that stands still in the middle of a write."""
    async with stage(broker, names, monkeypatch, None, 65) as play:
        await play.consumer()
        publish(play)
        await play.posted(BEFORE)
        with closing(sqlite3.connect(ledger_file(names.prefix), timeout=5, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            locked_ns = time.time_ns()
            ran = await commands.run("lanes", "pause", "--all", timeout_s=60)
            assert ran.status == 1
            assert ran.err.startswith("signalq: the switch can't be counted on to be changed: the ledger at ")
            assert ran.err.count("\n") == 1
            assert max(order.at_ns for order in play.hook.orders) - locked_ns < STRICT_S * 1e9
            other.execute("ROLLBACK")
        await rest(play)
