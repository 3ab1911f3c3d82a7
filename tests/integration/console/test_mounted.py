"""The console at `/` of a consumer: loaded when it is asked for, shed before it slows an order, ended first."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from signalq.consumer.telemetry.health import OpsServer
from signalq.ops.console import site as site_module
from signalq.ops.console.gate.guard import HEADERS
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.mounted import Mounted
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.shed import LATE_S, STREAMS_MAX
from signalq.ops.console.view import View
from tests.support.broker import Broker
from tests.support.commands import ROOT
from tests.support.consumer import Consumer
from tests.support.mounted_console import WATCHED, mounted, settings
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

TOKEN = "the-ops-token-of-a-consumer"
HTML = {"Accept": "text/html"}
TIMEOUT_S = 60.0

Client = aiohttp.ClientSession


async def status(client: Client, url: str, **headers: str) -> int:
    async with client.get(url, headers=headers) as got:
        await got.read()
        return got.status


# ---- loaded when it is asked for ----


async def test_nothing_of_the_pages_is_imported_before_one_is_asked_for() -> None:
    """In an interpreter of its own: this one has imported everything."""
    paths = ["/healthz", "/readyz", "/startupz", "/metrics", "/", "/"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.mounted_console", *paths, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate()
    told = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 0
    assert [(one["path"], one["status"]) for one in told] == [(path, 200) for path in paths]
    assert [one["modules"] for one in told[:4]] == [[]] * 4
    loaded = set(told[4]["modules"])
    assert {"jinja2", "signalq.ops.console.site", "signalq.ops.console.pages.all"} <= loaded <= set(WATCHED)


async def test_the_pages_are_loaded_once_for_all_that_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    usual = site_module.Site.__init__

    def counting(self: site_module.Site, *arguments: object, **options: object) -> None:
        made.append(self)
        usual(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(site_module.Site, "__init__", counting)
    async with mounted(settings()) as (_, _, url), Client() as client:
        assert made == []
        assert await asyncio.gather(*(status(client, url) for _ in range(4))) == [200] * 4
    assert len(made) == 1


async def test_a_missing_package_is_said_and_the_probes_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_nothing() -> None:
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")

    monkeypatch.setattr("signalq.ops.console.mounted._import", import_nothing)
    async with mounted(settings()) as (_, _, url), Client() as client:
        for _ in range(2):
            async with client.get(url) as got:
                assert got.status == 503
                assert "needs the package jinja2, which is not installed: pip install" in await got.text()
        assert await status(client, f"{url}/healthz") == 200


async def test_every_answer_has_all_headers_and_the_probes_answer_anybody() -> None:
    async with mounted(settings(ops={"token": TOKEN})) as (_, _, url), Client() as client:
        for path, expected in (("/", 401), ("/nothing", 404), ("/sign-in", 200), ("/healthz", 200), ("/metrics", 200)):
            async with client.get(url + path, headers={"Host": "127.0.0.1"}) as got:
                assert got.status == expected
                assert {name: got.headers.get(name) for name in HEADERS} == HEADERS
                assert got.headers["Server"] == "signalq"
        assert await status(client, f"{url}/healthz", Host="anything.example") == 200
        assert await status(client, url, Host="anything.example") == 403


async def test_the_consumer_alone_has_no_pages() -> None:
    """As `python -m signalq.consumer` runs it."""
    server = OpsServer(settings().ops, why_not_ready=lambda: None, registry=CollectorRegistry())
    port = await server.start()
    async with Client() as client:
        assert await status(client, f"http://127.0.0.1:{port}/healthz") == 200
        assert await status(client, f"http://127.0.0.1:{port}/") == 404
    assert server.pages_at is None
    server.drain()
    await server.stop()


# ---- its address ----


@pytest.mark.parametrize("url", [None, "https://desk.example/signalq"])
async def test_without_a_console_one_page_says_where_it_is(url: str | None) -> None:
    of = settings(ops={"console": False}, console={"url": url})
    async with mounted(of) as (_, server, here), Client() as client:
        assert server.pages_at == url
        async with client.get(here) as got:
            page = await got.text()
            assert (got.status, got.content_type) == (200, "text/html")
            assert {name: got.headers.get(name) for name in HEADERS} == HEADERS
        assert (f'<a href="{url}">' if url else "<code>signalq console</code>") in page
        assert await status(client, f"{here}/sign-in") == 404


async def test_the_link_is_on_the_terminal_and_opens_this_console(capsys: pytest.CaptureFixture[str]) -> None:
    async with mounted(settings(log={"format": "console"})) as (_, server, url), Client() as client:
        assert server.pages_at == f"{url}/"
        told = capsys.readouterr().err.splitlines()
        assert told[0] == f"the console is at {url}/"
        link = told[1].removeprefix("to act there, open once ")
        assert link.startswith(f"{url}/link/")
        async with client.get(link, headers=HTML) as got:
            assert got.status == 200
        origin = {"Sec-Fetch-Site": "same-origin"}
        async with client.post(link, data={"name": "bob"}, headers=origin, allow_redirects=False) as got:
            assert got.status == 303
            assert "Set-Cookie" in got.headers


async def test_a_log_for_programs_has_the_address_and_no_link(capsys: pytest.CaptureFixture[str]) -> None:
    async with mounted(settings(log={"format": "json"})) as (_, server, url):
        assert server.pages_at == f"{url}/"
    async with mounted(settings(log={"format": "console"}, ops={"token": TOKEN})) as (_, _, url):
        pass
    assert capsys.readouterr().err == f"the console is at {url}/\n"


# ---- its share ----


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Further pages: a stream that goes on until the event, and a switch."""
    over = asyncio.Event()

    async def stream(view: View) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(view.request)
        await response.write(b"first\n")
        await over.wait()
        return response

    async def ticks(view: View) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(view.request)
        while True:
            await response.write(b"tick\n")
            await asyncio.sleep(0.005)

    async def fails(view: View) -> web.StreamResponse:
        await web.StreamResponse().prepare(view.request)
        raise RuntimeError("after the beginning of the answer")

    async def switch(view: View) -> web.StreamResponse:
        return view.page("sign_out.html")

    further = (
        Route("GET", "/a-stream", stream, streams=True),
        Route("GET", "/a-ticking-stream", ticks, streams=True),
        Route("GET", "/a-failing-stream", fails, streams=True),
        Route("GET", "/a-switch", switch, is_urgent=True),
    )
    monkeypatch.setattr(site_module, "ROUTES", (*ROUTES, *further))
    return over


