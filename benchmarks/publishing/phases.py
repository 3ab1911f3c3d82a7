"""The phases of ./run bench in which orders are only published. Afterwards each is in the queue, once and in order."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from benchmarks.contender import Failed, python, told
from benchmarks.contenders import NAIVE, SIGNALQ
from benchmarks.endpoint import log_of
from benchmarks.figures import Figures
from benchmarks.load import Load
from benchmarks.publishing.own import as_argument
from benchmarks.site import Site
from benchmarks.track import SETTLE_S, SLACK_S, SLOWEST_PER_S
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.names import Names

NAMES = Names("bench-publishing")
BOTH = (SIGNALQ.name, NAIVE.name)
# No publisher POSTs.
NO_WEBHOOK = "http://127.0.0.1:9/"
LOG_TAIL_CHARACTERS = 800


@dataclass(frozen=True, slots=True)
class Sdk:
    """The SDK's `publish`, 256 at a time, beside aiormq's."""

    load: Load
    name: ClassVar[str] = "sdk"
    contenders: ClassVar[Sequence[str]] = BOTH

    @property
    def title(self) -> str:
        """The heading of its table."""
        return f"{self.load.orders:,} confirmed publishes, 256 at a time: the SDK's publish beside aiormq's"

    async def run(self, name: str, site: Site) -> Figures:
        """One contender, once; it measures itself."""
        module = {SIGNALQ.name: "benchmarks.publishing.sdk", NAIVE.name: "benchmarks.publishing.bare"}[name]
        done = await _published([*python(module), as_argument(self.load)], name, self.load, site)
        found = json.loads(done.output)
        return Figures(found["cpu_s"] / self.load.orders * 1e6, self.load.orders / found["took_s"])


@dataclass(frozen=True, slots=True)
class Lines:
    """`signalq publish FILE` beside a loop over the lines of the file."""

    load: Load
    name: ClassVar[str] = "lines"
    contenders: ClassVar[Sequence[str]] = BOTH

    @property
    def title(self) -> str:
        """The heading of its table."""
        return f"a file of {self.load.orders:,} lines: signalq publish beside a loop; CPU a line, with the start"

    async def run(self, name: str, site: Site) -> Figures:
        """One contender, once, as a whole process."""
        command = {
            SIGNALQ.name: [*python("signalq"), "publish", "--strategy", "benchmark"],
            NAIVE.name: python("benchmarks.publishing.lines"),
        }[name]
        file = site.folder / "orders.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(self.load.fields(number)) + "\n" for number in range(self.load.orders))
        done = await _published([*command, str(file)], name, self.load, site)
        return Figures(done.cpu_s / self.load.orders * 1e6, self.load.orders / done.took_s)


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended: what it printed, its CPU time, and its time."""

    output: str
    cpu_s: float
    took_s: float


async def _published(command: Sequence[str], who: str, load: Load, site: Site) -> Done:
    """Run a publisher; then take what it published out of the queue, and account for it."""
    async with await connect(site.broker_url, name="signalq benchmark") as connection:
        await Topology(NAMES).declare(connection)
        environment = told(site.broker_url, NAMES.orders, NAMES.prefix, NO_WEBHOOK, site.folder)
        done = await asyncio.to_thread(_run, command, environment, who, SLACK_S + load.orders / SLOWEST_PER_S)
        load.account(await _collected(connection, load.orders)).must_hold(who, keeps_order=True)
        return done


def _run(command: Sequence[str], environment: dict[str, str], who: str, timeout_s: float) -> Done:
    """No other child of this process may end meanwhile: its CPU time would be counted."""
    with tempfile.TemporaryDirectory(prefix="signalq-bench-") as state:
        before_s, began_s = _children_s(), time.monotonic()
        ended = subprocess.run(  # noqa: S603 - our own programs
            command,
            env=environment | {"STATE_DIRECTORY": str(Path(state))},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        took_s = time.monotonic() - began_s
    if ended.returncode:
        raise Failed(f"{who}: the publisher ended with {ended.returncode}: {ended.stderr[-LOG_TAIL_CHARACTERS:]}")
    return Done(ended.stdout, _children_s() - before_s, took_s)


def _children_s() -> float:
    """The CPU time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _collected(connection: AbstractConnection, orders: int) -> list[str]:
    """Take all orders out of the queue; returns their logs, and those of any that are too many."""
    logs: list[str] = []
    all_here = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        logs.append(log_of(message.body) or "")
        if len(logs) >= orders:
            all_here.set()

    channel = await connection.channel()
    await (await channel.get_queue(NAMES.orders)).consume(take, no_ack=True)
    try:
        async with asyncio.timeout(SLACK_S + orders / SLOWEST_PER_S):
            await all_here.wait()
        await asyncio.sleep(SETTLE_S)
    except TimeoutError:
        raise Failed(f"only {len(logs):,} of {orders:,} orders are in the queue.") from None
    finally:
        await channel.close()
    return logs
