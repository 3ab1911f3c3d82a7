"""The world of the model of the law: the real consumer, but broker, webhook, disk and time are ours.

Every effect passes a gate. A gate is numbered, tells the story, and is where a fault of the plan strikes: before and
after each commit of the ledger, each POST (begun, arrived, answered), each publish (begun, arrived, confirmed) and
each ack (begun, sent, processed).
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pamqp.commands import Basic
from sqlalchemy import Select, func, select

import signalq.consumer.broker.connection
import signalq.consumer.broker.lane_consumer
import signalq.consumer.broker.publisher
import signalq.consumer.broker.session
import signalq.consumer.handling
import signalq.consumer.lanes.due_times
import signalq.consumer.ledger.heartbeat
import signalq.consumer.ledger.ledger
import signalq.consumer.ledger.pruning
import signalq.consumer.ledger.queries.look
import signalq.consumer.ledger.writer
import signalq.consumer.pipeline
import signalq.consumer.service
import signalq.consumer.telemetry.intents
from signalq.consumer.ledger.migrate import migrate
from signalq.consumer.ledger.queries.events import ATTEMPT
from signalq.consumer.ledger.queries.letters import Pile
from signalq.consumer.ledger.tables import events, intents, letters
from signalq.consumer.orders.order import Order
from signalq.message.outcome import Outcome
from tests.law.model_broker import Channel, ModelBroker
from tests.law.model_edges import Disk, GatedDatabase, SlowDisk, ToldWriter, the_disk
from tests.law.model_process import NAMES, Process, Unforeseen, running
from tests.law.model_scenario import ANYWHERE, Fault, Publish, Published, Scenario
from tests.law.model_time import EPOCH_MS, ModelLoop

LOOK_S = 0.25
SETTLED_WITHIN_S = 900.0
STEPS_MAX = 4_000


@dataclass(eq=False)
class Post:
    """One POST: whether it was sent and taken, and what the consumer made of it.

    `begun_line` and `recorded_line` are lines of the story: when it began, and when its certainty was on disk.
    """

    order: Order
    process: Process
    begun_ms: int
    begun_line: int
    sent: bool = False
    taken: bool = False
    ended_ms: int | None = None
    certainty: str | None = None
    recorded_line: int | None = None

    @property
    def uid(self) -> str:
        return self.order.intent.log or ""

    @property
    def identity(self) -> tuple[str, str]:
        return self.order.strategy, self.order.intent_id


@dataclass(frozen=True)
class Told:
    """One outcome event; `was_recorded`: its ending was on disk before it went out."""

    outcome: Outcome
    routing_key: str
    headers: Mapping[str, Any]
    was_recorded: bool


class World:
    """One scenario, played to its end."""

    def __init__(self, scenario: Scenario, loop: ModelLoop, ledger_url: str = "") -> None:
        self.scenario = scenario
        self.loop = loop
        self.ledger_url = ledger_url
        if not ledger_url:
            the_disk().wipe()
        self.broker = ModelBroker(NAMES, frozenset(scenario.settings.own_lanes()))
        self.story: list[str] = []
        self.gates: list[tuple[str, ...]] = []
        self.violations: list[str] = []
        self.posts: list[Post] = []
        self.settled: list[dict[str, Any]] = []
        self.told: list[Told] = []
        self.recorded: set[tuple[str, str, str]] = set()
        self.processes: list[Process] = []
        self.struck: list[str] = []
        self.published: list[Published] = []
        self._writable_from_s = 0.0
        self._bug, self._bugs_left = "", 0
        self.began_ms = self.now_ms()
        self._plan = sorted(scenario.faults, key=lambda fault: fault.step)
        self._answers = {uid: list(answers) for uid, answers in scenario.answers.items()}
        self._tasks: set[asyncio.Task[Any]] = set()

    def now_ms(self) -> int:
        """Ms since the epoch, as every process and the ledger see it."""
        return EPOCH_MS + self.loop.now_ns // 1_000_000

    @property
    def writable_in_s(self) -> float:
        """Until the ledger can be written again; below 0 where it can."""
        return self._writable_from_s - self.loop.time()

    def check_writable(self) -> None:
        """Raises OSError while nothing can be written."""
        if self.loop.time() < self._writable_from_s:
            raise OSError("the disk is full")

    # The story, and its turns.

    def tell(self, process: Process | None, what: str) -> None:
        """A line of the story."""
        at_s = (self.now_ms() - self.began_ms) / 1000
        self.story.append(f"{at_s:8.3f} {process.name if process else '  '} {what}")

    def violated(self, what: str) -> None:
        """The law is broken here."""
        self.violations.append(what)
        self.tell(None, f"VIOLATED: {what}")

    def step(self, process: Process, label: str, local: tuple[str, ...]) -> str | None:
        """A gate: tell it, and let the fault strike that is due here."""
        self.gates.append(local)
        number = len(self.gates)
        self.tell(process, f"#{number} {label}")
        if number > STEPS_MAX:
            raise AssertionError(f"no end after {number} steps")
        if "bug" in local and label.startswith(self._bug) and self._bugs_left:
            self._bugs_left -= 1
            raise Unforeseen(label)
        if not self._plan or self._plan[0].step > number or self._plan[0].kind not in (*ANYWHERE, *local):
            return None
        fault = self._plan.pop(0)
        self.struck.append(fault.kind)
        self.tell(process, f"*** {fault.kind}")
        if fault.kind == "bug":
            self._bug, self._bugs_left = label.partition(" ")[0], fault.times - 1
            raise Unforeseen(label)
        if fault.kind == "unwritable":
            self._writable_from_s = self.loop.time() + fault.after_s
        if fault.kind in local:
            return fault.kind
        self._strike(process, fault)
        return None

    def _strike(self, process: Process, fault: Fault) -> None:
        if fault.kind == "lose":
            for channel in process.lose():
                channel.tell_closed()
        elif fault.kind == "crash":
            process.crash()
            self._later(self._start_after(fault.after_s))
        elif fault.kind == "drain":
            self._later(self._replace_drained(process, fault.after_s))
        elif fault.kind == "takeover":
            process.stands_still()
            channels = process.lose()
            self._later(self._start_after(0))
            self._later(self._thaw(process, channels, fault))

    async def _start_after(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.start()

    async def _thaw(self, process: Process, channels: list[Channel], fault: Fault) -> None:
        await asyncio.sleep(fault.after_s)
        self.tell(process, "*** goes on")
        await process.go_on(channels, deaf=fault.deaf)

    async def _replace_drained(self, process: Process, after_s: float) -> None:
        await process.drain()
        await asyncio.sleep(after_s)
        self.start()

    def _later(self, work: Any) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def start(self) -> None:
        """A consumer starts."""
        self.processes.append(Process(self, len(self.processes) + 1))

    # What the webhook sees.

    def next_answer(self, uid: str) -> str:
        """The next answer to this body."""
        answers = self._answers.get(uid)
        return answers.pop(0) if answers else "ok"

    def begins(self, order: Order, process: Process) -> Post:
        """A POST begins."""
        post = Post(order, process, self.now_ms(), len(self.story))
        self.posts.append(post)
        return post

    def note_recorded(self, process: Process, order: Order) -> None:
        """The outcome of the process's last POST of this order is on disk."""
        for post in self.posts:
            if post.process is process and post.identity == (order.strategy, order.intent_id) and post.ended_ms:
                post.recorded_line = post.recorded_line or len(self.story)

    def note_told(self, routing_key: str, body: bytes, properties: Basic.Properties) -> None:
        """An outcome event has arrived at its exchange."""
        outcome = Outcome.from_event(body)
        was_recorded = (outcome.strategy, outcome.intent_id, outcome.status) in self.recorded
        self.told.append(Told(outcome, routing_key, properties.headers or {}, was_recorded))

    # From beginning to end.

    async def play(self) -> None:
        """Publish, wait until all has settled, and end every process."""
        self.start()
        producing = self.loop.create_task(self._produce())
        try:
            async with asyncio.timeout(SETTLED_WITHIN_S):
                await producing
                while not self._has_settled():  # noqa: ASYNC110 - many things have to come together
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            self.violated("not everything came to an end")
        for task in list(self._tasks):
            task.cancel()
        for process in self.processes:
            await process.ended()
        await asyncio.sleep(1)
        self.rows = await self._read(_ROWS)
        self.letters = await self._read(_LETTERS)

    async def _produce(self) -> None:
        for publish in sorted(self.scenario.publishes, key=lambda publish: publish.at_s):
            await asyncio.sleep(publish.at_s - (self.now_ms() - self.began_ms) / 1000)
            self.tell(None, f"published {publish}")
            self.published.append(Published(publish, self.now_ms()))
            exchange, routing_key = ("", NAMES.orders) if publish.astray else (NAMES.orders, publish.connector)
            self.broker.publish(exchange, routing_key, publish.body, self._properties(publish))

    def _properties(self, publish: Publish) -> Basic.Properties:
        now_ms = self.now_ms()
        headers: dict[str, Any] = {"signalq-created-ms": now_ms} if publish.dated == "ms" else {}
        if publish.forged:
            headers |= {"signalq-intent-id": "forged", "signalq-park-rank": 1}
        stamped = datetime.fromtimestamp(now_ms // 1000, tz=UTC) if publish.dated == "timestamp" else None
        return Basic.Properties(message_id=publish.message_id, app_id="s", headers=headers, timestamp=stamped)

    def _has_settled(self) -> bool:
        return (
            self.broker.is_idle
            and not self._tasks
            and not any(process.holds_messages for process in self.processes if not process.dead)
        )

    def database(self) -> Disk | SlowDisk:
        """The disk, for a process."""
        return SlowDisk(self.ledger_url, self.loop) if self.ledger_url else the_disk()

    async def _read(self, query: Select[Any]) -> list[Any]:
        database = self.database()
        try:
            return await database.transact(lambda connection: list(connection.execute(query)))
        finally:
            await database.close()


_ATTEMPTS_TOLD = (
    select(func.count())
    .where(events.c.intent == intents.c.number, events.c.generation == intents.c.generation, events.c.what == ATTEMPT)
    .scalar_subquery()
)
_ROWS = select(intents, _ATTEMPTS_TOLD.label("attempts_told")).order_by(intents.c.number)
_LETTERS = select(letters).order_by(letters.c.number)


class _Log:
    """What the consumer logs joins the story; what it did not foresee is a violation."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _note(self, event: str, **facts: Any) -> None:
        if event == "intent.settled":
            self._world.settled.append(facts)
        told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
        self._world.tell(running.get(), f"  {event} {told}")

    debug = info = warning = error = _note

    def is_enabled_for(self, _level: int) -> bool:
        return True

    def exception(self, event: str, **_facts: Any) -> None:
        if isinstance(sys.exception(), Unforeseen):
            self._note(event)
        else:
            self._world.violated(f"{event}: {traceback.format_exc()}")


def play(scenario: Scenario, loop: ModelLoop, ledger_url: str = "") -> World:
    """Play the scenario to its end on this loop; the caller judges."""
    world = World(scenario, loop, ledger_url)
    with _in_the_model(world):
        loop.run_until_complete(world.play())
    return world


@contextmanager
def _in_the_model(world: World) -> Iterator[None]:
    async def open_channel(process: Process, *, prefetch: int) -> Channel:
        return Channel(world.broker, process, prefetch)

    async def migrate_the_model(database: GatedDatabase) -> str:
        if not world.ledger_url:
            return "the model's"
        # One that can't open its ledger ends, and is started again until it can.
        await asyncio.sleep(max(0.0, world.writable_in_s))
        return await migrate(database)

    async def prune_nothing(_pruning: object) -> None:
        """Nothing is ever old enough."""

    log = _Log(world)
    world.loop.set_exception_handler(lambda _loop, context: world.violated(f"in the loop: {context}"))
    with (
        patch.object(signalq.consumer.broker.lane_consumer, "open_channel", open_channel),
        patch.object(signalq.consumer.lanes.due_times, "time", SimpleNamespace(monotonic=world.loop.time)),
        patch.object(signalq.consumer.ledger.queries.look, "machine_ms", world.now_ms),
        patch.object(signalq.consumer.ledger.heartbeat, "machine_ms", world.now_ms),
        # Each sign of life is a commit, and so a step at which something may break: here as seldom as a lease allows.
        patch.object(signalq.consumer.ledger.heartbeat, "ALIVE_PERIOD_S", 1.0),
        # How many are scheduled, and how many letters lie there, is a figure for people.
        patch.object(signalq.consumer.ledger.heartbeat, "_counted", lambda _now: (0, Pile())),
        patch.object(signalq.consumer.ledger.ledger, "Writer", ToldWriter),
        patch.object(signalq.consumer.ledger.ledger, "migrate", migrate_the_model),
        patch.object(signalq.consumer.ledger.pruning.Pruning, "run", prune_nothing),
        patch.object(signalq.consumer.broker.connection, "log", log),
        patch.object(signalq.consumer.broker.lane_consumer, "log", log),
        patch.object(signalq.consumer.broker.publisher, "log", log),
        patch.object(signalq.consumer.broker.session, "log", log),
        patch.object(signalq.consumer.telemetry.intents, "log", log),
        patch.object(signalq.consumer.pipeline, "log", log),
        patch.object(signalq.consumer.handling, "log", log),
        patch.object(signalq.consumer.service, "log", log),
        patch.object(signalq.consumer.ledger.writer, "log", log),
    ):
        yield
