"""A stranger who publishes as much as they can, from a process of their own.

await flood(broker.url, "", "signalq.orders", 1500, "unknown fields")
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiormq
from pamqp.commands import Basic

REPOSITORY = Path(__file__).parents[2]
BODY_BYTES = 65_000
AT_ONCE = 200
TIMEOUT_S = 300.0
DELAY_S = 60


def _filled(opening: str, repeated: Callable[[int], str], closing: str, size: int = BODY_BYTES) -> bytes:
    text, number = opening, 0
    parts = [opening]
    length = len(text) + len(closing)
    while length < size - 40:
        parts.append(repeated(number))
        length += len(parts[-1])
        number += 1
    return ("".join(parts) + closing).encode()


ORDER = '"connectorName":"flood","connectorToken":"t","action":"buy","percent":"1"'
KINDS: dict[str, Callable[[int], bytes]] = {
    "unknown fields": lambda _: _filled("{" + ORDER, lambda number: f',"f{number}":1', "}"),
    "one key again and again": lambda _: _filled("{" + ORDER, lambda _: ',"action":"buy"', "}"),
    "escapes and signs": lambda _: _filled("{" + ORDER + ',"log":"', lambda _: "\\n,", '"'),
    "small junk": lambda _: b"{}",
    "a mebibyte": lambda _: b"x" * 1_048_576,
    "10 MiB": lambda _: b"x" * 10 * 1_048_576,
    "50 MiB": lambda _: b"x" * 50 * 1_048_576,
    # Due within one second, DELAY_S after the flood began.
    "delayed orders": lambda number: json.dumps(
        {
            "connectorName": f"c{number % 50}",
            "connectorToken": "t",
            "action": "buy",
            "percent": "1",
            "clientOrderId": str(number),
            "delaySeconds": DELAY_S + number % 1000 / 1000,
            "log": "x" * 59_800,
        }
    ).encode(),
    "orders of many connectors": lambda number: (
        f'{{"connectorName":"many{number % 200}","connectorToken":"t","action":"buy","percent":"1"}}'.encode()
    ),
    "small loud orders": lambda _: b'{"connectorName":"loud","connectorToken":"t","action":"buy","percent":"1"}',
}


async def flood(url: str, exchange: str, key: str, count: int, kind: str) -> None:
    """Publish `count` messages of a kind as fast as they go; return once all are confirmed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.flood", url, exchange, key, str(count), kind), cwd=REPOSITORY
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _publish(url: str, exchange: str, key: str, count: int, kind: str) -> None:
    connection = await aiormq.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    created_ms = time.time_ns() // 1_000_000
    places = asyncio.Semaphore(AT_ONCE if "MiB" not in kind else 2)

    async def one(number: int) -> None:
        async with places:
            await channel.basic_publish(
                KINDS[kind](number),
                exchange=exchange,
                routing_key=key,
                properties=Basic.Properties(
                    delivery_mode=2, message_id=f"{kind} {number}", headers={"signalq-created-ms": created_ms}
                ),
            )

    await asyncio.gather(*(one(number) for number in range(count)))
    await connection.close()


if __name__ == "__main__":
    url, exchange, key, count, kind = sys.argv[1:]
    asyncio.run(_publish(url, exchange, key, int(count), kind))
