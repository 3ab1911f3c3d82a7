"""A consumer in a process of its own: what it is told, when it is ready, and what it uses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aio_pika.abc import AbstractConnection

from signalq.amqp.inspect import queue_depth
from signalq.names import Names

READY_TIMEOUT_S = 30.0
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def told(broker_url: str, queue: str, prefix: str, webhook_url: str, folder: Path) -> dict[str, str]:
    """The environment that tells any of the contenders where everything is."""
    return os.environ | {
        "BENCH_BROKER": broker_url,
        "BENCH_QUEUE": queue,
        "BENCH_WEBHOOK": webhook_url,
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_BROKER__PREFIX": prefix,
        "SIGNALQ_WEBHOOK__URL": webhook_url,
        "SIGNALQ_OPS__PORT": "0",
        "SIGNALQ_LEDGER__URL": f"sqlite+aiosqlite:///{folder / prefix}.db",
    }


@asynccontextmanager
async def consuming(
    module: str, environment: dict[str, str], connection: AbstractConnection, *queues: str
) -> AsyncIterator[int]:
    """Run a consumer; the block begins, with its process id, when it consumes all of `queues`, and ends it."""
    process = subprocess.Popen([sys.executable, "-m", module], env=environment, stderr=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - our own modules
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            for queue in queues:
                await _consumed(connection, queue, process)
        yield process.pid
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, READY_TIMEOUT_S)


async def _consumed(connection: AbstractConnection, queue: str, process: subprocess.Popen[bytes]) -> None:
    """Nothing tells that another process has begun to consume, so ask."""
    while (depth := await queue_depth(connection, queue)) is None or depth.consumers == 0:
        if process.poll() is not None:
            raise RuntimeError(f"the consumer ended with {process.returncode} before it consumed {queue}")
        await asyncio.sleep(0.1)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def resident_mb(pid: int) -> float:
    """The resident memory of a process (proc(5): statm), in 10^6 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / 1e6


def lanes(names: Names) -> tuple[str, str]:
    """The queues that signalq's consumer consumes once it is ready."""
    return names.orders, names.due
