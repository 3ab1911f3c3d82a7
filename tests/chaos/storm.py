"""One storm: orders at a steady pace, a moody webhook, and kills whose moments the seed decides."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select

from signalq.amqp.topology import Topology
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.tables import intents as ledger_rows
from signalq.consumer.orders.state import ENDINGS
from signalq.local import PrivatePostgres, PrivateRabbitMQ
from signalq.message.identity import digest_of
from signalq.names import Names
from tests.chaos.pace import Pace, moments
from tests.support.accountant import Account
from tests.support.broker import written_down
from tests.support.consumer import Consumer
from tests.support.freezing import begun_before_the_freeze
from tests.support.intents import Intent, make_intents
from tests.support.postgres import fresh_database
from tests.support.scene import Scene, scene
from tests.support.webhook import Answer, Behaviour, CutInTheMiddle, CutOff, Garbage, Hang, Order

PREFIX = "chaos"
# How long a kill with all that follows from it takes, on two cores: the pace makes publishing last for all of them.
CONSUMER_KILL_S = 3.5
BROKER_KILL_S = 14.0
INTENTS_PER_S_MAX = 150.0
# One kill of the consumer in so many finds another consumer standing by; one of the broker takes the consumer along.
STANDBY_EVERY = 3
BOTH_EVERY = 3
# Of several consumers one in so many that would be killed is frozen instead, for so long.
FREEZE_EVERY = 3
FROZEN_S = (1.0, 9.0)
DELAYS_S = (0.5, 20.0)
REST_S = 300.0
# Slow enough that orders queue up behind each kill, and come back with what may have been delivered before it.
ANSWERS_AFTER_S = (0.02, 0.3)
SETTINGS: Mapping[str, object] = {"broker.heartbeat_s": 5}

# The moods of the webhook, and how often each comes in a thousand POSTs; else it is well.
MOODS: tuple[tuple[int, Behaviour], ...] = (
    (20, Answer(429, b"slow down", {"Retry-After": "0"})),
    (5, Answer(429, b"slow down", {"Retry-After": "1"})),
    (10, Answer(503, b"later", {"Retry-After": "0"})),
    (4, Answer(500, b"oops")),
    (4, Answer(400, b"no")),
    (2, Answer(200, b"not what was expected")),
    (2, CutOff()),
    (2, CutOff(reset=True)),
    (2, CutInTheMiddle()),
    (2, Garbage()),
    (2, Hang()),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the storm is made of."""

    intents: int
    consumer_kills: int
    broker_kills: int
    connectors: int
    seed: int
    ledger: str
    consumers: int = 1


