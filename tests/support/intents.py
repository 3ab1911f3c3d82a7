"""Orders of every kind, and the producer that publishes them so that we know which were confirmed.

Half of the intents have no message_id, and a share of those have bodies equal to others: `key`, the text of their
`log`, says at the webhook and in a dead letter which intent it is, or which of several equal ones.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from pamqp.commands import Basic

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.errors import BrokerUnreachable, Unconfirmed
from signalq.names import Names
from tests.support.amqp import RawProperties
from tests.support.waiting import elapsed

# Their share among all intents.
WITHOUT_ID = 0.5
EQUAL = 0.08
DATED = 0.7
DELAYED = 0.25
# Which connectors get a cancelAll now and then, and nothing delayed, which that would cancel.
EVERY_NTH_CANCELS_ALL = 5

BROKER_BACK_S = 120.0
RECONNECT_PERIOD_S = 0.2

OPENS: tuple[dict[str, str], ...] = (
    {"action": "openLong", "percent": "25"},
    {"action": "openShort", "fixed": "1.5"},
    {"action": "buy", "percent": "10"},
    {"action": "sell", "fixed": "0.25"},
)
EXITS: tuple[dict[str, str], ...] = (
    {"action": "closeLong", "percent": "50"},
    {"action": "closeLong", "percent": "100"},
    {"action": "closeShort", "percent": "100"},
    {"action": "cancel"},
)
CANCEL_ALL = {"action": "cancelAll"}


@dataclass(slots=True)
class Intent:
    """An order to publish, and what became of its publishing; `number` is its place among its connector's."""

    key: str
    connector: str
    number: int
    fields: dict[str, Any]
    message_id: str | None = None
    is_dated: bool = False
    delay_s: float = 0.0
    begun_ms: int = 0
    sent: int = 0
    confirmed: bool = False

    @property
    def body(self) -> bytes:
        """The message body: equal for equal keys."""
        delay = {"delaySeconds": self.delay_s} if self.delay_s else {}
        return json.dumps({"connectorName": self.connector, "log": self.key} | self.fields | delay).encode()

    @property
    def repeating_is_safe(self) -> bool:
        """Whether a second POST can do no harm (soon after the first): a cancel, or a close of all there is."""
        action = self.fields["action"]
        closes_all = action in {"closeLong", "closeShort"} and self.fields.get("percent") == "100"
        return closes_all or action in {"cancel", "cancelAll"}

    @property
    def closes(self) -> frozenset[str]:
        """The actions of the opens ahead of it that it makes pointless: their waiting for another attempt ends."""
        action = self.fields["action"]
        if action == "cancelAll":
            return frozenset({"openLong", "openShort", "buy", "sell"})
        closes_all = action in {"closeLong", "closeShort"} and self.fields.get("percent") == "100"
        return frozenset({action.replace("close", "open")} if closes_all else ())

    @property
    def due_ms(self) -> int:
        """Before this nobody may POST it; a later time may be right where nobody dated it."""
        return self.begun_ms + round(self.delay_s * 1000)


def make_intents(
    rng: random.Random,
    count: int,
    *,
    connectors: int = 8,
    delays_s: tuple[float, float] | None = (1.0, 4.0),
    without_id: float = WITHOUT_ID,
) -> list[Intent]:
    """`count` orders over so many connectors; without `delays_s` (shortest, longest) none is delayed.

    `without_id` is the share of those without a message_id.
    """
    prefix = uuid.UUID(int=rng.getrandbits(128)).hex[:6]
    numbers: dict[int, int] = defaultdict(int)
    equal_ones: dict[int, list[Intent]] = defaultdict(list)
    intents = []
    for at in range(count):
        which = rng.randrange(connectors)
        numbers[which] += 1
        intent = _intent(rng, f"{prefix}-{at}", f"{prefix}-c{which}", numbers[which], which, delays_s, without_id)
        if intent.message_id is None and rng.random() < EQUAL / WITHOUT_ID:
            if equal_ones[which] and rng.random() < 0.7:
                model = rng.choice(equal_ones[which])
                intent.key, intent.fields, intent.delay_s = model.key, model.fields, model.delay_s
            elif not (intent.delay_s and intent.fields["action"] == "cancel"):
                # Of equal cancels that are delayed, the first one that goes would cancel those created before it.
                equal_ones[which].append(intent)
        intents.append(intent)
    return intents


