"""`signalq console` as a process: its start, its link, its end with streams that go on, and a port that is taken."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from signalq.ops.console.pages.all import ROUTES
from tests.support.commands import run, start
from tests.support.warm import WarmCommand

TOKEN = "the-ops-token-of-a-process"
TIMEOUT_S = 60.0


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings of a console without a broker, without a ledger: it starts all the same, and makes none."""
    for name, value in {
        "SIGNALQ_CONFIG": str(tmp_path / "signalq.toml"),
        "SIGNALQ_BROKER__URL": "amqp://user:topsecret-b7@127.0.0.1:1/",
        "SIGNALQ_LEDGER__URL": f"sqlite:///{tmp_path}/none.db",
        "SIGNALQ_CONSOLE__PORT": "0",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "signalq.toml").write_text("", encoding="utf-8")
    yield tmp_path
    assert list(tmp_path.glob("*.db")) == []


@asynccontextmanager
async def console(lines: int) -> AsyncIterator[tuple[WarmCommand, list[str]]]:
    """A console, and the first so many lines that it writes; killed at the end if it still runs."""
    process = await start("console")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield process, [(await process.stderr.readline()).decode().rstrip("\n") for _ in range(lines)]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: WarmCommand) -> list[str]:
    """Ask it to end, which it does with status 0; the rest of its lines."""
    process.send_signal(signal.SIGTERM)
    rest = (await process.stderr.read()).decode().splitlines()
    assert await process.wait() == 0
    return rest


async def test_the_console_starts_without_a_broker_and_a_ledger_and_ends_in_order(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_OPS__TOKEN", TOKEN)
    async with console(1) as (process, (line,)), aiohttp.ClientSession() as client:
        started = json.loads(line)
        assert (started["event"], started["level"]) == ("console.started", "info")
        url = f"http://127.0.0.1:{started['port']}"
        assert started["address"] == f"{url}/"
        for path, status, text in (("/healthz", 200, "ok"), ("/readyz", 200, "ready"), ("/startupz", 200, "started")):
            async with client.get(url + path) as got:
                assert (got.status, (await got.text()).strip()) == (status, text)
        async with client.get(f"{url}/metrics") as got:
            assert "signalq_console_streams 0.0" in await got.text()
        async with client.get(url) as got:
            assert got.status == 401
        rest = await ended(process)
    assert [json.loads(one)["event"] for one in rest] == ["console.stopped"]


async def test_the_end_waits_for_no_stream_and_no_silent_connection(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_OPS__TOKEN", TOKEN)
    async with console(1) as (process, (line,)), aiohttp.ClientSession() as client:
        port = json.loads(line)["port"]
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        streams = [await client.get(f"http://127.0.0.1:{port}/events", headers=bearer) for _ in range(3)]
        has_stream = any(route.path == "/events" for route in ROUTES)
        assert {got.status for got in streams} == {200 if has_stream else 404}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")  # the rest never comes
        rest = await ended(process)
        for got in streams:
            with suppress(aiohttp.ClientError):
                await got.read()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
    assert [json.loads(one)["event"] for one in rest] == ["console.stopped"]


async def test_the_start_prints_the_link_for_a_person_and_it_works_once(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LOG__FORMAT", "console")
    monkeypatch.setenv("NO_COLOR", "1")
    async with console(3) as (process, lines), aiohttp.ClientSession() as client:
        assert lines[0].startswith("the console is at http://127.0.0.1:")
        assert "console.started" in lines[2]
        link = lines[1].removeprefix("to act there, open once ")
        headers = {"Sec-Fetch-Site": "same-origin"}
        for status in (303, 403):
            async with client.post(link, data={"name": "bob"}, headers=headers, allow_redirects=False) as got:
                assert got.status == status
        rest = await ended(process)
    secret = link.rpartition("/")[2]
    assert not any(secret in line for line in [*rest, lines[2]]), "it is in the log"
    assert any("console.signed_in" in line and "bob" in line for line in rest)


async def test_for_programs_there_is_no_link(environment: Path) -> None:
    async with console(1) as (process, (line,)):
        assert json.loads(line)["event"] == "console.started"
        rest = await ended(process)
    assert not any("/link/" in one for one in [line, *rest])


async def test_a_port_that_is_taken_is_one_sentence(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("SIGNALQ_CONSOLE__PORT", str(taken.getsockname()[1]))
        ran = await run("console")
    assert ran.status == 2
    assert re.search(r"can't be listened on \(.*address already in use\): set console\.port", ran.err)
    assert "Traceback" not in ran.err


async def test_a_changed_settings_file_is_read(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = environment / "signalq.toml"
    async with console(1) as (process, _):
        file.write_text('[connectors.later]\nlane = "shared"\ntoken = "a-token"\n', encoding="utf-8")
        while b"settings." not in (line := await process.stderr.readline()):
            assert line
        assert json.loads(line)["event"] == "settings.reloaded"
        assert json.loads(line)["keys"] == "connectors.later"
        await ended(process)
