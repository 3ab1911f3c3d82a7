"""`signalq console` in a process of its own, over the ledger and the broker of an environment."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.console.viewers import TOKEN
from benchmarks.contender import Failed, told

READY_TIMEOUT_S = 60.0
STARTED = "console.started"


def environment(broker_url: str, prefix: str, folder: Path, ledger_url: str | None = None) -> dict[str, str]:
    """What a console is told."""
    return told(broker_url, "", prefix, "http://127.0.0.1:1/", folder, ledger_url) | {
        "SIGNALQ_CONSOLE__PORT": "0",
        "SIGNALQ_OPS__TOKEN": TOKEN,
        "SIGNALQ_LOG__FORMAT": "json",
        "SIGNALQ_LOG__LEVEL": "info",
    }


@asynccontextmanager
async def console(variables: Mapping[str, str], folder: Path) -> AsyncIterator[str]:
    """Run a console; the block begins with its address, and ends it."""
    log = folder / "console.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - our own module
            [sys.executable, "-m", "signalq", "console"], env=dict(variables), stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not (started := _started(log)):
                if process.poll() is not None:
                    raise Failed(f"the console ended with {process.returncode}: {log.read_text('utf-8')[-500:]}")
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{started['port']}"
        if process.poll() is not None:
            raise Failed(f"the console ended with {process.returncode}: {log.read_text('utf-8')[-500:]}")
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, READY_TIMEOUT_S)


def _started(log: Path) -> dict[str, object] | None:
    """The line that says so; the last line may not be whole yet."""
    for line in log.read_text("utf-8").splitlines(keepends=True):
        if STARTED in line and line.endswith("\n"):
            found: dict[str, object] = json.loads(line)
            return found
    return None


def free_port() -> int:
    """A port of loopback on which nobody listens just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
