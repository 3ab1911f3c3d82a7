"""The parts of a cluster, and how its chaos counts, without starting one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from signalq.local.debian import make_movable
from signalq.local.node import Member, choose_ports, prepare
from tests.chaos.cluster import stillness
from tests.chaos.cluster.strikes import Kind, Strike
from tests.support.accountant import Post
from tests.support.balancer import Balancer

S = 1_000_000_000


def test_a_member_of_a_cluster_is_told_its_name_the_cookie_and_all_the_others(tmp_path: Path) -> None:
    names = ("one@localhost", "two@localhost", "three@localhost")
    files = prepare(tmp_path, choose_ports(4369), (), member=Member("two@localhost", names, "a cookie", 4369))
    assert files.name == "two@localhost"
    assert (tmp_path / "home" / ".erlang.cookie").read_text("utf-8") == "a cookie"
    lines = files.configuration.read_text("utf-8").splitlines()
    assert [f"cluster_formation.classic_config.nodes.{at} = {name}" for at, name in enumerate(names, 1)] == lines[-3:]


def test_a_node_by_itself_is_told_of_no_cluster(tmp_path: Path) -> None:
    files = prepare(tmp_path, choose_ports(), ())
    assert "cluster" not in files.configuration.read_text("utf-8")


def test_every_erl_of_an_unpacked_erlang_finds_its_own_root_and_moving_it_twice_changes_nothing(tmp_path: Path) -> None:
    erlang = tmp_path / "usr/lib/erlang"
    scripts = [erlang / "bin/erl", erlang / "erts-17.1/bin/erl"]
    for script in scripts:
        script.parent.mkdir(parents=True)
        script.write_text("#!/bin/sh\nROOTDIR=/usr/lib/erlang\n", "utf-8")
        script.chmod(0o755)
    for _ in range(2):
        make_movable(tmp_path)
        assert [script.read_text("utf-8").splitlines()[1] for script in scripts] == [
            'ROOTDIR="$(cd "$(dirname "$0")/.." && pwd)"',
            'ROOTDIR="$(cd "$(dirname "$0")/../.." && pwd)"',
        ]
        assert all(script.stat().st_mode & 0o111 for script in scripts)


async def test_a_balancer_sends_each_connection_to_the_next_server_and_leaves_out_one_that_is_gone() -> None:
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(_server(name)) for name in (b"a", b"b")]
        gone = AsyncExitStack()
        ports.append(await gone.enter_async_context(_server(b"c")))
        async with Balancer(ports) as service:
            assert [await _asked(service.port) for _ in range(4)] == [b"a", b"b", b"c", b"a"]
            await gone.aclose()
            assert [await _asked(service.port) for _ in range(4)] == [b"b", b"a", b"b", b"a"]


async def test_a_balancer_without_any_server_ends_the_connection() -> None:
    async with AsyncExitStack() as gone:
        port = await gone.enter_async_context(_server(b"a"))
    async with Balancer([port]) as service:
        assert await _asked(service.port) == b""


def test_the_time_without_posts_is_that_of_the_slowest_connector_and_beside_other_strikes_it_is_not_counted() -> None:
    posts = [_post("a", second) for second in range(60)] + [_post("b", second) for second in range(60) if second != 31]
    (row,) = stillness.table(posts, [_strike("node", 30)])
    assert (row.kind, row.count, row.all_max_s, row.slowest_max_s) == ("node", 1, 1.0, 2.0)
    assert stillness.table(posts, [_strike("node", 30), _strike("drain", 31)]) == []


def test_calm_is_the_time_before_a_strike_long_after_another() -> None:
    posts = [_post("a", second) for second in range(60)]
    rows = stillness.table(posts, [_strike("node", 10), _strike("drain", 40)])
    assert [row.kind for row in rows] == ["node", "drain", "calm"]


def _post(connector: str, second: int) -> Post:
    return Post(f"{connector}-{second}", connector, second * S, "taken")


def _strike(kind: Kind, second: int) -> Strike:
    return Strike(kind, second * S, second * S, "")


@asynccontextmanager
async def _server(name: bytes) -> AsyncIterator[int]:
    """Says its name to each client that connects."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _asked(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            return await reader.read(1)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()
