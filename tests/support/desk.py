"""A desk's whole world: a broker, a webhook, a consumer that has the console mounted, and `signalq console` beside it.

What stands in it came about as anywhere: orders were published, and then delivered, refused, left in doubt, delayed.
Some of its names are an attacker's.

async with desk(broker.url, prefix) as world:
    ...                                    # world.console.url, world.mounted_url, world.publish(...), world.hook
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pamqp.commands import Basic

from signalq import names as headers
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, switches
from signalq.consumer.orders.switch import State
from signalq.names import Names
from tests.support import planted
from tests.support.amqp import plain_channel
from tests.support.console import Console
from tests.support.consumer import Consumer, ledger_file, ledger_url
from tests.support.freezing import is_locked
from tests.support.graveyard import in_ledger
from tests.support.orders import new_id
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Behaviour, CutOff, Order, Webhook

OPS_TOKEN, VIEW_TOKEN = planted.secret(), planted.secret()
CONNECTOR_TOKEN, MESSAGE_TOKEN = planted.secret(), planted.secret()
NOTIFY, UNREAD = planted.secret(), planted.secret()
SECRETS = (OPS_TOKEN, VIEW_TOKEN, CONNECTOR_TOKEN, MESSAGE_TOKEN, NOTIFY, UNREAD)
CONNECTORS = ("main", "beta", "delta", "gamma")
CONFIG = f"""
[connectors.main]
token = "{CONNECTOR_TOKEN}"
[connectors.beta]
[connectors.delta]
[connectors.gamma]
[notify]
urls = ["json://{NOTIFY}@127.0.0.1/"]
"""
SETTINGS: Mapping[str, object] = {
    "ops.token": OPS_TOKEN,
    "ops.view_token": VIEW_TOKEN,
    "console.port": 0,
    "console.name": "proving ground",
    "webhook.timeout_s": 2,
    "delivery.backoff_base_s": 0.05,
    "delivery.backoff_max_s": 0.2,
    "delivery.drain_timeout_s": 8,
    "broker.heartbeat_s": 5,
}
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
STRATEGY, OTHER_STRATEGY = "momentum", "carry"
RETRIES = 2
# Within the time-out of SETTINGS.
SLOW_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """An order of the world. The webhook behaves by its `log`: `refused`, `broken` (until it is mended), `doubt`,
    `again`, `slow`, or anything else for ok.
    """

    connector: str
    log: str = "ok"
    action: str = "openLong"
    intent_id: str = field(default_factory=new_id)
    strategy: str = STRATEGY
    age_s: float = 0.0
    delay_s: float = 0.0
    client_order_id: str | None = None
    token: str | None = MESSAGE_TOKEN

    def message(self) -> tuple[str, bytes, Basic.Properties]:
        """The routing key, the body and the properties."""
        fields: dict[str, object | None] = {
            "connectorName": self.connector,
            "connectorToken": self.token,
            "action": self.action,
            "percent": "50",
            "log": self.log,
            "clientOrderId": self.client_order_id,
            "delaySeconds": self.delay_s or None,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        created_ms = time.time_ns() // 1_000_000 - round(self.age_s * 1000)
        properties = Basic.Properties(
            delivery_mode=2,
            message_id=self.intent_id,
            app_id=self.strategy,
            headers={headers.CREATED_MS: created_ms, headers.STRATEGY: self.strategy},
        )
        return self.connector, json.dumps(body).encode(), properties


def main_order(log: str = "ok", **given: Any) -> Plan:
    """One for `main`, whose token only the settings know."""
    return Plan("main", log, token=None, **given)


PLANTED: Mapping[str, Any] = {
    "connector": planted.CONNECTOR,
    "strategy": planted.STRATEGY,
    "client_order_id": planted.CLIENT_ORDER_ID,
}


def usual() -> list[Plan]:
    """The orders with which a world begins: each ending, each kind of letter, and a schedule."""
    return [
        *(main_order(client_order_id=f"co-{number}") for number in range(6)),
        main_order("again", client_order_id="co-again"),
        main_order("doubt", client_order_id="co-118"),
        *(Plan("beta", "refused", client_order_id=f"grid-{number}") for number in range(4)),
        *(Plan("delta", age_s=2 * MINUTE_S, strategy=OTHER_STRATEGY) for _ in range(3)),
        Plan("delta", action="closeLong", age_s=2 * HOUR_S, strategy=OTHER_STRATEGY),
        *(Plan("zeta", strategy=OTHER_STRATEGY) for _ in range(2)),
        Plan(planted.OTHER_CONNECTOR, strategy=OTHER_STRATEGY),
        Plan(log="refused", intent_id=planted.INTENT_ID, **PLANTED),
        main_order(action="closeLong", delay_s=20 * MINUTE_S, client_order_id="co-later"),
        Plan("delta", delay_s=50 * MINUTE_S, strategy=OTHER_STRATEGY),
        main_order(delay_s=2 * DAY_S),
        Plan(delay_s=3 * HOUR_S, **PLANTED),
    ]


DELIVERED, SCHEDULED = 10, 4
LETTERS = Counter({"rejected": 5, "expired": 4, "outcome-unknown": 1, "invalid": 1})
UNREADABLE = f'{{"connectorName": "{planted.IMAGE}", "apiSecret": "{UNREAD}"'.encode()


class Desk:
    """Made by `desk`."""

    def __init__(
        self, broker_url: str, prefix: str, hook: Webhook, config: str, settings: Mapping[str, object]
    ) -> None:
        self.broker_url = broker_url
        self.names = Names(prefix)
        self.hook = hook
        self.config = config
        self.settings = settings
        self.ledger_url = str(settings.get("ledger.url", ledger_url(prefix)))
        self.consumer = self.new_consumer()
        self.console = self.new_console()
        # Whether the webhook takes those orders that are `broken`.
        self.is_mended = False
        self._tries: Counter[str] = Counter()
        hook.behave(self.answer)

    @property
    def url(self) -> str:
        """The address of `signalq console`."""
        return self.console.url

    @property
    def mounted_url(self) -> str:
        """The address of the console that the consumer has."""
        return f"http://127.0.0.1:{self.consumer.ops_port}"

    def new_consumer(self, **further: object) -> Consumer:
        """A further consumer, which is not started yet; `further` are settings whose names have __ for the dot."""
        return Consumer(
            self.broker_url,
            self.names.prefix,
            self.hook.url,
            {**self.settings, **_dotted(further)},
            config=self.config,
            command=("-m", "signalq", "consume"),
        )

    def new_console(self, **further: object) -> Console:
        """A further console."""
        return Console(
            self.broker_url,
            self.names.prefix,
            self.hook.url,
            {**self.settings, **_dotted(further)},
            config=self.config,
        )

    def answer(self, order: Order) -> Behaviour:
        """The webhook of this world."""
        log = order.json.get("log", "")
        if log == "refused":
            return Answer(401, planted.IMAGE.encode())
        if log == "broken" and not self.is_mended:
            return Answer(400)
        if log == "doubt":
            return CutOff()
        if log == "again" and self._tries[order.body.decode()] < RETRIES:
            self._tries[order.body.decode()] += 1
            return Answer(429)
        return Answer(delay_s=SLOW_S if log == "slow" else 0.005)

    async def publish(self, *plans: Plan) -> None:
        """Publish these orders, each confirmed before the next."""
        await self._send([plan.message() for plan in plans])

    async def _send(self, messages: Sequence[tuple[str, bytes, Basic.Properties]]) -> None:
        async with plain_channel(self.broker_url) as channel:
            for key, body, properties in messages:
                await channel.basic_publish(body, exchange=self.names.orders, routing_key=key, properties=properties)

    async def settled(self, *plans: Plan) -> None:
        """Wait until each of these has an ending."""
        wanted = {plan.intent_id for plan in plans}

        def ended() -> bool:
            return wanted <= {row[0] for row in self.rows("SELECT intent_id FROM intents WHERE ended_ms IS NOT NULL")}

        await wait_until(ended, what=f"the endings of {len(wanted)} orders")

    async def order(self, *plans: Plan) -> None:
        """Publish these, and wait for their endings."""
        await self.publish(*plans)
        await self.settled(*plans)

    async def switch(self, connector: str, state: State, *, who: str = "alice", why: str = "") -> None:
        """Set the switch as another person would; '' for all connectors."""
        actor = Actor(who, "cli", "host-a")

        def change(connection: Any) -> None:
            now_ms = clock_ms(connection)
            switches.change(connection, now_ms, connector, state, who=who, why=why)
            about = {"connector": connector or None, "state": state}
            audit.note(connection, now_ms, actor, audit.Act("switch", about, done=1, why=why))

        async with LedgerClient(self.ledger_url) as ledger:
            await ledger.transact(change)

    async def freeze(self, consumer: Consumer) -> None:
        """Freeze one between its writes: in the middle of one, it would keep everybody from the ledger's file."""

        async def stands_still() -> bool:
            consumer.freeze()
            if not await asyncio.to_thread(is_locked, str(ledger_file(self.names.prefix))):
                return True
            consumer.thaw()
            return False

        await wait_until(stands_still, what="a freeze between two writes")

    def is_scheduled(self, plan: Plan) -> bool:
        """Whether a delayed order is in the schedule."""
        wanted = f"intent_id = '{plan.intent_id}' AND due_ms IS NOT NULL AND ended_ms IS NULL"
        return bool(self.rows(f"SELECT 1 FROM intents WHERE {wanted}"))  # noqa: S608

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a stranger finds in the ledger's file."""
        return in_ledger(self.names.prefix, query)

    async def begin(self) -> None:
        """Let the usual orders have their way."""
        plans = usual()
        unreadable = Basic.Properties(delivery_mode=2, message_id="unreadable", app_id=STRATEGY)
        await self._send([*(plan.message() for plan in plans), ("main", UNREADABLE, unreadable)])
        await self.settled(*(plan for plan in plans if not plan.delay_s))
        await wait_until(self._is_whole, what="the letters and the schedule of the world")
        await self.switch("delta", "close-only", who="bob", why="only exits until the fix")
        await self.order(Plan("delta", strategy=OTHER_STRATEGY))

    def _is_whole(self) -> bool:
        letters = Counter(dict(self.rows("SELECT reason, count(*) FROM letters WHERE settled_ms IS NULL GROUP BY 1")))
        ((scheduled,),) = self.rows("SELECT count(*) FROM intents WHERE due_ms IS NOT NULL AND ended_ms IS NULL")
        return letters == LETTERS and scheduled == SCHEDULED


def _dotted(further: Mapping[str, object]) -> dict[str, object]:
    return {name.replace("__", "."): value for name, value in further.items()}


@asynccontextmanager
async def desk(
    broker_url: str, prefix: str, *, config: str = CONFIG, settings: Mapping[str, object] = SETTINGS
) -> AsyncIterator[Desk]:
    """A world that runs, and in which nothing has happened yet."""
    async with Webhook() as hook:
        world = Desk(broker_url, prefix, hook, config, settings)
        async with world.consumer, world.console:
            await world.consumer.started()
            await world.console.started()
            yield world