async def streaming(client: Client, url: str) -> aiohttp.ClientResponse:
    """A stream whose first line has come."""
    got = await client.get(f"{url}/a-stream")
    assert got.status == 200
    assert await got.content.readline() == b"first\n"
    return got


@pytest.mark.usefixtures("pages")
async def test_while_orders_make_the_loop_late_all_but_the_switch_is_refused() -> None:
    async with mounted(settings(), has_orders=True) as (pages, _, url), Client() as client:
        await status(client, url)
        for _ in range(2):
            pages._shed.was_late(LATE_S * 2)
        async with client.get(url, headers=HTML) as got:
            assert (got.status, got.headers["Retry-After"]) == (503, "5")
            assert "busy with orders" in await got.text()
        assert await status(client, f"{url}/a-stream") == 503
        assert await status(client, f"{url}/a-switch") == 200
        assert await status(client, f"{url}/sign-in") == 200
        assert await status(client, f"{url}/healthz") == 200


@pytest.mark.usefixtures("pages")
async def test_while_the_loop_is_late_without_orders_everything_is_answered() -> None:
    async with mounted(settings()) as (pages, _, url), Client() as client:
        assert await status(client, url) == 200
        for _ in range(2):
            pages._shed.was_late(LATE_S * 2)
        assert await status(client, url) == 200
        assert await status(client, f"{url}/a-switch") == 200


