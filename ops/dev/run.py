"""The course of `signalq dev`: a private RabbitMQ, the sandbox, the consumer, the gateway, the console; then events.

Whatever of it dies ends all of it, with a sentence: in a world that is there to try things, that is news.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from signalq.kinds import Kind
from signalq.local import PrivateBrokerError, PrivateRabbitMQ, ensure_installed
from signalq.local.server import PrivateServer
from signalq.ops.dev.events import LogTail, entries_of
from signalq.ops.dev.programs import TELLING, Console, last_words
from signalq.ops.dev.view import View
from signalq.ops.dev.world import World, opened
from signalq.ops.ledger import open_ledger
from signalq.ops.sandbox.server import Sandbox
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.stopping import stop_event
from signalq.settings.sections import ENV_PREFIX

LOOK_PERIOD_S = 0.1
WATCH_PERIOD_S = 0.5


def run_dev(folder: Path, port: int | None, *, as_json: bool) -> None:
    """Run the world of a folder until SIGTERM or SIGINT; `port` is for a world that is made.

    Raises CommandFailed, SettingsError, OSError.
    """
    # A world has its settings in its own file: none of the environment's may lead its orders elsewhere.
    for name in [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]:
        del os.environ[name]
    with opened(folder, port) as world:
        asyncio.run(_run(world, View(as_json=as_json)))


async def _run(world: World, view: View) -> None:
    asked_to_stop = stop_event()
    try:
        async with AsyncExitStack() as stack:
            console = Console(world)
            servers = await _start(world, view, stack, asked_to_stop, console)
            if not asked_to_stop.is_set():
                view.greet(world, console.link)
                await _show_events(world, view, servers, asked_to_stop)
            view.step("ending: POSTs that are on the wire are finished first")
    except PrivateBrokerError as error:
        raise CommandFailed(_sentence(error), kind=Kind.PRIVATE_SERVER) from error
    view.step(f"all of it has ended; the world is in {world.folder}")


async def _start(
    world: World, view: View, stack: AsyncExitStack, asked_to_stop: asyncio.Event, console: Console
) -> Sequence[PrivateServer]:
    """Start all of it, each as soon as the one that it needs is ready. Raises PrivateBrokerError, CommandFailed."""
    view.step("a private RabbitMQ starts")
    installation = await asyncio.to_thread(ensure_installed, view.step)
    broker = PrivateRabbitMQ(installation, folder=world.rabbitmq)
    await stack.enter_async_context(_running(broker))
    await stack.enter_async_context(Sandbox(port=world.sandbox_port))
    programs = [*(program(world) for program in TELLING), console]
    if asked_to_stop.is_set():
        return [broker]
    view.step(f"{', '.join(program.title for program in programs)} and the sandbox start")
    await stack.enter_async_context(_running(*programs))
    return [broker, *programs]


async def _show_events(
    world: World, view: View, servers: Sequence[PrivateServer], asked_to_stop: asyncio.Event
) -> None:
    watch = asyncio.create_task(_watch(servers), name="watch")
    show = asyncio.create_task(_show(world, view), name="show")
    stop = asyncio.create_task(asked_to_stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({watch, show, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (watch, show, stop):
            task.cancel()
        await asyncio.gather(watch, show, stop, return_exceptions=True)
    for ended in done:
        ended.result()


async def _show(world: World, view: View) -> None:
    tails = [LogTail(world.folder / f"{program.command}.log") for program in TELLING]
    async with open_ledger(world.settings) as ledger:
        while True:
            for tail in tails:
                for entry in await entries_of(tail.events(), ledger):
                    view.entry(entry)
            await asyncio.sleep(LOOK_PERIOD_S)


async def _watch(servers: Sequence[PrivateServer]) -> None:
    """Return never; raises CommandFailed once one of them has ended."""
    while True:
        for server in servers:
            if not server.is_running:  # a line to its guard and back: much less than a millisecond
                raise CommandFailed(
                    f"{server.title} has ended ({last_words(server.log_path)}), and so all of it does; its log is "
                    f"{server.log_path}",
                    kind=Kind.PRIVATE_SERVER,
                )
        await asyncio.sleep(WATCH_PERIOD_S)


@asynccontextmanager
async def _running(*servers: PrivateServer) -> AsyncIterator[None]:
    """Start them side by side, and stop them so. Raises PrivateBrokerError; then none of them runs."""
    try:
        started = await asyncio.gather(*(asyncio.to_thread(one.start) for one in servers), return_exceptions=True)
        for error in started:
            if isinstance(error, BaseException):
                raise error
        yield
    finally:
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in servers))


def _sentence(error: PrivateBrokerError) -> str:
    """The error's first two lines as one: what failed, and the first of its last words."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
