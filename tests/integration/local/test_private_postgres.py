"""The private PostgreSQL of signalq.local keeps its promises, a real one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest

from signalq.local import PostgresFailed, PostgresUnavailable, PrivatePostgres
from tests.integration.local.test_private_rabbitmq import (
    DEADLINE_S,
    REPOSITORY,
    descendants,
    eventually,
    gone,
    is_open,
    listening_addresses,
    with_siblings,
)
from tests.support.postgres import connected, execute

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left behind")

RUNS_ONE_AND_WAITS = """
import sys
from signalq.local import PrivatePostgres
with PrivatePostgres() as postgres:
    print(postgres.pid, postgres.port, postgres.log_path.parent, flush=True)
    sys.stdin.read()
"""


async def value(url: str, query: str) -> object:
    connection = await connected(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_committed_rows_survive_a_kill_and_a_restart_on_the_same_port(
    mortal_postgres: PrivatePostgres,
) -> None:
    url, processes = mortal_postgres.url, with_siblings(mortal_postgres.pid)
    await execute(url, "CREATE TABLE kept (number integer)")
    await execute(url, "INSERT INTO kept VALUES (7)")
    mortal_postgres.kill()
    assert gone(processes)
    assert not mortal_postgres.is_running
    with pytest.raises(PostgresFailed, match="not running"):
        _ = mortal_postgres.pid
    mortal_postgres.start()
    assert mortal_postgres.url == url
    assert await value(url, "SELECT number FROM kept") == 7
    mortal_postgres.restart()
    assert await value(url, "SELECT number FROM kept") == 7


async def test_a_stop_cuts_its_connections_and_does_not_wait_for_them(mortal_postgres: PrivatePostgres) -> None:
    connection = await connected(mortal_postgres.url)
    began = time.monotonic()
    mortal_postgres.stop(keep_data=True)
    assert time.monotonic() - began < mortal_postgres._stop_timeout_s / 2
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, ConnectionError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()


async def test_every_commit_is_written_to_disk_before_it_returns(postgres: PrivatePostgres) -> None:
    assert await value(postgres.url, "SELECT current_setting('fsync')") == "on"
    assert await value(postgres.url, "SELECT current_setting('synchronous_commit')") == "on"


async def test_the_server_listens_on_loopback_only_and_asks_for_the_password(postgres: PrivatePostgres) -> None:
    assert listening_addresses(with_siblings(postgres.pid)) == {f"127.0.0.1:{postgres.port}"}
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connected(postgres.url.replace("://signalq:", "://signalq:not-"))


def test_nothing_is_left_when_the_server_stops(postgres: PrivatePostgres) -> None:
    with PrivatePostgres() as other:
        assert other.port != postgres.port
        folder, processes = other.log_path.parent, with_siblings(other.pid)
        other.kill()
        other.start()
        processes |= with_siblings(other.pid)
    assert gone(processes)
    assert not folder.exists()


def test_nothing_is_left_when_the_parent_of_a_server_is_killed(postgres: PrivatePostgres) -> None:
    parent = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", RUNS_ONE_AND_WAITS],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        pid, port, folder = parent.stdout.readline().split()
        processes = descendants(parent.pid)
        assert int(pid) in processes
        parent.send_signal(signal.SIGKILL)
        parent.wait(DEADLINE_S)
    assert gone(processes)
    assert eventually(lambda: not Path(folder).exists())
    assert not is_open(int(port))


def test_a_server_that_cannot_start_fails_at_once_with_the_end_of_its_log(postgres: PrivatePostgres) -> None:
    other = PrivatePostgres()
    with socket.create_server(("127.0.0.1", other.port)):
        began = time.monotonic()
        with pytest.raises(PostgresFailed, match="Address already in use"):
            other.start()
    assert time.monotonic() - began < other._start_timeout_s / 2
    assert not other.is_running


def test_without_a_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalq.local.postgres.find_postgres", lambda: None)
    with pytest.raises(PostgresUnavailable, match=r"install PostgreSQL's server .*brew install postgresql"):
        PrivatePostgres()
