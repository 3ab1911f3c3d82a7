"""`signalq probe`: well or not, by one sentence and an exit status, from the same settings, at little cost."""

from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import click
import pytest
from yarl import URL

from signalq.ops.__main__ import main
from signalq.ops.probe import DEFAULTS, _cut, ask, base_url
from signalq.settings.sources import load_settings

ROOT = Path(__file__).parents[3]
# Longer than anything here takes, even on a busy machine; and shorter than whoever hangs.
LONG_S, SHORT_S = 30.0, 0.2

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(*pieces: bytes, then_hang: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers with these bytes; its URL, and the first lines of what it was asked."""
    asked: list[bytes] = []
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        if then_hang:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
        over.set()


def answer(status: int, text: str) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


async def probe(url: str, timeout_s: float = LONG_S) -> tuple[bool, str]:
    asked = await asyncio.to_thread(ask, url, timeout_s=timeout_s)
    return asked.is_well, asked.sentence


async def test_a_2xx_is_well_and_the_path_is_asked_as_given() -> None:
    async with serving(answer(200, "ready\n")) as (url, asked):
        assert await probe(f"{url}/readyz?x=1") == (True, f"{url}/readyz?x=1 answered 200: ready")
        assert asked == [b"GET /readyz?x=1 HTTP/1.1\r\n"]


@pytest.mark.parametrize("status", [301, 404, 503])
async def test_anything_else_is_not_well_and_says_why(status: int) -> None:
    async with serving(answer(status, "dra\x1bining\nmore")) as (url, _):
        assert await probe(f"{url}/readyz") == (False, f"{url}/readyz answered {status}: dra?ining")


async def test_a_process_that_hangs_is_not_well_even_if_it_has_begun_to_answer() -> None:
    for pieces in ((), (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nre",)):
        async with serving(*pieces, then_hang=True) as (url, _):
            assert await probe(url, SHORT_S) == (False, f"{url} did not answer within 0.2 s")


async def test_a_port_where_nobody_listens_or_talks_http_is_not_well() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}/healthz"
    assert await probe(url) == (False, f"{url} gives no answer (connection refused: nothing listens there)")
    async with serving(b"AMQP\0\0\x09\x01") as (url, _):
        assert await probe(url) == (False, f"{url} gives no answer (it speaks no HTTP)")


def test_a_connection_that_is_closed_while_it_is_cut_off_is_no_error() -> None:
    theirs, ours = socket.socketpair()
    sockets = [ours, None]

    class ClosedMeanwhile:
        """A connection that the thread which reads closes behind the first look at its socket."""

        @property
        def sock(self) -> socket.socket | None:
            return sockets.pop(0)

    with theirs, ours:
        _cut(cast("http.client.HTTPConnection", ClosedMeanwhile()), threading.Event())
        assert theirs.recv(1) == b"", "it is cut off"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("", {}),
        ('[ops]\nport = 9000\n[gateway]\nhost = "127.0.0.2"', {}),
        ("[ops]\nport = 9000", {"SIGNALQ_OPS__PORT": "9001", "signalq_gateway__host": "localhost"}),
        ("[gateway]\nport = 9000", {"SIGNALQ_GATEWAY__PORT": "9001", "SIGNALQ_OPS__HOST": "::1"}),
        ('[ops]\nport = "9000"\nhost = "127.0.0.3"\ntoken = "secret"', {"SIGNALQ_OPS__PORT": " 9001 "}),
    ],
)
def test_the_address_is_read_as_the_settings_read_it(
    text: str, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings(file)
    for section in DEFAULTS:
        wanted = getattr(settings, section)
        assert base_url(section, file) == str(URL.build(scheme="http", host=wanted.host, port=wanted.port))
        assert base_url(section, None, {"SIGNALQ_CONFIG": str(file), **environment}) == base_url(section, file)


def test_the_address_is_that_of_the_working_folders_file_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert base_url("ops", None, {}) == "http://127.0.0.1:8080"
    (tmp_path / "signalq.toml").write_text("[ops]\nport = 9000\n", encoding="utf-8")
    assert base_url("ops", None, {}) == "http://127.0.0.1:9000"
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.delenv("SIGNALQ_BROKER__URL", raising=False)
    assert load_settings().ops.port == 9000


def test_an_address_for_all_interfaces_is_asked_on_loopback() -> None:
    assert base_url("ops", None, {"SIGNALQ_OPS__HOST": "0.0.0.0"}) == "http://127.0.0.1:8080"  # noqa: S104
    assert base_url("gateway", None, {"SIGNALQ_GATEWAY__HOST": "::"}) == "http://[::1]:8081"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SIGNALQ_OPS__PORT": "0"}, "give --url"),
        ({"SIGNALQ_OPS__PORT": "many"}, "whole number"),
        ({"SIGNALQ_CONFIG": "/nowhere/signalq.toml"}, "can't be read"),
        ({"SIGNALQ_CONFIG": str(ROOT / "run")}, "is not TOML"),
    ],
)
def test_settings_that_give_no_address_are_one_sentence(environment: dict[str, str], words: str) -> None:
    with pytest.raises(click.UsageError, match=words):
        base_url("ops", None, environment)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "here"),
        ("--url", "ftp://127.0.0.1/"),
        ("--url", "http://user:topsecret@127.0.0.1/"),
        ("--url", "http://127.0.0.1:port/"),
        ("--url", "http://127.0.0.1/", "--ready"),
        ("--ready", "--path", "/startupz"),
        ("--path", "startupz"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["signalq", "probe", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1
    assert "topsecret" not in said


async def test_the_command_asks_health_readiness_or_a_path_and_exits_by_the_answer() -> None:
    async with serving(answer(200, "ok")) as (url, asked):
        port = url.rsplit(":", 1)[1]
        for arguments in ((), ("--ready",), ("--path", "/startupz"), ("--gateway",)):
            ended = await a_process("probe", *arguments, SIGNALQ_OPS__PORT=port, SIGNALQ_GATEWAY__PORT=port)
            assert (ended.returncode, ended.stderr) == (0, b"")
        paths = [line.split()[1] for line in asked]
        assert paths == [b"/healthz", b"/readyz", b"/startupz", b"/healthz"]
    ended = await a_process("probe", SIGNALQ_OPS__PORT=port)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"gives no answer" in ended.stderr


async def a_process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    def run() -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "signalq", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=LONG_S)  # noqa: S603

    return await asyncio.to_thread(run)


def test_the_probe_loads_nothing_heavy() -> None:
    """A probe every ten seconds must not cost what a start of the consumer costs."""
    code = (
        "import sys; sys.argv = ['signalq', 'probe', '--url', 'http://127.0.0.1:1/']\n"
        "from signalq.ops.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as left: assert left.code == 1\n"
        "print(*sys.modules)"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=LONG_S
    )
    loaded = set(ran.stdout.split())
    heavy = {"pydantic", "aiohttp", "aio_pika", "sqlalchemy", "structlog", "rich", "asyncio"}
    heavy |= {"signalq.message", "signalq.amqp", "signalq.consumer"}
    assert not loaded & heavy
