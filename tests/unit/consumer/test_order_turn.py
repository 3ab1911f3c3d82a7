"""One order's turn: what is known of the order, what it waits for, and which exit behind it may end that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from aiormq.abc import FieldTable
from pamqp.commands import Basic

from signalq import names
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.due_times import DueTimes
from signalq.consumer.lanes.turn import Turn, WaitingRoom
from signalq.consumer.ledger import Epoch, Fenced, LedgerEntry
from signalq.consumer.orders.decisions import DeadLetter, Waits
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.rules import HOLD_MS
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import State, SwitchedOff
from signalq.message.outcome import Outcome
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings
from tests.support.orders import altered, body, unknown

NOW_MS = 1_700_000_000_000
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", retry_after_s=5.0)
SETTINGS = Settings(
    connectors={"many": {"ordering": "none", "lane": "own", "concurrency": 2}, "paced": {"rate_per_s": 0.1}}
)


class SetClock(Clock):
    """Shows what it is set to; whoever sleeps on it waits until the test says so."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self.go_on = asyncio.Event()

    def now_ms(self) -> int:
        return self.ms

    def even_ms(self) -> int:
        return self.ms - NOW_MS

    async def sleep(self, wait_ms: int) -> None:
        await self.go_on.wait()
        self.ms += wait_ms


