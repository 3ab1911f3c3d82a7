"""How long a page takes over a large ledger: each page again and again, one request after the other."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp

from benchmarks.console.viewers import signed_in
from benchmarks.contender import Failed
from benchmarks.progress import progress

WARM_UP_REQUESTS = 3
_ORDER = re.compile(r'href="/orders/([0-9a-f]{32})')
_GROUP = re.compile(r"[?&;]open=([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Answers:
    """Of one page: the time until its last byte was there."""

    p50_ms: float
    p95_ms: float
    most_ms: float


async def shown(session: aiohttp.ClientSession, address: str, pattern: re.Pattern[str]) -> str:
    """The first thing of this kind that a page leads to."""
    async with session.get(address) as answer:
        found = pattern.search(await answer.text())
    if found is None:
        raise Failed(f"{address} has nothing like {pattern.pattern}")
    return found[1]


def addresses(order: str, group: str, connector: str) -> Mapping[str, str]:
    """Every page, by what it is, with the filters that people use."""
    return {
        "overview": "/",
        "lane": f"/lanes/{quote(connector)}",
        "dead letters": "/dead",
        "a group of them": f"/dead?open={group}",
        "schedule": "/schedule",
        "orders": "/orders",
        "orders, by status": "/orders?q=status:dead",
        "orders, by connector": f"/orders?q=connector:{quote(connector)}",
        "orders, by client's id": "/orders?q=co-300",
        "orders, by an id's beginning": f"/orders?q={order[:8]}",
        "an order": f"/orders/{order}",
        "activity": "/activity",
    }


async def measure(url: str, connector: str, requests: int) -> dict[str, Answers]:
    """So many requests of each page."""
    async with signed_in(url) as session:
        order = await shown(session, f"{url}/orders", _ORDER)
        group = await shown(session, f"{url}/dead", _GROUP)
        pages = addresses(order, group, connector)
        return {name: await _measured(session, url + path, requests, name) for name, path in pages.items()}


async def _measured(session: aiohttp.ClientSession, address: str, requests: int, name: str) -> Answers:
    progress(f"{name}: {requests} requests")
    times_ms = [await took_ms(session, address) for _ in range(WARM_UP_REQUESTS + requests)]
    return spread(times_ms[WARM_UP_REQUESTS:])


def spread(times_ms: Sequence[float]) -> Answers:
    """The percentiles of these."""
    percentiles = statistics.quantiles(times_ms, n=100, method="inclusive")
    return Answers(percentiles[49], percentiles[94], max(times_ms))


async def took_ms(session: aiohttp.ClientSession, address: str) -> float:
    """The time of one request. Raises Failed where it is not answered well."""
    began_s = time.monotonic()
    async with session.get(address) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise Failed(f"{address} answered {answer.status}: {text[-300:]}")
    return (time.monotonic() - began_s) * 1000
