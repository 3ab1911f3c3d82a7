"""A console beside a consumer's probes, as `consume` has it, without the consumer.

Run as a program it tells, in a fresh interpreter, when the pages' modules are imported: a line for each path of its
arguments that it asks for, with those of WATCHED that are there by then.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from signalq.consumer.telemetry.health import OpsServer
from signalq.ops.console.mounted import Mounted
from signalq.settings.sections import Settings

WATCHED = ("jinja2", "itsdangerous", "aiohttp_sse", "signalq.ops.console.site", "signalq.ops.console.pages.all")
NOWHERE: dict[str, Mapping[str, Any]] = {
    "ops": {"port": 0},
    "broker": {"url": "amqp://user:topsecret-b7@127.0.0.1:1/"},
    "ledger": {"url": "sqlite+aiosqlite:////nowhere/at-all.db"},
}


def settings(**sections: Mapping[str, Any]) -> Settings:
    """Settings that lead nowhere, and these on top of them."""
    return Settings.model_validate(sections | {name: {**NOWHERE[name], **sections.get(name, {})} for name in NOWHERE})


@asynccontextmanager
async def mounted(of: Settings, *, has_orders: bool = False) -> AsyncIterator[tuple[Mounted, OpsServer, str]]:
    """The pages, the server that they are in, and its address; the end is that of a consumer which has drained.

    Only where it `has_orders` may the consumer be too busy for pages, which it is on a busy machine.
    """
    pages = Mounted(lambda: of, lambda: has_orders)
    server = OpsServer(of.ops, why_not_ready=lambda: None, registry=CollectorRegistry(), pages=pages)
    port = await server.start()
    try:
        yield pages, server, f"http://127.0.0.1:{port}"
    finally:
        server.drain()
        await server.stop()


async def _tell(paths: list[str]) -> None:
    async with mounted(settings()) as (_, _, url), aiohttp.ClientSession() as client:
        for path in paths:
            async with client.get(url + path) as got:
                there = [name for name in WATCHED if name in sys.modules]
                sys.stdout.write(json.dumps({"path": path, "status": got.status, "modules": there}) + "\n")


if __name__ == "__main__":
    asyncio.run(_tell(sys.argv[1:]))
