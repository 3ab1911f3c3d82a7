"""signalq's consumer with a settings file, and when it says that it is ready."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import told

READY_TIMEOUT_S = 300.0
END_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Running:
    """A consumer that is ready, and how long that took from its start."""

    pid: int
    ready_after_s: float


@asynccontextmanager
async def running(
    broker_url: str, prefix: str, webhook_url: str, own_lanes: Iterable[str], folder: Path
) -> AsyncIterator[Running]:
    """Run a consumer whose connectors have these own lanes; the block begins when it is ready, and ends it."""
    settings, log = folder / f"{prefix}.toml", folder / f"{prefix}.log"
    settings.write_text("".join(f"[connectors.{name}]\n" for name in own_lanes), encoding="utf-8")
    environment = told(broker_url, "", prefix, webhook_url, folder) | {
        "SIGNALQ_CONFIG": str(settings),
        "SIGNALQ_LOG__LEVEL": "info",
        "SIGNALQ_DELIVERY__OPEN_MAX_AGE_S": "3600",
        "SIGNALQ_WEBHOOK__TIMEOUT_S": "120",
        "SIGNALQ_DELIVERY__DRAIN_TIMEOUT_S": "130",
    }
    began_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "signalq.consumer"], env=environment, stderr=output)  # noqa: ASYNC220 - our own module
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while b"service.started" not in log.read_bytes():
                if process.poll() is not None:
                    raise RuntimeError(f"the consumer ended with {process.returncode}: {log.read_text('utf-8')[-500:]}")
                await asyncio.sleep(0.05)
        yield Running(process.pid, time.monotonic() - began_s)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, END_TIMEOUT_S)
