"""The health checks of containers, run when they are due: podman leaves that to systemd, which is not in here."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

import aiohttp

from tests.support.waiting import elapsed

LOOK_S = 0.5
# A container that is not healthy yet is asked this often, others at their own interval.
EAGER_S = 2.0
# What podman itself takes, beside the check's own time-out, which this version of podman does not keep.
MORE_S = 5.0
NANOSECONDS = 1_000_000_000

Json = dict[str, Any]


class Service(Protocol):
    """What is needed of podman here."""

    async def containers(self) -> list[Json]: ...

    async def check_health(self, container: str) -> None: ...


async def keep_health(podman: Service) -> None:
    """Look for checks that are due, until canceled; one that hangs holds up no other."""
    due_s: dict[str, float] = {}
    running: dict[str, asyncio.Task[None]] = {}
    while True:
        for container in await podman.containers():
            name, now_s = container["Id"], time.monotonic()
            is_busy = name in running and not running[name].done()
            if is_checked(container) and not is_busy and now_s >= due_s.get(name, now_s):
                due_s[name] = now_s + interval_s(container)
                running[name] = asyncio.create_task(_check(podman, container), name=f"health of {container['Name']}")
        await elapsed(LOOK_S)


def is_checked(container: Json) -> bool:
    """Whether it runs, and has a check that is on."""
    test = (container["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    return container["State"]["Status"] == "running" and test != ["NONE"]


def interval_s(container: Json) -> float:
    """The seconds to its next check."""
    status = (container["State"].get("Health") or {}).get("Status")
    return float(container["Config"]["Healthcheck"]["Interval"] / NANOSECONDS) if status == "healthy" else EAGER_S


async def _check(podman: Service, container: Json) -> None:
    try:
        async with asyncio.timeout(container["Config"]["Healthcheck"]["Timeout"] / NANOSECONDS + MORE_S):
            await podman.check_health(container["Id"])
    except (TimeoutError, aiohttp.ClientError) as error:
        logging.getLogger(__name__).warning("%s was not checked: %r", container["Name"], error)
