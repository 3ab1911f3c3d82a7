"""The demo's consumer: `signalq consume` in a process of its own, with a log and a ledger that go with it."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from signalq.ops.terminal import one_time_link
from signalq.ops.terminal.errors import CommandFailed

START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 30.0
LOG_LINES_SHOWN = 10


@asynccontextmanager
async def running_consumer(broker_url: str, webhook_url: str) -> AsyncIterator[str]:
    """Run it from ready to drained, with the link to its console. Raises CommandFailed if it ends with an error."""
    with tempfile.TemporaryDirectory(prefix="signalq-demo-") as folder:
        log = Path(folder) / "consume.log"
        with log.open("wb") as sink:
            secret = one_time_link.new_secret()
            environment = _environment(broker_url, webhook_url, folder) | {one_time_link.VARIABLE: secret}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "signalq", "consume", env=environment, stdin=subprocess.DEVNULL, stderr=sink
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                # The other process says that it has started in its log alone.
                while (port := _ops_port(log)) is None:
                    if process.returncode is not None:
                        break
                    await asyncio.sleep(0.05)
            if process.returncode is None:
                yield one_time_link.link_at(f"http://127.0.0.1:{port}", secret)
                process.terminate()
            status = await asyncio.wait_for(process.wait(), DRAIN_TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status != 0:
            last = "\n".join(log.read_text("utf-8").splitlines()[-LOG_LINES_SHOWN:])
            raise CommandFailed(f"signalq consume ended with {status}; the end of its log:\n{last}")


def _ops_port(log: Path) -> int | None:
    """The port that it says in its log once it has started; None before that."""
    whole, _, _ = log.read_text("utf-8").rpartition("\n")
    started = [line for line in whole.splitlines() if '"service.started"' in line]
    return int(json.loads(started[0])["ops_port"]) if started else None


def _environment(broker_url: str, webhook_url: str, folder: str) -> dict[str, str]:
    """The environment of this process, with the demo's settings in place of any others."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("SIGNALQ_")}
    return environment | {
        # None, or the one of the working folder would be found, and might send the demo's orders elsewhere.
        "SIGNALQ_CONFIG": os.devnull,
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_WEBHOOK__URL": webhook_url,
        "SIGNALQ_LEDGER__URL": f"sqlite+aiosqlite:///{folder}/ledger.db",
        "SIGNALQ_OPS__PORT": "0",
        "SIGNALQ_LOG__FORMAT": "json",
    }
