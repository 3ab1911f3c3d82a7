"""The console while things break under it: a replay goes on or is told to have been broken off, nothing goes out twice,
and after a pause a consumer that stands still is named.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp
import pytest

from signalq.local import PrivatePostgres, PrivateRabbitMQ
from signalq.names import Names
from tests.support import prefixes
from tests.support.amqp import depth, drain, publish_all
from tests.support.broker import Broker, written_down
from tests.support.console import Caller, Console, begin_replay, groups, is_over, signed_in
from tests.support.consumer import Consumer
from tests.support.freezing import freeze
from tests.support.graveyard import Dead, dead, record
from tests.support.postgres import fresh_database
from tests.support.scene import SETTINGS, Scene, scene
from tests.support.stores import Store
from tests.support.waiting import wait_until

TOKEN = "the-desk's-token"
FEW, MANY = 300, 2_000
CONNECTORS = 10
SLOW_S = 180.0


@dataclass
class Stage:
    """A scene, a console on its ledger, and the letters that are to be replayed."""

    play: Scene
    console: Console
    letters: Sequence[Dead]
    store: Store

    @property
    def queue(self) -> str:
        """The dead letters."""
        return self.play.names.dead

    def new_console(self) -> None:
        """Start another console in the place of the one before."""
        self.console.close()
        self.console = console_of(self.play)
        self.console.start()

    async def replayed(self) -> int:
        """How many letters have been replayed, by the ledger."""
        ((count,),) = await self.store.rows("SELECT count(*) FROM steps WHERE what = 'replayed'")
        return int(count)

    async def begin_replay(self) -> str:
        """Have all refused letters judged, and replay those that may go; the path of the job."""
        async with self.caller() as caller:
            return await begin_replay(caller, SLOW_S)

    async def replay_what_is_left(self) -> None:
        """Replay again, until none of the refused letters is in the queue."""
        while await self._is_left():
            job = await self.begin_replay()
            async with self.caller() as caller:
                await wait_until(partial(is_over, caller, job), SLOW_S, what="the end of a replay")

    async def _is_left(self) -> bool:
        async with self.caller() as caller:
            return bool(await groups(caller))

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """A person at the console, as soon as it answers."""
        await self.console.started()
        async with signed_in(self.console.url, TOKEN) as caller:
            yield caller

    async def account(self) -> None:
        """Each letter was POSTed once; or it is in doubt, and lies among the dead letters again."""
        ids = {letter.order.intent.log or "" for letter in self.letters}
        await wait_until(self._is_at_rest, SLOW_S, what="the end of all that was replayed")
        posts = Counter(order.json["log"] for order in self.play.hook.orders)
        found = await drain(self.play.url, self.queue)
        reasons = Counter(str(message.headers["signalq-reason"]) for message in found)
        assert set(reasons) <= {"outcome-unknown"}, reasons
        assert reasons.total() <= CONNECTORS, "no more were on the wire"
        in_doubt = {str(message.headers["signalq-intent-id"]).removeprefix("id-") for message in found}
        assert set(posts) | in_doubt == ids, f"lost: {sorted(ids - set(posts) - in_doubt)[:8]}"
        assert posts.most_common(1)[0][1] == 1, f"twice: {posts.most_common(3)}"

    async def _is_at_rest(self) -> bool:
        pending = "status NOT IN ('delivered', 'dead', 'canceled', 'duplicate')"
        ((left,),) = await self.store.rows(f"SELECT count(*) FROM intents WHERE {pending}")  # noqa: S608
        return left == 0 and not await depth(self.play.url, self.play.names.orders)


def console_of(play: Scene) -> Console:
    """A console on the ledger of a scene."""
    settings = {**SETTINGS, "ledger.url": play.ledger_url, "ops.token": TOKEN}
    return Console(play.url, play.names.prefix, play.hook.url, settings)


@asynccontextmanager
async def stage(url: str, names: Names, ledger_url: str | None, count: int) -> AsyncIterator[Stage]:
    """So many refused exits, a consumer and a console."""
    async with scene(url, names, ledger_url=ledger_url) as play:
        letters = [dead(number, action="closeLong", connectorName=f"c{number % CONNECTORS}") for number in range(count)]
        await record(play.ledger_url, letters)
        await publish_all(url, "", names.dead, [one.letter for one in letters])
        await play.consumer()
        on = Stage(play, console_of(play), letters, Store(play.ledger_url, AsyncExitStack()))
        on.console.start()
        try:
            yield on
        except Exception as error:
            error.add_note(f"the end of the console's log:\n{on.console.log[-3000:]}")
            raise
        finally:
            on.console.close()


Kill = Callable[[Stage], Awaitable[None]]


async def kill_the_console(on: Stage) -> None:
    on.console.kill()
    on.new_console()


async def kill_the_consumer(on: Stage) -> None:
    (consumer,) = on.play.living
    await asyncio.to_thread(consumer.kill)
    await on.play.consumer()


async def replay_through(on: Stage, kill: Kill) -> str:
    """Begin a replay, strike in its middle, and wait until it goes on no more; its path."""
    job = await on.begin_replay()
    await wait_until(partial(has_come_to, on, len(on.letters) // 4), SLOW_S, what="the middle of the replay")
    assert await on.replayed() < len(on.letters), "it is over already: nothing is struck in its middle"
    await kill(on)
    async with on.caller() as caller:
        await wait_until(partial(is_over, caller, job), SLOW_S, what="the end of the replay")
    return job


async def has_come_to(on: Stage, count: int) -> bool:
    return await on.replayed() >= count


async def test_a_replay_is_told_to_be_broken_off_where_its_console_was_killed_and_goes_on_with_the_next_one(
    broker: Broker, names: Names
) -> None:
    async with stage(broker.url, names, None, FEW) as on:
        job = await replay_through(on, kill_the_console)
        async with on.caller() as caller:
            page = await caller.get(job)
            assert "interrupted after" in page
            assert "the rest is where it was" in page
            assert "alice" in page
        await on.replay_what_is_left()
        await on.account()


async def test_after_a_pause_a_consumer_that_stands_still_is_named(broker: Broker, names: Names) -> None:
    """And again as soon as it goes on, which it does by the new switch."""
    async with stage(broker.url, names, None, 1) as on:
        (awake,) = on.play.consumers
        frozen = await on.play.consumer()
        await freeze(on.play, frozen, in_a_transaction=False)
        async with on.caller() as caller:
            result = await caller.post("/switch", to="paused", why="a test")

            async def says(consumer: Consumer, words: str) -> bool:
                name = f"{socket.gethostname()}:{consumer.pid}"
                page = await caller.get(result)
                return bool(re.search(rf"{words} {re.escape(name)}|{re.escape(name)} {words}", page))

            await wait_until(partial(says, awake, "✓ acts by it"), what="the one that acts by it")
            await wait_until(
                partial(says, frozen, "(?:is silent for|has NOT taken it up)"), what="the frozen one's name"
            )
            assert not await says(frozen, "✓ acts by it")
            frozen.thaw()
            await wait_until(partial(says, frozen, "✓ acts by it"), what="the one that was frozen")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kill", [kill_the_console, kill_the_consumer])
async def test_a_replay_of_two_thousand_letters_survives_a_kill(
    broker: Broker, names: Names, any_ledger: str | None, kill: Kill
) -> None:
    async with stage(broker.url, names, any_ledger, MANY) as on:
        await replay_through(on, kill)
        await on.replay_what_is_left()
        await on.account()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_replay_of_two_thousand_letters_survives_the_death_of_the_broker(
    mortal_broker: PrivateRabbitMQ,
) -> None:
    prefix = await prefixes.lend(mortal_broker.url)
    names = Names(prefix)
    async with stage(mortal_broker.url, names, None, MANY) as on:

        async def kill(on: Stage) -> None:
            await written_down(mortal_broker, names.dead, names.orders)
            await asyncio.to_thread(mortal_broker.kill)
            async with on.caller() as caller:
                await wait_until(partial(_says_away, caller, "broker"), what="the broker, told to be away")
            await asyncio.to_thread(mortal_broker.start)

        await replay_through(on, kill)
        await on.replay_what_is_left()
        await on.account()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_replay_of_two_thousand_letters_survives_the_death_of_the_ledger(
    broker: Broker, names: Names, mortal_postgres: PrivatePostgres
) -> None:
    async with fresh_database(mortal_postgres) as url, stage(broker.url, names, url, MANY) as on:

        async def kill(on: Stage) -> None:
            await asyncio.to_thread(mortal_postgres.kill)
            async with on.caller() as caller:
                await wait_until(partial(_says_away, caller, "ledger"), what="the ledger, told to be away")
            await asyncio.to_thread(mortal_postgres.start)

        await replay_through(on, kill)
        await on.replay_what_is_left()
        await on.account()


async def _says_away(caller: Caller, what: str) -> bool:
    """Whether the overview says that a source is away, whatever its status."""
    try:
        page = await caller.get("/")
    except (AssertionError, aiohttp.ClientError):
        return False
    return f"{what} away" in page or f"The {what} can't be read" in page


async def test_a_console_that_is_asked_to_stop_ends_its_replay_after_the_batch_in_hand(
    broker: Broker, names: Names
) -> None:
    """It exits 0, and what it had begun is whole: in the audit with its number, the rest in the queue."""
    async with stage(broker.url, names, None, FEW) as on:
        job = await on.begin_replay()
        await wait_until(partial(has_come_to, on, 1), SLOW_S, what="the beginning of the replay")
        on.console.signal(signal.SIGTERM)
        assert await on.console.exited() == 0
        on.console.check_log()
        replayed = await on.replayed()
        on.new_console()
        async with on.caller() as caller:
            assert f"replayed {replayed:,}".replace(",", "\u2009") in await caller.get(job)
        await on.replay_what_is_left()
        await on.account()
