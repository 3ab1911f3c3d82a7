"""One storm over a cluster: orders at a steady pace, and strikes whose moments the seed decides."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, select
from yarl import URL

from signalq.amqp.topology import OwnLane, Topology
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.tables import intents as ledger_rows
from signalq.consumer.orders.state import ENDINGS
from signalq.local import BrokerFailed, PrivateCluster, PrivatePostgres
from signalq.local.install import Installation
from signalq.names import Names
from tests.chaos.cluster import strikes
from tests.chaos.cluster.producers import Strategies
from tests.chaos.cluster.strikes import Kind, Strike
from tests.chaos.pace import Pace, moments
from tests.support.accountant import Account
from tests.support.balancer import Balancer
from tests.support.broker import written_down
from tests.support.consumer import Consumer
from tests.support.intents import Intent, make_intents
from tests.support.postgres import fresh_database
from tests.support.scene import SETTINGS, Scene, scene
from tests.support.waiting import elapsed
from tests.support.webhook import Answer, Behaviour, CutOff, Order

PREFIX = "chaos"
CONSUMERS = 3
# Every other one has a lane of its own.
CONNECTORS = 10
# Between the end of a strike and the next one, where each is to be seen by itself.
APART_S = 6.0
# How long a strike with all that follows from it takes, on two cores: the pace makes publishing last for all of them.
NODE_S, OTHER_S = 30.0, 10.0
INTENTS_PER_S_MAX = 150.0
DELAYS_S = (0.5, 20.0)
REST_S = 600.0
# What docs/operate/cluster.md tells operators to set, by version: lines for rabbitmq.conf.
CONFIGURATION: Mapping[str, Sequence[str]] = {"4.3": ("consumer_disconnected_timeout = 2000",)}
BELIEVED_LOST_S = 30.0
# Slow enough that there is always something on the wire.
ANSWERS_AFTER_S = (0.01, 0.1)
HEARTBEAT_S = 5
# Beyond the bound, so that a drain that breaks it is measured, too.
DRAIN_SEEN_S = 60.0
DRAIN_TIMEOUT_S = float(str(SETTINGS["delivery.drain_timeout_s"]))

# The moods of the webhook, and how often each comes in a thousand POSTs; else it is well. None that lasts: what a
# strike costs in time is to be seen.
MOODS: tuple[tuple[int, Behaviour], ...] = (
    (10, Answer(429, b"slow down", {"Retry-After": "0"})),
    (5, Answer(503, b"later", {"Retry-After": "0"})),
    (3, Answer(500, b"oops")),
    (3, Answer(400, b"no")),
    (2, CutOff()),
    (2, CutOff(reset=True)),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the storm is made of: so many intents, and so many strikes of each kind."""

    intents: int
    strikes: int
    seed: int
    installation: Installation
    version: str | None = None
    apart: bool = False

    @property
    def per_s(self) -> float:
        """Intents published a second: publishing lasts for all strikes."""
        others_s = OTHER_S * (len(strikes.KINDS) - 1)
        seconds = self.strikes * max(NODE_S, others_s)
        if self.apart:
            seconds = self.strikes * (NODE_S + others_s + APART_S * len(strikes.KINDS))
        return min(INTENTS_PER_S_MAX, self.intents / max(seconds, 1.0))


