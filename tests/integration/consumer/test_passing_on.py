"""The turn is passed on with the record of a delivered order: what shares its transaction, and what must wait for it.

The pipeline, the rules, the turns and the ledger are the real ones; broker and webhook are small fakes.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from pamqp.commands import Basic
from sqlalchemy import Connection

from signalq import names
from signalq.consumer.__main__ import handling_of
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.ledger.heartbeat import Heartbeat
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.pruning import Pruning
from signalq.consumer.ledger.transaction import Save, Work
from signalq.consumer.ledger.writer import Writer
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.outcomes import Event
from signalq.consumer.orders.state import Attempt
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.webhook.client import MayBegin
from signalq.message.outcome import Outcome
from signalq.names import Names
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings
from tests.support.orders import body
from tests.support.stores import Store
from tests.support.waiting import wait_until
from tests.support.webhook import looked

ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400)
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", status=429)
UNKNOWN = Attempt("unknown", sent=True, why="HTTP 500", status=500)
NAMES = Names()
PLACES = 2
MANY = {"ordering": "none", "lane": "own", "concurrency": PLACES}

Step = Callable[[], Awaitable[None]]


class Scene:
    """A consumer between a broker and a webhook that keep what they are given."""

    def __init__(self, store: Store, ledger: Ledger, **settings: Any) -> None:
        self.store = store
        self.ledger = ledger
        # The saves of each transaction: the status, and the `log` of the order.
        self.batches: list[list[tuple[str, str]]] = []
        self.posted: list[str] = []
        self.on_the_wire: list[str] = []
        self.most_on_the_wire = 0
        self.told: list[tuple[str, str]] = []
        self.acked: list[str] = []
        self.answers: dict[str, deque[Attempt]] = defaultdict(deque)
        # While an order is on the wire, and as soon as its outcome is recorded.
        self.while_posting: dict[str, Step] = {}
        self.once_recorded: dict[str, Callable[[], None]] = {}
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.is_writable = True
        self._logs: dict[str, str] = {}
        self._tags: dict[int, str] = {}
        self.handling = handling_of(
            CurrentSettings(Settings(connectors={"many": MANY}, **settings)),
            ledger=ledger,
            webhook=cast("Any", self),
            publisher=cast("Any", self),
            metrics=Metrics({}),
            jitter=lambda: 0.0,
            skew=Skew(),
        )
        self._transact, ledger._database.transact = ledger._database.transact, self._gated  # type: ignore[method-assign]
        self._record, ledger.record = ledger.record, self._recorded  # type: ignore[method-assign]

    async def session(self, queue: str = NAMES.orders) -> Session:
        """A session that has become the active one of its lane."""
        session = Session(cast("Any", self), ConsumeOptions(queue, 1, 1), 0.0)
        session.epoch = await self.ledger.open_lane(queue)
        return session

    def deliver(
        self, session: Session, *logs: str, redelivered: bool = False, named: bool = True, **fields: Any
    ) -> None:
        """Hand orders over, in this order."""
        for log in logs:
            properties = Basic.Properties(
                message_id=f"id of {log}" if named else None,
                app_id="s",
                headers={names.CREATED_MS: time.time_ns() // 1_000_000},
            )
            message = Message(body(log=log, **fields), properties, session.options.queue, redelivered)
            self._tags[len(self._tags)] = log
            self.handling.start(Delivery(message, len(self._tags) - 1, session))

    async def answered(self) -> None:
        """Return when an order was POSTed, and whatever follows has had time to be asked for."""
        await wait_until(lambda: self.posted and not self.on_the_wire, what="the answer")
        for _ in range(20):
            await asyncio.sleep(0)

    async def finished(self) -> None:
        """Return when no message is being handled."""
        async with asyncio.timeout(60):
            await self.handling.drained()

    async def statuses(self) -> dict[str, str]:
        """How a stranger finds the orders."""
        rows = await self.store.rows("SELECT intent_id, status FROM intents")
        return {self._logs.get(intent_id, intent_id): status for intent_id, status in rows}

    # The ledger, seen from here.

    async def _gated(self, work: Callable[[Connection], Any]) -> Any:
        await self.may_commit.wait()
        if not self.is_writable:
            raise OSError("the disk is full")
        return await self._transact(work)

    def _recorded(self, order: Order, *arguments: Any, **named: Any) -> asyncio.Future[LedgerEntry]:
        answer = self._record(order, *arguments, **named)
        self.once_recorded.pop(order.intent.log or "", lambda: None)()
        return answer

    def note_batch(self, works: list[Work]) -> None:
        """A transaction has done these."""
        saves = [work for work in works if isinstance(work, Save)]
        self.batches += [[(save.state.status, save.order.intent.log or "") for save in saves]] if saves else []

    # The webhook.

    async def post(self, order: Order, may_begin: MayBegin) -> Attempt:
        assert await looked(may_begin)
        log = order.intent.log or ""
        self._logs[order.intent_id] = log
        self.posted.append(log)
        self.on_the_wire.append(log)
        self.most_on_the_wire = max(self.most_on_the_wire, len(self.on_the_wire))
        found = await self.statuses()
        if order.connector != "many":
            ahead = {found.get(other) for other in self.posted[:-1] if other != log}
            assert ahead <= {"delivered", "dead", "retrying"}, "the outcome ahead is on disk"
        assert found[log] == "sending", "so is its own claim"
        assert list(found.values()).count("sending") <= PLACES
        if log in self.while_posting:
            await self.while_posting.pop(log)()
        self.on_the_wire.remove(log)
        return self.answers[log].popleft() if self.answers[log] else ACCEPTED

    # The broker.

    async def dead_letter(self, *_letter: object) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def publish_outcome(self, event: Event) -> None:
        outcome = Outcome.from_event(event.body)
        self.told.append((self._logs.get(outcome.intent_id, outcome.intent_id), outcome.status))
        await asyncio.sleep(0)

    async def basic_ack(self, tag: int, *, wait: bool) -> None:
        assert not wait
        self.acked.append(self._tags[tag])


MakeScene = Callable[..., Awaitable[Scene]]


async def _nothing(_self: object) -> None:
    """No sign of life, and nothing is forgotten."""


@pytest_asyncio.fixture
async def make_scene(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeScene]:
    """Makes a scene; the ledger does nothing by itself."""
    monkeypatch.setattr(Heartbeat, "run", _nothing)
    monkeypatch.setattr(Pruning, "run", _nothing)
    made = SimpleNamespace(scene=None)
    do = Writer.do

    def noted(writer: Writer, connection: Connection, works: list[Work]) -> list[Any]:
        answers = do(writer, connection, works)
        if made.scene is not None and writer is made.scene.ledger._writer:
            made.scene.note_batch(works)
        return answers

    async def make(**settings: Any) -> Scene:
        scene = made.scene = Scene(store, await store.ledger(), **settings)
        return scene

    monkeypatch.setattr(Writer, "do", noted)
    yield make
    if made.scene is not None:
        await made.scene.handling.close()


@pytest_asyncio.fixture
async def scene(make_scene: MakeScene) -> Scene:
    return await make_scene()


ABC = ("a", "b", "c")
DELIVERED = [("a", "delivered"), ("b", "delivered"), ("c", "delivered")]


async def test_the_record_of_a_delivered_order_and_the_claim_of_the_next_are_one_transaction(scene: Scene) -> None:
    scene.deliver(await scene.session(), *ABC)
    await scene.finished()
    assert scene.batches == [
        [("sending", "a")],
        [("delivered", "a"), ("sending", "b")],
        [("delivered", "b"), ("sending", "c")],
        [("delivered", "c")],
    ]
    assert (scene.posted, scene.told, scene.acked) == (list(ABC), DELIVERED, list(ABC))


async def test_while_the_record_cannot_be_written_nothing_behind_it_is_claimed_posted_or_told(scene: Scene) -> None:
    async def disk_fills() -> None:
        scene.is_writable = False

    scene.while_posting["a"] = disk_fills
    scene.deliver(await scene.session(), *ABC)
    await wait_until(lambda: scene.ledger.why_not_writable, what="why_not_writable")
    assert await scene.statuses() == {"a": "sending"}
    assert (scene.posted, scene.told, scene.acked) == (["a"], [], [])
    scene.is_writable = True
    await scene.finished()
    assert (scene.posted, scene.told, scene.acked) == (list(ABC), DELIVERED, list(ABC))


@pytest.mark.parametrize(
    ("answer", "saves"),
    [
        (TURNED_AWAY, ["retrying", "sending", "delivered"]),
        (REFUSED, ["dying", "dead"]),
        (UNKNOWN, ["dying", "dead"]),
    ],
    ids=["to be tried again", "refused", "in doubt"],
)
async def test_an_order_that_is_not_delivered_keeps_its_turn_until_it_is_settled(
    scene: Scene, answer: Attempt, saves: list[str]
) -> None:
    scene.answers["a"].append(answer)
    scene.deliver(await scene.session(), "a", "b")
    await scene.finished()
    told = [save for batch in scene.batches for save in batch]
    assert told == [*[(status, "a") for status in ["sending", *saves]], ("sending", "b"), ("delivered", "b")]
    assert scene.told == [("a", saves[-1]), ("b", "delivered")]


async def test_an_order_whose_record_is_refused_is_not_looked_at_again_without_its_turn(scene: Scene) -> None:
    """Another consumer has let it be tried again: that is for the delivery that comes by the next session."""
    tried_again = "UPDATE intents SET version = version + 1, status = 'retrying', in_doubt = FALSE, owner = NULL"
    scene.while_posting["a"] = lambda: scene.store.run(tried_again)
    session = await scene.session()
    scene.deliver(session, "a", "b")
    await scene.finished()
    assert (scene.posted, scene.told, scene.acked) == (["a", "b"], [("b", "delivered")], [])
    assert session.ended.is_set()
    scene.deliver(await scene.session(), "a", "b", redelivered=True)
    await scene.finished()
    assert scene.posted == ["a", "b", "a"]
    assert scene.acked == ["a", "b"]


async def test_an_order_whose_record_is_refused_since_it_has_ended_is_told_and_acknowledged(scene: Scene) -> None:
    """The commit was not heard of, say, and is done once more."""
    has_ended = "UPDATE intents SET version = version + 1, status = 'delivered', owner = NULL"
    scene.while_posting["a"] = lambda: scene.store.run(has_ended)
    session = await scene.session()
    scene.deliver(session, "a", "b")
    await scene.finished()
    assert not session.ended.is_set()
    assert {("a", "delivered"), ("b", "delivered")} <= set(scene.told)
    assert sorted(scene.acked) == ["a", "b"]


async def test_a_claim_behind_the_record_is_refused_where_another_has_the_lane(scene: Scene) -> None:
    other = await scene.store.ledger()

    async def takes_over() -> None:
        await other.open_lane(NAMES.orders)

    scene.while_posting["a"] = takes_over
    session = await scene.session()
    scene.deliver(session, *ABC)
    await scene.finished()
    assert session.ended.is_set()
    assert (scene.posted, scene.told) == (["a"], [("a", "delivered")])
    assert await scene.statuses() == {"a": "delivered"}


async def test_orders_that_are_withdrawn_when_the_turn_is_passed_on_are_let_go(scene: Scene) -> None:
    scene.once_recorded["a"] = scene.handling.slots.withdraw
    scene.deliver(await scene.session(), *ABC)
    await scene.finished()
    assert scene.batches == [[("sending", "a")], [("delivered", "a")]]
    assert (scene.posted, scene.told, scene.acked) == (["a"], [("a", "delivered")], ["a"])


async def test_a_claim_that_is_in_line_behind_the_record_is_finished_and_what_waits_behind_it_is_let_go(
    scene: Scene,
) -> None:
    """A drain, or a session that is lost, while the record and the claim wait for their commit."""

    async def commits_wait() -> None:
        scene.may_commit.clear()

    scene.while_posting["a"] = commits_wait
    scene.deliver(await scene.session(), *ABC)
    await scene.answered()
    scene.handling.slots.withdraw()
    await wait_until(lambda: len(scene.handling.slots) == 2, what="the third to be let go")
    scene.may_commit.set()
    await scene.finished()
    assert (scene.posted, scene.told, scene.acked) == (["a", "b"], DELIVERED[:2], ["a", "b"])
    assert await scene.statuses() == {"a": "delivered", "b": "delivered"}


async def test_the_record_of_an_order_that_is_cut_off_is_on_disk_and_nobody_has_claimed_behind_it(scene: Scene) -> None:
    def cut_off() -> None:
        for task in list(scene.handling.slots._slots):
            task.cancel()

    scene.once_recorded["a"] = cut_off
    scene.deliver(await scene.session(), *ABC)
    await scene.finished()
    await scene.ledger.known_lanes()  # whatever was in line before is done
    assert await scene.statuses() == {"a": "delivered"}
    assert (scene.posted, scene.told, scene.acked) == (["a"], [], [])


async def test_with_one_place_for_posts_connectors_take_turns_in_it(
    make_scene: MakeScene,
) -> None:
    scene = await make_scene(delivery={"concurrency": 1})
    session = await scene.session()
    for number in range(4):
        scene.deliver(session, f"a{number}")
        scene.deliver(session, f"b{number}", connectorName="other")
    await scene.finished()
    assert scene.most_on_the_wire == 1
    for connector in "ab":
        assert [log for log in scene.posted if log[0] == connector] == [f"{connector}{number}" for number in range(4)]


async def test_a_lane_without_order_has_so_many_on_the_wire_and_no_more(scene: Scene) -> None:
    logs = [str(number) for number in range(10)]
    scene.deliver(await scene.session(NAMES.lane("many")), *logs, connectorName="many")
    await scene.finished()
    assert scene.most_on_the_wire == PLACES
    assert sorted(scene.posted) == sorted(scene.acked) == logs


@pytest.mark.parametrize("named", [True, False], ids=["with an id", "without an id"])
@pytest.mark.parametrize("connector", ["main", "many"])
async def test_a_redelivery_that_has_the_turn_before_the_record_is_on_disk_finds_it_all_the_same(
    scene: Scene, connector: str, named: bool
) -> None:
    queue = NAMES.lane("many") if connector == "many" else NAMES.orders
    sessions = [await scene.session(queue)]

    async def comes_again() -> None:
        sessions[0].lose("it is cut")
        sessions.append(await scene.session(queue))
        scene.deliver(sessions[1], "a", redelivered=True, named=named, connectorName=connector)
        scene.may_commit.clear()

    scene.while_posting["a"] = comes_again
    scene.deliver(sessions[0], "a", named=named, connectorName=connector)
    await scene.answered()
    scene.may_commit.set()
    await scene.finished()
    assert (scene.posted, scene.acked) == (["a"], ["a"])
    assert scene.told[0] == ("a", "delivered")


async def test_an_ending_that_is_told_again_comes_behind_that_of_the_order_ahead(scene: Scene) -> None:
    session = await scene.session()
    scene.deliver(session, "x")
    await scene.finished()
    scene.deliver(session, "a")
    scene.deliver(session, "x", redelivered=True)
    scene.deliver(session, "b")
    await scene.finished()
    assert [log for log, _ in scene.told] == ["x", "a", "x", "b"]
