"""The stream of events, over HTTP: what it tells, whom it lets in, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import pytest

from signalq.ops.console.gate.guard import HEADERS
from signalq.ops.console.moment.snapshot import REGIONS
from signalq.ops.console.pages import events
from tests.support.console_site import Browser, OpenConsole
from tests.support.graveyard import dead, record
from tests.support.waiting import PATIENCE_S, wait_until


@dataclass
class Stream:
    """An open stream."""

    answer: aiohttp.ClientResponse

    async def next(self) -> dict[str, str]:
        """The fields of the next event; pings are none. Raises EOFError at the end of the stream."""
        found: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_S):
            while line := (await self.answer.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name and not line.startswith(":"):
                    found[name] = value
                elif found:
                    return found
        raise EOFError

    async def named(self, name: str) -> dict[str, str]:
        """The next event of this name."""
        while (found := await self.next())["event"] != name:
            pass
        return found

    async def told(self, region: str) -> None:
        """Wait until a region is told of."""
        while region not in (await self.named("changed"))["data"].split():
            pass

    async def ended(self) -> None:
        """Wait until the console ends it."""
        with suppress(EOFError):
            while True:
                await self.next()


@asynccontextmanager
async def opened(browser: Browser, **headers: str) -> AsyncIterator[Stream]:
    """A stream of this browser."""
    sent = {"Accept": "text/event-stream", "Sec-Fetch-Site": "same-origin", **headers}
    no_limit = aiohttp.ClientTimeout(total=None)
    async with browser.session.get(f"{browser.url}/events", headers=sent, timeout=no_limit) as answer:
        yield Stream(answer)


async def test_a_stream_tells_of_everything_first_and_then_of_what_changes(
    console: OpenConsole, alice: Browser
) -> None:
    async with opened(alice) as stream:
        first = await stream.next()
        assert (first["event"], set(first["data"].split())) == ("changed", REGIONS)
        assert int(first["retry"]) == events.RETRY_MS
        assert 1 <= int(first["id"]) <= console.desk.watch.latest.number
        clock = json.loads((await stream.next())["data"])
        assert clock["now"] >= clock["ledger"] > 0
        assert clock["broker"] is None
        await record(console.store.url, [dead(1)])
        await console.desk.watch.look_now()
        await stream.told("letters")
        console.desk.watch.tell("jobs")
        await stream.told("jobs")
        later = json.loads((await stream.named("clock"))["data"])
        assert later["now"] > clock["now"]


async def test_no_figure_and_no_name_is_in_the_stream(console: OpenConsole, alice: Browser) -> None:
    await record(console.store.url, [dead(1, connectorName="planted-name")])
    async with opened(alice) as stream:
        for _ in range(4):
            found = await stream.next()
            if found["event"] == "changed":
                assert set(found["data"].split()) <= REGIONS
            else:
                assert set(json.loads(found["data"])) == {"now", "ledger", "broker"}


async def test_a_stream_has_the_headers_of_every_answer_and_its_own(alice: Browser) -> None:
    async with opened(alice) as stream:
        headers = stream.answer.headers
        assert stream.answer.status == 200
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["X-Accel-Buffering"] == "no"
        assert {name: headers[name] for name in HEADERS} == dict(HEADERS)


async def test_a_stranger_and_another_method_get_no_stream(console: OpenConsole, alice: Browser) -> None:
    stranger = await console.browser()
    assert (await stranger.ask("GET", "/events", status=None, follow=False, headers={"Accept": "*/*"})).status == 401
    assert (await alice.ask("GET", "/events?since=1", status=None)).status == 400
    assert (await alice.ask("HEAD", "/events", status=None)).status == 405
    assert (await alice.ask("POST", "/events", status=None)).status == 405
    wall = await console.browser("wall", role="view")
    async with opened(wall) as stream:
        assert (await stream.next())["event"] == "changed"


async def test_a_browser_that_goes_is_no_error_and_its_place_is_free_again(
    console: OpenConsole, alice: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(alice) as stream:
        await stream.next()
        assert console.desk.watch.listeners == 1
    await wait_until(lambda: console.desk.watch.listeners == 0, what="the end of the stream")
    written = capsys.readouterr()
    assert "Traceback" not in written.out + written.err


async def test_streams_are_bounded_and_a_further_one_is_told_so(
    console: OpenConsole, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.site, "_streams_max", 2)
    async with opened(alice) as first, opened(alice) as second:
        await first.next()
        await second.next()
        refused = await alice.ask("GET", "/events", status=503, headers={"Accept": "*/*"})
        assert "2 browsers follow the changes here already" in refused.text
    await wait_until(lambda: console.desk.watch.listeners == 0, what="the end of both")
    async with opened(alice) as third:
        assert (await third.next())["event"] == "changed"


async def test_a_stream_ends_at_once_with_the_console(console: OpenConsole, alice: Browser) -> None:
    async with opened(alice) as stream:
        await stream.next()
        await console.desk.watch.close()
        await stream.ended()
        assert console.desk.watch.listeners == 0


async def test_a_stream_ends_after_a_while_so_that_the_next_one_asks_anew_who_looks(
    alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "STREAM_S_MAX", 0.5)
    async with opened(alice) as stream:
        await stream.ended()