@dataclass
class Storm:
    """One run of a plan; `run` returns the account, the rest is for whoever watches, and for the verdict."""

    plan: Plan
    cluster: PrivateCluster
    play: Scene
    struck: list[Strike] = field(default_factory=list)
    ledger_statuses: Counter[str] = field(default_factory=Counter)
    without_an_ending: list[str] = field(default_factory=list)
    unforeseen: list[str] = field(default_factory=list)
    _config: str = ""
    _lanes: frozenset[str] = frozenset()
    _ended_by_us: set[Consumer] = field(default_factory=set)

    @property
    def published(self) -> int:
        """Intents whose publishing has begun."""
        return len(self.play.producer.intents)

    @property
    def posted(self) -> int:
        """POSTs that the webhook has seen."""
        return len(self.play.hook.orders)

    def count(self, kind: Kind) -> int:
        """Strikes of one kind so far."""
        return sum(strike.kind == kind for strike in self.struck)

    @property
    def doubts_max(self) -> int:
        """What can have been on the wire of killed consumers: one order of each connector at each kill."""
        return CONNECTORS * self.count("consumer")

    def waited_s(self, *, delayed: bool) -> list[float]:
        """From its publish, or its due time, to the first POST of each delayed or other intent; the longest last."""
        first: dict[str, int] = {}
        for post in self.play.accountant.posts:
            first.setdefault(post.key, post.at_ns)
        chosen = (intent for intent in self.play.producer.intents if bool(intent.delay_s) == delayed)
        return sorted(first[each.key] / 1e9 - each.due_ms / 1e3 for each in chosen if each.key in first) or [0.0]

    @property
    def bad_drains(self) -> list[str]:
        """Drains that took too long, or did not end with status 0."""
        return [
            f"status {strike.exit_status} after {strike.took_s:.1f} s"
            for strike in self.struck
            if strike.kind == "drain" and (strike.exit_status != 0 or strike.took_s > DRAIN_TIMEOUT_S)
        ]

    async def run(self) -> Account:
        """Publish everything, strike, wait until all is at rest, draw the balance."""
        self.play.answers_after_s = ANSWERS_AFTER_S
        self.play.believed_lost_s = BELIEVED_LOST_S
        self.play.accountant.answer(self._mood)
        intents = self._intents()
        await self._begin(intents)
        self.play.producer.pause = Pace(self.plan.per_s)
        async with asyncio.TaskGroup() as group:
            self.play.publish(intents)
            if self.plan.apart:
                group.create_task(self._strike_apart(), name="strikes")
            else:
                group.create_task(self._strike_nodes(), name="strikes at nodes")
                group.create_task(self._strike_others(), name="other strikes")
        account = await self.play.account(rest_s=REST_S)
        rows = await _rows(self.play.ledger_url)
        self.ledger_statuses = Counter(rows.values())
        self.without_an_ending = [
            intent.key
            for intent in self.play.producer.intents
            if intent.confirmed and rows.get(intent.message_id or "") not in ENDINGS
        ]
        self.unforeseen = self._unforeseen()
        return account

    def _intents(self) -> list[Intent]:
        rng = random.Random(f"intents {self.plan.seed}")
        return make_intents(rng, self.plan.intents, connectors=CONNECTORS, delays_s=DELAYS_S, without_id=0.0)

    async def _begin(self, intents: list[Intent]) -> None:
        """The consumers, and the queues of all lanes, which have to be on every node's disk before the first kill."""
        own = sorted({intent.connector for intent in intents})[::2]
        self._config = "".join(f'[connectors.{connector}]\ntoken = "a-token"\n' for connector in own)
        for _ in range(CONSUMERS):
            await self._begin_consumer().started()
        names = self.play.names
        queues = [queue.name for queue in Topology(names, tuple(map(OwnLane, own))).queues()]
        self._lanes = frozenset({names.orders, names.due, *map(names.lane, own)})
        for node in self.cluster.nodes:
            await written_down(node, *queues)

    def _begin_consumer(self) -> Consumer:
        settings: Mapping[str, object] = {"broker.heartbeat_s": HEARTBEAT_S}
        return self.play.begin_consumer(settings, config=self._config)

    def _mood(self, order: Order) -> Behaviour:
        """The webhook's answer to the n-th POST, whichever that is."""
        at = self.play.rng.randrange(1000)
        for share, behaviour in MOODS:
            if at < share:
                return behaviour
            at -= share
        return self.play.well(order)

    async def _strike_nodes(self) -> None:
        """One after the other, so that never two are down: each returns when the node has caught up."""
        rng = random.Random(f"nodes {self.plan.seed}")
        for moment in moments(rng, self.plan.strikes, self.plan.intents):
            await self._reached(moment)
            self.struck.append(await self._strike("node", rng))

    async def _strike_others(self) -> None:
        """Consumers and database, in any order; a node may be down meanwhile."""
        rng = random.Random(f"others {self.plan.seed}")
        others: list[Kind] = [kind for kind in strikes.KINDS if kind != "node"]
        kinds = others * self.plan.strikes
        rng.shuffle(kinds)
        for kind, moment in zip(kinds, moments(rng, len(kinds), self.plan.intents), strict=True):
            await self._reached(moment)
            self.struck.append(await self._strike(kind, rng))

    async def _strike_apart(self) -> None:
        """One after the other, each when the one before is long made good."""
        rng = random.Random(f"apart {self.plan.seed}")
        kinds: list[Kind] = [*strikes.KINDS] * self.plan.strikes
        rng.shuffle(kinds)
        for kind, moment in zip(kinds, moments(rng, len(kinds), self.plan.intents), strict=True):
            await self._reached(moment)
            self.struck.append(await self._strike(kind, rng))
            await elapsed(APART_S)

    async def _strike(self, kind: Kind, rng: random.Random) -> Strike:
        if kind == "node":
            return await strikes.kill_the_leading_node(self.cluster, set(self._lanes), rng)
        if kind == "database":
            return await strikes.end_the_databases_sessions(self.play, rng)
        victim, lanes = await strikes.an_active_consumer(self.play, rng)
        self._ended_by_us.add(victim)
        if kind == "consumer":
            strike = await strikes.kill(victim, lanes)
            self._begin_consumer()
            return strike
        self._begin_consumer()
        return await strikes.drain(victim, lanes, DRAIN_SEEN_S)

    async def _reached(self, published: float) -> None:
        while self.published < published:  # noqa: ASYNC110 - the pace of a storm
            await asyncio.sleep(0.01)

    def _unforeseen(self) -> list[str]:
        """Tracebacks in any consumer's log, drains that were cut off, and consumers that ended by themselves."""
        found = [
            f"consumer {at}: {line['event']}"
            for at, consumer in enumerate(self.play.consumers)
            for line in consumer.lines
            if "exception" in line or line["event"] in {"service.cut_off", "service.failed"}
        ]
        ended = [
            f"consumer {at} ended by itself, with {consumer.exit_code}"
            for at, consumer in enumerate(self.play.consumers)
            if consumer not in self._ended_by_us and consumer.exit_code not in {None, 0}
        ]
        return found + ended


