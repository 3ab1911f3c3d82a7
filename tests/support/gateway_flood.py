"""A stranger who floods the gateway, in a process of its own, so that it takes no time from the caller that is timed.

    python -m tests.support.gateway_flood PORT KIND COUNT      all at once
    python -m tests.support.gateway_flood PORT KIND COUNT 43   43 a second

Prints how often each status was answered; None stands for no answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp

from signalq.producers.gateway.answers import WEBHOOK_PATH

BODY_BYTES = 65_536
TIMEOUT_S = 60.0
JUNK = '{"connectorName":"main","connectorToken":"junk","action":"openLong",'


def _filled(item: Callable[[int], str], head: str = JUNK, tail: str = "}") -> bytes:
    """As many items as fit."""
    parts, room = [], BODY_BYTES - len(head) - len(tail)
    while (room := room - len(part := item(len(parts))) - 1) > 0:
        parts.append(part)
    return (head + ",".join(parts) + tail).encode()


# Each of 64 KiB, and each worst for another part of what looks at it.
BODIES: dict[str, Callable[[], bytes]] = {
    "unknown": lambda: _filled(lambda number: f'"{number:x}":1'),
    "duplicates": lambda: _filled(lambda number: f'"{number // 2:x}":1'),
    "twice": lambda: _filled(lambda _number: '"a":1'),
    "values": lambda: _filled(lambda _number: "1", head=JUNK + '"a":[', tail="]}"),
    "deep": lambda: b"[" * BODY_BYTES,
    "digits": lambda: _filled(lambda _number: "1" * (BODY_BYTES - 100), head=JUNK + '"fixed":'),
    "escapes": lambda: _filled(lambda _number: "\\u0041" * 10_900, head=JUNK + '"log":"', tail='"}'),
    "junk": lambda: b"%s%s" % (JUNK.encode(), b'"percent":"50"}'),
}


def request(kind: str) -> bytes:
    """A whole request; `crumbs` comes in chunks of one byte."""
    head = f"POST {WEBHOOK_PATH} HTTP/1.1\r\nHost: x\r\n"
    if kind == "crumbs":
        crumbs = b"".join(b"1\r\n%c\r\n" % byte for byte in BODIES["unknown"]())
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + crumbs + b"0\r\n\r\n"
    body = BODIES[kind]()
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _send(port: int, text: bytes, statuses: Counter[str]) -> None:
    status = "None"
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(text)
                status = (await reader.readuntil(b"\r\n")).split()[1].decode()
            finally:
                writer.transport.abort()
    statuses[status] += 1


async def flood(port: int, kind: str, count: int, rate_per_s: float | None) -> Counter[str]:
    """Send them, each over a connection of its own."""
    statuses: Counter[str] = Counter()
    text = request(kind)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_send(port, text, statuses))
            if rate_per_s is not None:
                await asyncio.sleep(1 / rate_per_s)
    return statuses


@asynccontextmanager
async def stranger(port: int, kind: str, count: int, rate_per_s: float | None = None) -> AsyncIterator[None]:
    """The same in a process of its own, for as long as the block takes, and to its end."""
    rate = [] if rate_per_s is None else [str(rate_per_s)]
    command = [sys.executable, "-m", "tests.support.gateway_flood", str(port), kind, str(count), *rate]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield
        assert process.stdout is not None
        said = (await process.stdout.read()).decode()
        assert await process.wait() == 0
        assert "'200'" not in said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def honest_ms(url: str, body_of: Callable[[int], bytes], count: int, every_s: float) -> list[float]:
    """What honest alerts take, in ms and sorted, sent at their time however slow the answers are; each is `ok`."""
    took: list[float] = []

    async def alert(session: aiohttp.ClientSession, number: int) -> None:
        began_s = time.monotonic()
        async with session.post(url + WEBHOOK_PATH, data=body_of(number)) as got:
            assert (got.status, await got.text()) == (200, "ok")
        took.append((time.monotonic() - began_s) * 1000)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as sending:
        for number in range(count):
            sending.create_task(alert(session, number))
            await asyncio.sleep(every_s)
    return sorted(took)


if __name__ == "__main__":
    _port, _kind, _count, *_rate = sys.argv[1:]
    found = asyncio.run(flood(int(_port), _kind, int(_count), float(_rate[0]) if _rate else None))
    sys.stdout.write(f"{dict(found)}\n")
