"""A consumer in a process of its own: what it is told, when it is ready, and what it uses."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from aio_pika.abc import AbstractConnection

from signalq.amqp.inspect import queue_depth
from signalq.names import Names

READY_TIMEOUT_S = 30.0
LOG_TAIL_BYTES = 800
# An order that waits for its turn in a benchmark is not too old.
OPEN_MAX_AGE_S = 86_400
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Failed(RuntimeError):
    """A contender did not do what is measured; one sentence says what."""


def python(module: str) -> list[str]:
    """The command line that runs one of our modules."""
    return [sys.executable, "-m", module]


def told(
    broker_url: str, queue: str, prefix: str, webhook_url: str, folder: Path, ledger_url: str | None = None
) -> dict[str, str]:
    """The environment that tells any of the contenders where everything is. The ledger is a file, if none is named."""
    return os.environ | {
        "BENCH_BROKER": broker_url,
        "BENCH_QUEUE": queue,
        "BENCH_WEBHOOK": webhook_url,
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_BROKER__PREFIX": prefix,
        "SIGNALQ_WEBHOOK__URL": webhook_url,
        "SIGNALQ_OPS__PORT": "0",
        "SIGNALQ_DELIVERY__OPEN_MAX_AGE_S": str(OPEN_MAX_AGE_S),
        "SIGNALQ_LEDGER__URL": ledger_url or f"sqlite+aiosqlite:///{folder / prefix}.db",
    }


@asynccontextmanager
async def consuming(
    command: Sequence[str], environment: dict[str, str], connection: AbstractConnection, *queues: str
) -> AsyncIterator[int]:
    """Run a consumer; the block begins, with its process id, when it consumes all of `queues`, and ends it.

    Its log goes to a file, as a service's does. Raises Failed, with the end of the log, where it ended by itself.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603, ASYNC220 - our own programs
        try:
            await _until_ready(process, log, connection, queues)
            yield process.pid
            _must_run(process, log)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, READY_TIMEOUT_S)


async def _until_ready(
    process: subprocess.Popen[bytes], log: IO[bytes], connection: AbstractConnection, queues: Sequence[str]
) -> None:
    """Nothing tells that another process has begun to consume, so ask the broker."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await _all_consumed(connection, queues):
                _must_run(process, log)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise Failed(f"the consumer is not ready after {READY_TIMEOUT_S:g} s: {_end_of(log)}") from None


async def _all_consumed(connection: AbstractConnection, queues: Sequence[str]) -> bool:
    depths = [await queue_depth(connection, queue) for queue in queues]
    return all(depth is not None and depth.consumers > 0 for depth in depths)


def _must_run(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    if process.poll() is not None:
        raise Failed(f"the consumer ended with {process.returncode}: {_end_of(log)}")


def _end_of(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
    return log.read().decode(errors="replace")


def cpu_seconds(pid: int) -> float:
    """The time that all threads of a process have been on a CPU, those that ended included, to the ns.

    The number of the clock is what clock_getcpuclockid(3) makes of a process id on Linux.
    """
    return time.clock_gettime(~pid << 3 | 2)


def resident_mb(pid: int) -> float:
    """The resident memory of a process (proc(5): statm), in 10^6 bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / 1e6


def lanes(names: Names) -> tuple[str, str]:
    """The queues that signalq's consumer consumes once it is ready."""
    return names.orders, names.due
