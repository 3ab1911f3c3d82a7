"""The publishers of the phase `sdk` measure themselves, so that their start is no part of the figures."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TypeVar

from benchmarks.load import Load

IN_FLIGHT = 256
Item = TypeVar("Item")


def as_argument(load: Load) -> str:
    """A load for the command line of a publisher."""
    return json.dumps(asdict(load))


def told_load() -> Load:
    """The load that this process was started with."""
    return Load(**json.loads(sys.argv[1]))


async def measured(publish: Callable[[Item], Awaitable[object]], items: Sequence[Item]) -> None:
    """Publish all, IN_FLIGHT at a time, and print what that took: seconds of CPU, and seconds."""
    ahead = iter(items)

    async def one_after_the_other() -> None:
        for item in ahead:
            await publish(item)

    cpu_s, began_s = time.process_time(), time.monotonic()
    await asyncio.gather(*(one_after_the_other() for _ in range(IN_FLIGHT)))
    print(json.dumps({"cpu_s": time.process_time() - cpu_s, "took_s": time.monotonic() - began_s}))
