"""What faults and chaos play in: a producer, consumers on one ledger, a webhook, and the accountant who watches."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import aiormq

from signalq.amqp.topology import Topology
from signalq.names import Names
from tests.support.accountant import Account, Accountant
from tests.support.amqp import plain_channel
from tests.support.consumer import Consumer
from tests.support.consumer import ledger_url as file_ledger_url
from tests.support.intents import Intent, Producer
from tests.support.lanes import noted_queues
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.webhook import Answer, Behaviour, Order, Webhook

WEBHOOK_TIMEOUT_S = 1.5
# Short bounds, so that what breaks is noticed soon; deadlines far away, so that nothing expires instead of arriving.
SETTINGS: Mapping[str, object] = {
    "broker.heartbeat_s": 1,
    "webhook.connect_timeout_s": 1,
    "webhook.timeout_s": WEBHOOK_TIMEOUT_S,
    "delivery.backoff_base_s": 0.05,
    "delivery.backoff_max_s": 0.4,
    "delivery.open_max_age_s": 3600,
    "delivery.attempts_max": 1000,
    "delivery.drain_timeout_s": 8,
}
# The webhook's own time: long enough that there is always something on the wire.
ANSWERS_AFTER_S = (0.005, 0.05)
REST_S = 60.0
# What the delay ladder of a killed broker could not hand over is tried again after up to 10 s (ADVANCED of the node).
BELIEVED_LOST_S = 15.0


class Scene:
    """One test's producer, consumers, webhook and accountant."""

    def __init__(
        self,
        url: str,
        names: Names,
        hook: Webhook,
        ledger_url: str | None,
        seed: int | str,
        producer: Producer | None = None,
    ) -> None:
        self.url = url
        self.names = names
        self.hook = hook
        self.accountant = Accountant(hook)
        self.producer = producer or Producer(url, names)
        self.rng = random.Random(seed)
        self.consumers: list[Consumer] = []
        self.answers_after_s = ANSWERS_AFTER_S
        self.command = ("-m", "signalq.consumer")
        self.believed_lost_s = BELIEVED_LOST_S
        self.ledger_url = ledger_url or file_ledger_url(names.prefix)
        self._publishing: list[asyncio.Task[None]] = []
        self._at_rest_since_s: float | None = None
        self._unrest = "nobody has looked"
        self.accountant.answer(self.well)

    def well(self, _order: Order) -> Behaviour:
        """The webhook on a good day."""
        return Answer(delay_s=self.rng.uniform(*self.answers_after_s))

    async def consumer(
        self, settings: Mapping[str, object] | None = None, *, url: str | None = None, config: str = ""
    ) -> Consumer:
        """Start a further consumer on the same ledger, and wait until it is ready."""
        consumer = self.begin_consumer(settings, url=url, config=config)
        await consumer.started()
        return consumer

    def begin_consumer(
        self, settings: Mapping[str, object] | None = None, *, url: str | None = None, config: str = ""
    ) -> Consumer:
        """Start a further consumer; returns at once."""
        chosen = {**SETTINGS, "ledger.url": self.ledger_url, **(settings or {})}
        consumer = Consumer(
            url or self.url, self.names.prefix, self.hook.url, chosen, config=config, command=self.command
        )
        consumer.start()
        self.consumers.append(consumer)
        return consumer

    def publish(self, intents: Sequence[Intent]) -> asyncio.Task[None]:
        """Begin to publish these; the account waits for the end of it."""
        task = asyncio.create_task(self.producer.publish_all(intents), name="publishing")
        self._publishing.append(task)
        return task

    async def posted(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the webhook has seen so many POSTs in all."""
        await self.hook.received(count, timeout_s)

    async def account(self, *, may_overtake: Collection[str] = (), rest_s: float = REST_S) -> Account:
        """Wait until everything published has had its way, stop the consumers in order, and draw the balance.

        Raises AssertionError where it is not over, and no POST has come for `rest_s`.
        """
        await asyncio.gather(*self._publishing)
        is_over, posts = False, -1
        while not is_over:
            try:
                is_over = await wait_until(self._is_over, rest_s, what="the end of all that was published")
            except AssertionError as error:
                if posts == len(self.hook.orders):
                    error.add_note(f"it is not at rest: {self._unrest}")
                    raise
                posts = len(self.hook.orders)
        for consumer in self.living:
            await consumer.end()
        await self.accountant.collect(self.url, self.names.dead)
        return self._balance(may_overtake)

    @property
    def living(self) -> list[Consumer]:
        """The consumers that run."""
        return [consumer for consumer in self.consumers if consumer.exit_code is None]

    async def _is_over(self) -> bool:
        """At rest, with nothing missing; or something is missing, and nothing has moved for long enough to believe it.

        A rest may deceive: for a moment after a cut, the broker counts as delivered what nobody holds any more, and
        what is delayed may come back from the ladder between one look and the next.
        """
        if not await self._is_at_rest():
            self._at_rest_since_s = None
            return False
        await self.accountant.collect(self.url, self.names.dead)
        balance = self._balance(())
        if not balance.lost and not balance.scheduled:
            return True
        self._at_rest_since_s = self._at_rest_since_s or time.monotonic()
        return time.monotonic() - self._at_rest_since_s > self.believed_lost_s

    def _balance(self, may_overtake: Collection[str]) -> Account:
        return self.accountant.account(self.producer.intents, may_overtake=may_overtake)

    async def _is_at_rest(self) -> bool:
        """Nothing lies in the lanes or on the ladder, every consumer is ready, and none holds anything."""
        with suppress(aiohttp.ClientError, aiormq.AMQPError, OSError):
            for consumer in self.living:
                if not consumer.events("service.started"):
                    self._unrest = "a consumer has not started"
                    return False
                ready, why = await consumer.get("/readyz")
                in_flight = await consumer.metric("signalq_in_flight")
                if ready != 200 or in_flight:
                    self._unrest = f"/readyz is {ready} ({why}), {in_flight:g} in flight"
                    return False
            left = await waiting(self.url, self.names)
            self._unrest = f"{left} lie on the broker"
            return left == 0
        self._unrest = "a consumer or the broker does not answer"
        return False


async def waiting(url: str, names: Names) -> int:
    """How many intents lie ready on the broker, in lanes (own ones, too) or on the ladder."""
    queues = [queue.name for queue in Topology(names).queues() if queue.name not in {names.dead, names.ledger}]
    queues += noted_queues(names.prefix)
    async with plain_channel(url) as channel:
        declared = [await channel.queue_declare(queue, passive=True, timeout=10) for queue in queues]
    return sum(queue.message_count or 0 for queue in declared)


@asynccontextmanager
async def scene(
    url: str,
    names: Names,
    *,
    ledger_url: str | None = None,
    seed: int | str = 1,
    hook: Webhook | None = None,
    producer: Producer | None = None,
) -> AsyncIterator[Scene]:
    """A scene, and its end: whatever still runs is killed, whatever breaks in the body."""
    async with hook or Webhook() as webhook:
        play = Scene(url, names, webhook, ledger_url, seed, producer)
        try:
            async with play.producer:
                yield play
        except Exception as error:
            for consumer in play.consumers:
                error.add_note(f"the end of a consumer's log:\n{consumer.log[-3000:]}")
            raise
        finally:
            await _clear(play)


async def _clear(play: Scene) -> None:
    unfinished: list[asyncio.Task[Any]] = [task for task in play._publishing if not task.done()]
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
    for consumer in play.consumers:
        await asyncio.to_thread(consumer.close)
