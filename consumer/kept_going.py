"""Work that goes on beside the messages, whatever goes wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

PAUSE_S = 5.0

log = structlog.get_logger()


async def kept_going(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Do it, and after any error again, until it returns: what can wait for a while does not end the service."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("service.task_failed", task=name)
            await asyncio.sleep(PAUSE_S)