async def _rows(ledger_url: str) -> dict[str, str]:
    """By intent: the status that the ledger has for it."""
    database = database_at(ledger_url, create=False)
    try:
        return await database.read(_statuses)
    finally:
        await database.close()


def _statuses(connection: Connection) -> dict[str, str]:
    return {row.intent_id: row.status for row in connection.execute(select(ledger_rows))}


@asynccontextmanager
async def storm(plan: Plan, folder: Path) -> AsyncIterator[Storm]:
    """Everything a storm needs, started, and ended again whatever happens; all logs stay in `folder`."""
    lines = CONFIGURATION.get(plan.version or "", ())
    cluster = PrivateCluster(plan.installation, configuration=lines)
    postgres = PrivatePostgres()
    try:
        await asyncio.gather(asyncio.to_thread(cluster.start), asyncio.to_thread(postgres.start))
        async with Balancer([node.port for node in cluster.nodes]) as service, fresh_database(postgres) as ledger_url:
            url = str(URL(cluster.nodes[0].url).with_port(service.port))
            names = Names(PREFIX)
            seed = f"webhook {plan.seed}"
            async with scene(url, names, ledger_url=ledger_url, seed=seed, producer=Strategies(url, names)) as play:
                try:
                    yield Storm(plan, cluster, play)
                finally:
                    for at, consumer in enumerate(play.consumers):
                        (folder / f"consumer-{at:02}.log").write_text(consumer.log, "utf-8")
    finally:
        for at, node in enumerate(cluster.nodes, 1):
            with suppress(BrokerFailed):  # one that was never started has no log
                shutil.copy(node.log_path, folder / f"node-{at}.log")
        await asyncio.gather(asyncio.to_thread(cluster.stop), asyncio.to_thread(postgres.stop))