@pytest.mark.usefixtures("pages")
async def test_pages_wait_for_their_turn_and_are_refused_where_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mounted(settings()) as (pages, _, url), Client() as client:
        assert await status(client, url) == 200
        # As far as the share knows, no time goes by.
        monkeypatch.setattr(pages._shed, "_clock", lambda: 0.0)
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        monkeypatch.setattr(pages._shed, "_sleep", sleep)
        pages._shed._begun_s.clear()
        statuses = [await status(client, url) for _ in range(13)]
        assert statuses == [200] * 12 + [503]
        assert waits == [1.0] * 4 + [2.0] * 4
        assert await status(client, f"{url}/a-switch") == 200


async def test_a_consumer_has_so_many_streams_and_no_more(pages: asyncio.Event) -> None:
    async with mounted(settings()) as (_, _, url), Client() as client:
        open_ones = [await streaming(client, url) for _ in range(STREAMS_MAX)]
        assert {name: open_ones[0].headers.get(name) for name in HEADERS} == HEADERS
        async with client.get(f"{url}/a-stream") as got:
            assert (got.status, got.headers["Retry-After"]) == (503, "10")
        assert await status(client, url) == 200
        pages.set()
        for one in open_ones:
            assert await one.read() == b""
        (await streaming(client, url)).close()


@pytest.mark.usefixtures("pages")
async def test_a_stream_that_fails_is_logged_and_hung_up() -> None:
    async with mounted(settings()) as (_, _, url), Client() as client:
        with capture_logs() as logs:
            async with client.get(f"{url}/a-failing-stream") as got:
                assert got.status == 200
                with suppress(aiohttp.ClientError):
                    assert b"console failed" not in await got.read()
            await wait_until(lambda: logs, what="the line in the log")
        assert [line["event"] for line in logs] == ["console.failed"]


@pytest.mark.usefixtures("pages")
async def test_a_tab_that_closes_is_no_failure() -> None:
    async with mounted(settings()) as (pages, _, url), Client() as client:
        with capture_logs() as logs:
            got = await client.get(f"{url}/a-ticking-stream")
            assert await got.content.readline() == b"tick\n"
            site = pages._site
            assert site is not None
            assert len(site._streams) == 1
            got.close()
            await wait_until(lambda: not site._streams, what="the end of the stream")
        assert logs == []


@pytest.mark.usefixtures("pages")
async def test_a_consumer_that_drains_ends_the_streams_at_once_and_begins_none() -> None:
    async with mounted(settings()) as (_, server, url), Client() as client:
        open_ones = [await streaming(client, url) for _ in range(3)]
        server.drain()
        for one in open_ones:
            async with asyncio.timeout(TIMEOUT_S):
                with suppress(aiohttp.ClientError):
                    await one.read()
        for path in ("/a-stream", "/", "/a-switch"):
            async with client.get(url + path) as got:
                assert got.status == 503
                assert "this consumer ends" in await got.text()
        assert await status(client, f"{url}/healthz") == 200


# ---- in a real consumer ----


async def test_a_real_consumer_has_the_console_and_drains_as_quickly_with_streams(
    broker: Broker, prefix: str, webhook: Webhook
) -> None:
    command = ("-m", "signalq", "consume")
    async with (
        Consumer(broker.url, prefix, webhook.url, {"ops.token": TOKEN}, command=command) as consumer,
        Client() as client,
    ):
        line = await consumer.started()
        url = f"http://127.0.0.1:{line['ops_port']}"
        assert line["console"] == f"{url}/"
        assert await status(client, url, **HTML) == 200
        assert await status(client, url) == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert await status(client, url, **bearer) == 200
        got = await client.get(f"{url}/events", headers=bearer)
        assert got.status == (200 if any(route.path == "/events" for route in ROUTES) else 404)
        assert await consumer.terminate() == 0
        got.close()
        assert TOKEN not in consumer.log
        assert [line["event"] for line in consumer.lines][-2:] == ["service.draining", "service.stopped"]


def test_the_pages_are_what_a_consumer_wants() -> None:
    """By their shape: the consumer knows no console."""
    assert {"add_to", "listening", "drain"} <= set(dir(Mounted))