def _intent(
    rng: random.Random,
    key: str,
    connector: str,
    number: int,
    which: int,
    delays_s: tuple[float, float] | None,
    without_id: float,
) -> Intent:
    cancels_all = which % EVERY_NTH_CANCELS_ALL == EVERY_NTH_CANCELS_ALL - 1
    kinds = (*EXITS, CANCEL_ALL) if cancels_all else EXITS
    chosen = dict(rng.choice(OPENS) if rng.random() < 0.6 else rng.choice(kinds))
    if chosen["action"] == "cancel":
        chosen["clientOrderId"] = f"order-{key}"
    is_delayed = delays_s is not None and not cancels_all and rng.random() < DELAYED
    return Intent(
        key=key,
        connector=connector,
        number=number,
        fields={"connectorToken": "a-token"} | chosen,
        message_id=None if rng.random() < without_id else f"id-{key}",
        is_dated=rng.random() < DATED,
        delay_s=round(rng.uniform(*delays_s), 2) if delays_s is not None and is_delayed else 0.0,
    )


@dataclass
class Producer:
    """Publishes each connector's intents one after the other, connectors side by side, each until it is confirmed.

    What has no message_id is published once: it is not repeated when its confirm is missing, and may have arrived.
    """

    url: str
    names: Names
    pause: Callable[[], Any] | None = None
    """Awaited before each publish, where given: the pace."""
    intents: list[Intent] = field(default_factory=list)
    """All that were begun, in that order."""
    _publisher: ConfirmedPublisher = field(init=False)
    _reconnecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def publish_all(self, intents: Sequence[Intent]) -> None:
        """Return once all of them are confirmed, or can't be known to be."""
        lanes: dict[str, list[Intent]] = defaultdict(list)
        for intent in intents:
            lanes[intent.connector].append(intent)
        async with asyncio.TaskGroup() as group:
            for connector, lane in lanes.items():
                group.create_task(self._publish_lane(lane), name=f"producer of {connector}")

    async def __aenter__(self) -> Self:
        self._publisher = ConfirmedPublisher(self.url, name="a producer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._publisher.close()

    async def _publish_lane(self, lane: Sequence[Intent]) -> None:
        for intent in lane:
            if self.pause is not None:
                await self.pause()
            intent.begun_ms = time.time_ns() // 1_000_000
            self.intents.append(intent)
            await self._publish(intent)

    async def _publish(self, intent: Intent) -> None:
        properties = _properties(intent)
        while not intent.confirmed:
            intent.sent += 1
            try:
                await self._publisher.publish(self.names.orders, intent.connector, intent.body, properties)
            except BrokerUnreachable:
                intent.sent -= 1
                await self._reconnected()
            except Unconfirmed:
                if intent.message_id is None:
                    return
            else:
                intent.confirmed = True

    async def _reconnected(self) -> None:
        """Wait for the broker, one of the lanes on behalf of all."""
        until_s = time.monotonic() + BROKER_BACK_S
        async with self._reconnecting:
            while True:
                try:
                    await self._publisher.channel()
                except BrokerUnreachable:
                    assert time.monotonic() < until_s, f"the broker was not back within {BROKER_BACK_S:g} s"
                    await elapsed(RECONNECT_PERIOD_S)
                else:
                    return


def _properties(intent: Intent) -> Basic.Properties:
    """What goes over the wire: aiormq gives every message without a message_id one, so those go as bytes."""
    headers = {"signalq-created-ms": intent.begun_ms} if intent.is_dated else None
    properties = Basic.Properties(delivery_mode=2, message_id=intent.message_id, headers=headers)
    return properties if intent.message_id is not None else RawProperties(properties.marshal())