@dataclass
class Storm:
    """One run of a plan; `run` returns the account, the counters are for whoever watches."""

    plan: Plan
    broker: PrivateRabbitMQ
    play: Scene
    consumer_kills: int = 0
    broker_kills: int = 0
    freezes: int = 0
    ledger_statuses: Counter[str] = field(default_factory=Counter)
    without_a_row: list[str] = field(default_factory=list)
    _kill_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _frozen: set[Consumer] = field(default_factory=set)

    @property
    def published(self) -> int:
        """Intents whose publishing has begun."""
        return len(self.play.producer.intents)

    @property
    def posted(self) -> int:
        """POSTs that the webhook has seen."""
        return len(self.play.hook.orders)

    async def run(self) -> Account:
        """Publish everything, kill what is to be killed, wait until all is at rest, draw the balance."""
        self.play.answers_after_s = ANSWERS_AFTER_S
        self.play.accountant.answer(self._mood)
        for _ in range(self.plan.consumers):
            await self.play.consumer(SETTINGS)
        await written_down(self.broker, *(queue.name for queue in Topology(self.play.names).queues()))
        intents = self._intents()
        self.play.producer.pause = self._pace(len(intents))
        async with asyncio.TaskGroup() as group:
            self.play.publish(intents)
            kills = self._kill_one_of_many() if self.plan.consumers > 1 else self._kill_consumers()
            group.create_task(kills, name="kills of the consumer")
            group.create_task(self._kill_brokers(), name="kills of the broker")
        account = await self.play.account(rest_s=REST_S)
        if self.freezes:
            late = begun_before_the_freeze(self.play)
            account = self.play.accountant.account(self.play.producer.intents, may_overtake=late)
        endings = await _endings(self.play.ledger_url)
        self.ledger_statuses = Counter(status for status, _ in endings)
        self.without_a_row = _without_a_row(self.play.producer.intents, endings)
        return account

    @property
    def handovers(self) -> int:
        """Lanes that a consumer has passed on to another."""
        return sum(len(consumer.events("broker.lane_handed_over")) for consumer in self.play.consumers)

    @property
    def unfinished(self) -> int:
        """Rows of the ledger without an ending, after everything is at rest."""
        return sum(count for status, count in self.ledger_statuses.items() if status not in ENDINGS)

    def _intents(self) -> list[Intent]:
        rng = random.Random(f"intents {self.plan.seed}")
        return make_intents(rng, self.plan.intents, connectors=self.plan.connectors, delays_s=DELAYS_S)

    def _mood(self, order: Order) -> Behaviour:
        """The webhook's answer to the n-th POST, whichever that is."""
        at = self.play.rng.randrange(1000)
        for share, behaviour in MOODS:
            if at < share:
                return behaviour
            at -= share
        return self.play.well(order)

    def _pace(self, count: int) -> Pace:
        kills_s = self.plan.consumer_kills * CONSUMER_KILL_S + self.plan.broker_kills * BROKER_KILL_S
        return Pace(min(INTENTS_PER_S_MAX, count / max(kills_s, 1.0)))

    async def _kill_consumers(self) -> None:
        rng = random.Random(f"consumers {self.plan.seed}")
        for at, moment in enumerate(moments(rng, self.plan.consumer_kills, self.plan.intents)):
            await self._reached(moment)
            standby = self.play.begin_consumer(SETTINGS) if at % STANDBY_EVERY == 1 else None
            await asyncio.sleep(rng.uniform(0, 0.5))
            async with self._kill_lock:
                await self._kill_consumer(standby)

    async def _kill_one_of_many(self) -> None:
        """Any of them is killed, and another begun; or it is frozen for a while, and woken."""
        rng = random.Random(f"consumers {self.plan.seed}")
        async with asyncio.TaskGroup() as thawing:
            for at, moment in enumerate(moments(rng, self.plan.consumer_kills, self.plan.intents)):
                await self._reached(moment)
                frozen_s = rng.uniform(*FROZEN_S) if at % FREEZE_EVERY == 1 else 0.0
                chosen, self.consumer_kills = rng.random(), self.consumer_kills + 1
                async with self._kill_lock:
                    awake = [consumer for consumer in self.play.living if consumer not in self._frozen]
                    if not awake:
                        continue
                    victim = awake[int(chosen * len(awake))]
                    if frozen_s:
                        thawing.create_task(self._freeze(victim, frozen_s), name="a frozen consumer")
                    else:
                        await asyncio.to_thread(victim.kill)
                        self.play.begin_consumer(SETTINGS)

    async def _freeze(self, consumer: Consumer, frozen_s: float) -> None:
        self.freezes += 1
        self._frozen.add(consumer)
        consumer.freeze()
        await asyncio.sleep(frozen_s)
        self._frozen.discard(consumer)
        if consumer.exit_code is None:
            consumer.thaw()

    async def _kill_brokers(self) -> None:
        rng = random.Random(f"brokers {self.plan.seed}")
        for at, moment in enumerate(moments(rng, self.plan.broker_kills, self.plan.intents)):
            await self._reached(moment)
            await asyncio.to_thread(self.broker.kill)
            self.broker_kills += 1
            await asyncio.sleep(rng.uniform(0, 1.5))
            if at % BOTH_EVERY == 1:
                async with self._kill_lock:
                    await self._kill_consumer(None)
            await asyncio.to_thread(self.broker.start)

    async def _reached(self, published: float) -> None:
        while self.published < published:  # noqa: ASYNC110 - the pace of a storm
            await asyncio.sleep(0.01)

    async def _kill_consumer(self, standby: Consumer | None) -> None:
        for consumer in self.play.living:
            if consumer is not standby:
                await asyncio.to_thread(consumer.kill)
        self.consumer_kills += 1
        for _ in range(self.plan.consumers if standby is None else 0):
            self.play.begin_consumer(SETTINGS)


async def _endings(ledger_url: str) -> list[tuple[str, bytes]]:
    """Status and digest of every row of the ledger."""
    database = database_at(ledger_url, create=False)
    try:
        return await database.transact(_statuses)
    finally:
        await database.close()


def _statuses(connection: Connection) -> list[tuple[str, bytes]]:
    rows = connection.execute(select(ledger_rows.c.status, ledger_rows.c.digest))
    return [(status, bytes(digest)) for status, digest in rows]


def _without_a_row(intents: list[Intent], endings: list[tuple[str, bytes]]) -> list[str]:
    """Confirmed intents that the ledger has no ending for: the other way to see that one is lost.

    Among equal intents a POST that was repeated where that is safe could stand for one that never was.
    """
    ended = Counter(digest for status, digest in endings if status in ENDINGS)
    missing = []
    for intent in intents:
        digest = digest_of(intent.body)
        ended[digest] -= intent.confirmed
        if intent.confirmed and ended[digest] < 0:
            missing.append(intent.key)
    return missing


@asynccontextmanager
async def storm(plan: Plan, folder: Path) -> AsyncIterator[Storm]:
    """Everything a storm needs, started, and ended again whatever happens; the consumers' logs stay in `folder`."""
    broker = PrivateRabbitMQ()
    await asyncio.to_thread(broker.start)
    try:
        async with (
            _ledger(plan, folder) as ledger_url,
            scene(broker.url, Names(PREFIX), ledger_url=ledger_url, seed=f"webhook {plan.seed}") as play,
        ):
            try:
                yield Storm(plan, broker, play)
            finally:
                for at, consumer in enumerate(play.consumers):
                    (folder / f"consumer-{at:02}.log").write_text(consumer.log, "utf-8")
    finally:
        shutil.copy(broker.log_path, folder / "broker.log")
        await asyncio.to_thread(broker.stop)


@asynccontextmanager
async def _ledger(plan: Plan, folder: Path) -> AsyncIterator[str]:
    if plan.ledger == "sqlite":
        yield f"sqlite+aiosqlite:///{folder / 'ledger.db'}"
        return
    postgres = PrivatePostgres()
    await asyncio.to_thread(postgres.start)
    try:
        async with fresh_database(postgres) as url:
            yield url
    finally:
        await asyncio.to_thread(postgres.stop)
