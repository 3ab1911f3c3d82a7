"""A gateway in a process of its own, signalq's or the peer, and the queue behind it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from signalq.amqp.connection import connect
from signalq.amqp.inspect import queue_depth
from signalq.amqp.topology import Topology
from signalq.names import Names

CONNECTOR = "main"
TOKEN = "benchmark"  # noqa: S105 - not a secret
START_TIMEOUT_S = 30.0
END_TIMEOUT_S = 30.0
COLLECT_TIMEOUT_S = 60.0
PREFETCH = 500
QUIET_S = 6.0
# How long a count has to stay the same to be believed: the broker counts a moment after it confirms.
SETTLED_S = 1.0

MODULES = {"signalq gateway": ["ops", "gateway"], "naive aiohttp + aio-pika": ["benchmarks.gateway.naive"]}


async def declared(broker_url: str, *broker: Names) -> None:
    """Make the queues of all, and give RabbitMQ the time to write their names down: it does so seconds later."""
    async with await connect(broker_url, name="signalq benchmark") as connection:
        for names in broker:
            await Topology(names).declare(connection)
    await asyncio.sleep(QUIET_S)


@asynccontextmanager
async def running(kind: str, broker_url: str, names: Names, folder: Path) -> AsyncIterator[str]:
    """Run a gateway of MODULES; the block begins, with its address, when it listens and is connected, and ends it."""
    environment = os.environ | {
        "BENCH_BROKER": broker_url,
        "BENCH_EXCHANGE": names.orders,
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_BROKER__PREFIX": names.prefix,
        "SIGNALQ_GATEWAY__PORT": "0",
        "SIGNALQ_CONNECTORS__MAIN__TOKEN": TOKEN,
        "SIGNALQ_LOG__FORMAT": "json",
    }
    log = folder / f"{names.prefix}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", *MODULES[kind]]
        process = subprocess.Popen(command, env=environment, stderr=output)  # noqa: ASYNC220, S603 - our own modules
    try:
        yield f"http://127.0.0.1:{await _port(process, log)}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, END_TIMEOUT_S)


async def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    async with asyncio.timeout(START_TIMEOUT_S):
        while process.poll() is None:
            if port := _told_port(log):
                return port
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the gateway ended with {process.returncode}: see {log}")


def _told_port(log: Path) -> int | None:
    for line in log.read_text("utf-8").splitlines():
        if line.startswith("{") and (told := json.loads(line))["event"] == "gateway.started":
            return int(told["port"])
    return None


async def ready_count(broker_url: str, queue: str) -> int:
    """How many messages wait there, once that does not change any more."""
    async with await connect(broker_url, name="signalq benchmark") as connection, asyncio.timeout(COLLECT_TIMEOUT_S):
        before = -1
        while True:
            depth = await queue_depth(connection, queue)
            count = depth.ready if depth is not None else 0
            if count == before:
                return count
            before = count
            await asyncio.sleep(SETTLED_S)


async def collected(broker_url: str, queue: str) -> list[tuple[str, bytes]]:
    """Take all messages: the message_id and the body of each."""
    wanted = await ready_count(broker_url, queue)
    found: list[tuple[str, bytes]] = []
    if not wanted:
        return found
    all_here = asyncio.Event()

    async def take(message: AbstractIncomingMessage) -> None:
        await message.ack()
        found.append((message.message_id or "", message.body))
        if len(found) >= wanted:
            all_here.set()

    async with await aio_pika.connect(broker_url) as connection, asyncio.timeout(COLLECT_TIMEOUT_S):
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        await (await channel.get_queue(queue)).consume(take)
        await all_here.wait()
    return found