class AskedLedger:
    """Tells what the test has it know, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Order] = []
        self.state: State = "open"
        self.is_fenced = False
        self.unpublished: tuple[Outcome, ...] = ()

    async def recall(self, order: Order, _epoch: Epoch) -> LedgerEntry:
        self.asked.append(order)
        if self.is_fenced:
            raise Fenced
        return LedgerEntry(
            altered(order, recorded=True),
            unknown(order),
            maybe_unpublished=self.unpublished,
        )

    def switched(self, _connector: str) -> State:
        return self.state

    def remember(self, *_memory: object) -> None:
        """Nobody comes after this consumer."""


class Scene:
    """A waiting room on a clock and a ledger of its own."""

    def __init__(self) -> None:
        self.clock, self.ledger, self.current = SetClock(), AskedLedger(), CurrentSettings(SETTINGS)
        self.room = WaitingRoom(
            self.current,
            ledger=cast("Any", self.ledger),
            due_times=DueTimes(self.clock, places_max=10, bytes_max=10_000),
            clock=self.clock,
            jitter=lambda: 1.0,
        )
        self._session = Session(cast("Any", None), ConsumeOptions("main", 1, 1), 0.0)
        self._session.epoch = Epoch("lane", 1, None)

    @asynccontextmanager
    async def turn(self, *, redelivered: bool = False, **fields: Any) -> AsyncIterator[tuple[Turn, Order]]:
        """The turn of one message."""
        headers: FieldTable = {names.CREATED_MS: NOW_MS}
        properties = Basic.Properties(message_id=f"{fields}", app_id="s", headers=headers)
        message = Message(body(**fields), properties, "main", redelivered)
        order = read(message, self.current.settings, self.clock.ms)
        assert isinstance(order, Order)
        async with self.room.turn(Delivery(message, 1, self._session), order) as turn:
            yield turn, order


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_a_first_delivery_is_most_likely_unknown_and_later_looks_ask_the_ledger(scene: Scene) -> None:
    async with scene.turn() as (turn, order):
        assert (await turn.known()).state == unknown(order)
        assert scene.ledger.asked == []
        await turn.known()
        await turn.known()
    assert [asked.provenance.recorded for asked in scene.ledger.asked] == [False, True], (
        "that its first record is its own is kept"
    )


async def test_endings_that_may_be_untold_are_kept_from_the_first_look_that_finds_any(scene: Scene) -> None:
    async with scene.turn(redelivered=True) as (turn, _):
        await turn.known()
        assert not turn.unpublished
        first = scene.ledger.unpublished = (cast("Outcome", "first"),)
        await turn.known()
        scene.ledger.unpublished = (cast("Outcome", "second"),)
        await turn.known()
        assert turn.unpublished == first


async def test_while_it_is_paused_nothing_is_looked_up_and_settings_that_change_hold_all_the_same(scene: Scene) -> None:
    async with scene.turn(redelivered=True) as (turn, _):
        held = await turn.known()
        scene.ledger.state = "paused"
        scene.clock.go_on.set()
        assert await turn.hold(NOW_MS + 250) == SwitchedOff("paused")
        assert await turn.known() is held
        scene.ledger.state = "close-only"
        scene.current.settings = Settings(delivery={"attempts_max": 3})
        assert await turn.hold(NOW_MS + 500) is None, "only a claim says what follows"
        assert turn.is_outdated()
        assert (await turn.known()).order.policy.attempts_max == 3
        assert not turn.is_outdated()
        assert len(scene.ledger.asked) == 1


async def test_an_order_waits_for_the_longer_of_its_lanes_backoff_and_its_own_next_attempt(scene: Scene) -> None:
    async with scene.turn() as (turn, order):
        known = await turn.known()
        assert turn.waits(known) == Waits()
        again = IntentState(order.intent_id, b"", version=2, next_attempt_ms=NOW_MS + 3_000, wait_ms=3_000)
        assert turn.waits(replace(known, state=again)).backoff_ms == 3_000
        turn.answered(order, TURNED_AWAY)
        assert turn.waits(replace(known, state=again)).backoff_ms == 5_000
        scene.clock.ms += 4_000
        assert turn.waits(replace(known, state=again)).backoff_ms == 1_000
        assert turn.waits(known).pace_ms == 0


async def test_a_paced_connector_lets_no_post_begin_for_a_while_after_the_last_one_began(scene: Scene) -> None:
    async with scene.turn(connectorName="paced") as (turn, order):
        assert not turn.must_wait(order)
        turn.claims(order)
        assert turn.must_wait(order)
        assert 0 < turn.waits(await turn.known()).pace_ms <= 10_000


async def test_posts_of_one_connector_that_fail_side_by_side_count_as_one_failure(scene: Scene) -> None:
    async with (
        scene.turn(connectorName="many") as (one, order),
        scene.turn(connectorName="many", log="2") as (other, _),
    ):
        one.begins(order)
        other.begins(order)
        first_s = one.answered(order, TURNED_AWAY)
        assert other.answered(order, TURNED_AWAY) == first_s
        one.begins(order)
        assert one.answered(order, TURNED_AWAY) > first_s


async def test_a_turn_that_is_passed_on_is_the_next_ones_and_leaving_it_later_takes_it_from_nobody(
    scene: Scene,
) -> None:
    began: list[str] = []

    async def behind(log: str) -> None:
        async with scene.turn(log=log):
            began.append(log)
            await scene.clock.go_on.wait()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        async with scene.turn() as (turn, _):
            for log in ("b", "c"):
                group.create_task(behind(log))
            await asyncio.sleep(0)
            turn.pass_on()
            assert turn._is_passed_on
            await asyncio.sleep(0)
            assert began == ["b"]
        await asyncio.sleep(0)
        assert began == ["b"], "one at a time"
        scene.clock.go_on.set()
    assert began == ["b", "c"]


async def test_once_the_settings_have_changed_a_turn_is_kept_to_its_end(scene: Scene) -> None:
    async with scene.turn() as (turn, _):
        await turn.known()
        scene.current.settings = Settings(connectors={"main": {"lane": "own"}})
        turn.pass_on()
        assert not turn._is_passed_on
        assert not turn.queue.is_idle
    assert turn.queue.is_idle


async def test_equal_bytes_in_a_lane_without_order_wait_for_the_end_of_a_turn_that_is_passed_on(scene: Scene) -> None:
    began: list[str] = []

    async def behind(name: str, **fields: Any) -> None:
        async with scene.turn(connectorName="many", **fields):
            began.append(name)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group, scene.turn(connectorName="many") as (turn, _):
        turn.pass_on()
        group.create_task(behind("equal"))
        group.create_task(behind("other", log="other"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert began == ["other"]
    assert began == ["other", "equal"]


async def test_an_exit_behind_that_has_superseded_an_open_goes_once_the_open_is_settled(scene: Scene) -> None:
    """Deciding has no effect: the exit passes over the backoff only when the open has its dead letter."""

    async def exit_behind() -> Waits:
        async with scene.turn(action="cancelAll") as (turn, _):
            return turn.waits(await turn.known())

    async with scene.turn() as (turn, order), asyncio.timeout(30):
        turn.answered(order, TURNED_AWAY)
        known = await turn.known()
        behind = asyncio.create_task(exit_behind())
        while turn.waits(known).superseded_by is None:
            await turn.wait(NOW_MS + 5_000)
        assert turn.waits(known) == Waits(backoff_ms=5_000, superseded_by="cancelAll")
        turn.settled(DeadLetter("superseded", ""))
    assert (await behind).backoff_ms == 0


async def test_an_exit_behind_an_open_that_ended_otherwise_waits_for_the_lanes_backoff(scene: Scene) -> None:
    async def exit_behind() -> Waits:
        async with scene.turn(action="cancelAll") as (turn, _):
            return turn.waits(await turn.known())

    async with scene.turn() as (turn, order), asyncio.timeout(30):
        turn.answered(order, TURNED_AWAY)
        known = await turn.known()
        behind = asyncio.create_task(exit_behind())
        while turn.waits(known).superseded_by is None:
            await turn.wait(NOW_MS + 5_000)
        turn.settled(DeadLetter("exhausted", ""))
    assert (await behind).backoff_ms == 5_000


async def test_an_exit_behind_that_the_switch_holds_is_looked_at_again_when_the_switch_is(scene: Scene) -> None:
    async def exit_behind() -> None:
        async with scene.turn(action="cancelAll"):
            pass

    async with scene.turn() as (turn, order), asyncio.timeout(30):
        turn.answered(order, TURNED_AWAY)
        known = await turn.known()
        behind = asyncio.create_task(exit_behind())
        await asyncio.sleep(0)
        scene.ledger.state = "paused"
        scene.clock.go_on.set()
        assert turn.waits(known).superseded_by is None
        await turn.wait(NOW_MS + 5_000)
        assert scene.clock.ms == NOW_MS + HOLD_MS
        scene.ledger.state = "open"
        turn.waits(known)
        await turn.wait(NOW_MS + 5_000)
        assert turn.waits(known) == Waits(backoff_ms=5_000 - HOLD_MS, superseded_by="cancelAll")
    await behind


async def test_while_a_connector_is_paused_one_exit_behind_is_looked_up_for_all(scene: Scene) -> None:
    async def exit_behind(number: int) -> None:
        async with scene.turn(action="cancelAll", log=str(number)):
            pass

    async with scene.turn() as (turn, order), asyncio.timeout(30):
        turn.answered(order, TURNED_AWAY)
        known = await turn.known()
        behind = [asyncio.create_task(exit_behind(number)) for number in range(5)]
        await asyncio.sleep(0)
        scene.clock.go_on.set()
        for state, looked_up in (("paused", ["0"]), ("open", ["0"])):
            scene.ledger.state, scene.ledger.asked = cast("State", state), []
            turn.waits(known)
            await turn.wait(NOW_MS + 5_000)
            assert [asked.intent.log for asked in scene.ledger.asked] == looked_up
        assert turn.waits(known).superseded_by == "cancelAll"
    await asyncio.gather(*behind)


async def test_an_exit_behind_whose_lane_is_anothers_by_now_ends_no_waiting_and_fails_nobodys(scene: Scene) -> None:
    async def exit_behind() -> None:
        async with scene.turn(action="cancelAll"):
            pass

    async with scene.turn() as (turn, order), asyncio.timeout(30):
        turn.answered(order, TURNED_AWAY)
        known = await turn.known()
        behind = asyncio.create_task(exit_behind())
        await asyncio.sleep(0)
        scene.ledger.is_fenced = True
        scene.clock.go_on.set()
        turn.waits(known)
        await turn.wait(NOW_MS + 5_000)
        assert scene.clock.ms == NOW_MS + 5_000
        assert turn.waits(known).superseded_by is None
    await behind
