"""The commands, each as the process that a person starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its standard output as JSON, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Signalq = Callable[..., Awaitable[Ran]]


async def start(*arguments: str) -> asyncio.subprocess.Process:
    """Start `signalq` with these arguments, in the environment of this process; returns at once."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops", *arguments),
        cwd=ROOT,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=dict(os.environ),
        # Whoever runs the tests in the background of a shell ignores SIGINT, and would hand that down.
        preexec_fn=_heed_sigint,
    )


async def run(*arguments: str, stdin: bytes = b"", timeout_s: float = TIMEOUT_S) -> Ran:
    """Run it to its end."""
    return await ended(await start(*arguments), stdin, timeout_s)


async def ended(process: asyncio.subprocess.Process, stdin: bytes = b"", timeout_s: float = TIMEOUT_S) -> Ran:
    """Wait for the end of one that was started."""
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate(stdin if process.stdin is not None else None)
    return Ran(process.returncode or 0, (out or b"").decode(), (err or b"").decode())


def _heed_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
