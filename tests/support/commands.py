"""The commands, each as a process of its own, as a person starts it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from signalq.ops.__main__ import main
from tests.support.profiling import spent
from tests.support.warm import WarmCommand, command

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


async def start(*arguments: str) -> WarmCommand:
    """Start `signalq` with these arguments, in the environment of this process; returns at once."""
    return await command("ops", *arguments, environment=os.environ)


async def run(*arguments: str, stdin: bytes = b"", timeout_s: float = TIMEOUT_S) -> Ran:
    """Run it to its end."""
    with spent("running commands"):
        return await ended(await start(*arguments), stdin, timeout_s)


def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Ran:
    """Run it in this process: of a use that ends at once, one of its own would prove nothing more."""
    monkeypatch.setattr(sys, "argv", ["signalq", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    captured = capsys.readouterr()
    return Ran(int(left.value.code or 0), captured.out, captured.err)


async def ended(
    process: asyncio.subprocess.Process | WarmCommand, stdin: bytes = b"", timeout_s: float = TIMEOUT_S
) -> Ran:
    """Wait for the end of one that was started."""
    async with asyncio.timeout(timeout_s):
        out, err = await process.communicate(stdin if process.stdin is not None else None)
    return Ran(process.returncode or 0, (out or b"").decode(), (err or b"").decode())
