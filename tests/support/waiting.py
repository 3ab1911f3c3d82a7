"""Waiting for something to become true: the only place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.profiling import spent

POLL_S, POLL_MAX_S = 0.005, 0.3
# A look may take this share of the time: one that asks the broker, or reads a long log, takes CPU that what it waits
# for needs.
LOOK_SHARE = 0.25
# How long a test waits for what must come. No promise: on a machine that is as busy as can be, everything takes longer.
PATIENCE_S = 60.0


async def wait_until(predicate: Callable[[], Any], timeout_s: float = PATIENCE_S, *, what: str = "") -> Any:
    """Poll `predicate` (a plain or an async function) until it gives something true, and return that.

    Raises AssertionError, naming `what` was waited for, after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        looked_s = time.monotonic()
        found = predicate()
        if inspect.isawaitable(found):
            found = await _bounded(found, deadline, what)
        if found:
            return found
        now_s = time.monotonic()
        if now_s > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what or inspect.getsource(predicate).strip()}")
        await asyncio.sleep(min(max(POLL_S, (now_s - looked_s) * (1 / LOOK_SHARE - 1)), POLL_MAX_S))


async def elapsed(seconds: float) -> None:
    """Let this much time go by: for a moment that is meant to be any, never in the hope that something has happened."""
    with spent("letting time go by"):
        await asyncio.sleep(seconds)


async def _bounded(awaitable: Awaitable[Any], deadline: float, what: str) -> Any:
    try:
        async with asyncio.timeout(max(deadline - time.monotonic(), POLL_S)):
            return await awaitable
    except TimeoutError:
        raise AssertionError(f"no answer in time while waiting for {what or 'a predicate'}") from None
