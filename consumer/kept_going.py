"""Tasks that no error ends."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

PAUSE_S = 5.0

log = structlog.get_logger()


async def kept_going(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run `work` until it returns; after an error, run it again: the service can do without it for PAUSE_S."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("service.task_failed", task=name)
            await asyncio.sleep(PAUSE_S)
