"""`signalq gateway` in a process of its own, and a caller of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from signalq.producers.gateway.answers import INTENT_ID_HEADER, WEBHOOK_PATH
from tests.support.waiting import wait_until
from tests.support.warm import WarmCommand, command

TOKEN = "the-right-token"
ALERT = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
SETTINGS = {"CONNECTORS__MAIN__TOKEN": TOKEN}


class Front:
    """A running gateway."""

    def __init__(self, process: WarmCommand, port: int, log: list[dict[str, Any]]) -> None:
        self.process = process
        self.log = log
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def post(self, body: object, path: str | URL = WEBHOOK_PATH, **headers: str) -> tuple[int, str]:
        """The status and the body of the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(f"{self.url}{path}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=data, headers=headers) as got,
        ):
            return got.status, await got.text()

    async def ordered(self, body: object) -> list[str]:
        """The intent_id of each order of a body that must be answered `ok`."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}{WEBHOOK_PATH}", data=data) as got,
        ):
            assert (got.status, await got.text()) == (200, "ok")
            return got.headers[INTENT_ID_HEADER].split(", ")

    async def get(self, path: str) -> tuple[int, str]:
        """The status and the body of the answer."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as got:
            return got.status, await got.text()

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under this name."""
        return [line for line in self.log if line["event"] == name]


@asynccontextmanager
async def gateway(
    url: str, prefix: str, *, beside: Mapping[str, str] | None = None, **settings: str
) -> AsyncIterator[Front]:
    """A gateway in a process of its own, connected; at the end it is asked to stop, and does.

    Beside its settings it has these variables alone.
    """
    variables = {"BROKER__URL": url, "BROKER__PREFIX": prefix, "GATEWAY__PORT": "0", "LOG__FORMAT": "json"}
    environment = {f"SIGNALQ_{name}": value for name, value in (variables | SETTINGS | settings).items()}
    environment |= beside or {}
    process = await command("ops", "gateway", environment=environment)
    log: list[dict[str, Any]] = []
    reading = asyncio.create_task(_read(process, log))
    try:
        await wait_until(lambda: log or process.returncode is not None, what="the gateway's first line")
        await wait_until(lambda: [line for line in log if line["event"] == "gateway.started"], what="its start")
        front = Front(process, next(line["port"] for line in log if line["event"] == "gateway.started"), log)

        async def is_ready() -> bool:
            return (await front.get("/readyz"))[0] == 200

        await wait_until(is_ready, what="its readiness")
        yield front
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reading


async def _read(process: WarmCommand, log: list[dict[str, Any]]) -> None:
    async for line in process.stderr:
        text = line.decode()
        log.append(json.loads(text) if text.startswith("{") else {"event": "text", "text": text})
