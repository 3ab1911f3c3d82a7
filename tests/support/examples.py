"""The example programs for other languages, each as the process that a person starts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from signalq.ops.sandbox.server import Sandbox
from tests.support.commands import Ran, ended
from tests.support.consumer import Consumer

ROOT = Path(__file__).parents[2]
TOKEN = "the-token-of-main"
CONFIG = f'[connectors.main]\ntoken = "{TOKEN}"\n'


async def run(*command: str, stdin: bytes = b"", environment: Mapping[str, str], timeout_s: float = 60.0) -> Ran:
    """Run it to its end; of this process's environment it gets nothing of signalq's own."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALQ_")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**inherited, **environment}, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        return await ended(process, stdin, timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def platform(broker_url: str, prefix: str) -> AsyncIterator[tuple[Sandbox, Consumer]]:
    """A consumer, whose connector `main` has a token, and the sandbox that it POSTs to."""
    async with Sandbox() as sandbox, Consumer(broker_url, prefix, sandbox.url, config=CONFIG) as consumer:
        await consumer.started()
        yield sandbox, consumer
