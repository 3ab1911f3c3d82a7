"""ledger.url: what libpq's URLs carry, plain text refused, nothing quoted (contract 4)."""

from __future__ import annotations

import asyncio
import ssl
import struct
from pathlib import Path

import pytest

from signalq.consumer.ledger.causes import cause_of
from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import SettingsError
from signalq.settings.ledger_url import PostgresServer, SqliteFile, check_ledger_url, read_ledger_url


def server(url: str) -> PostgresServer:
    read = read_ledger_url(url)
    assert isinstance(read, PostgresServer)
    return read


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql", "postgres"])
def test_the_spellings_of_postgresql_mean_the_same(scheme: str) -> None:
    found = server(f"{scheme}://u:p%40ss@127.0.0.1:6432/db")
    assert found == server("postgresql://u:p%40ss@127.0.0.1:6432/db")
    arguments = found.connect_arguments()
    assert arguments == {"user": "u", "password": "p@ss", "host": ["127.0.0.1"], "port": [6432], "database": "db"}
    assert "p@ss" not in repr(found)


def test_both_spellings_of_sqlite_mean_the_same_file() -> None:
    for scheme in ("sqlite", "sqlite+aiosqlite"):
        assert read_ledger_url(f"{scheme}:////var/x.db") == SqliteFile(
            Path("/var/x.db"), "sqlite+pysqlite:////var/x.db"
        )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sslmode=require&channel_binding=require", {}),
        ("sslmode=require&connect_timeout=10&keepalives=1&keepalives_idle=30&gssencmode=disable&pgbouncer=true", {}),
        ("sslmode=require&application_name=desk", {"server_settings": {"application_name": "desk"}}),
        ("sslmode=require&options=endpoint%3Dcool-name", {"server_settings": {"options": "endpoint=cool-name"}}),
        ("sslmode=require&target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        ("ssl=require&prepared_statement_cache_size=0&statement_cache_size=0",
         {"prepared_statement_cache_size": 0, "statement_cache_size": 0}),
        ("sslmode=require&sslnegotiation=direct", {"direct_tls": True}),
    ],
)  # fmt: skip
def test_urls_of_hosted_servers_are_taken(query: str, expected: dict[str, object]) -> None:
    url = f"postgresql://u:p@ep-1.example.com/db?{query}"
    check_ledger_url(url, allow_plain=False)
    arguments = server(url).connect_arguments()
    assert isinstance(arguments.pop("ssl"), ssl.SSLContext)
    assert arguments == {"user": "u", "password": "p", "host": ["ep-1.example.com"], "database": "db"} | expected


@pytest.mark.parametrize(
    ("address", "hosts", "ports"),
    [
        ("h1:5432,h2:5433/db", ("h1", "h2"), (5432, 5433)),
        ("[::1]:5432/db", ("::1",), (5432,)),
        ("/db?host=/run/postgresql", ("/run/postgresql",), (None,)),
        ("/db?host=h1&host=h2:5433", ("h1", "h2"), (None, 5433)),
        ("/db?host=h1,h2&port=1,2", ("h1", "h2"), (1, 2)),
        ("/db?host=h1,h2&port=7", ("h1", "h2"), (7, 7)),
    ],
)
def test_hosts_are_where_libpq_has_them(address: str, hosts: tuple[str, ...], ports: tuple[int | None, ...]) -> None:
    found = server(f"postgresql://{address}")
    assert (found.hosts, found.ports) == (hosts, ports)


@pytest.mark.parametrize(
    ("mode", "verify", "checks_host"),
    [
        ("require", ssl.CERT_NONE, False),
        ("verify-ca", ssl.CERT_REQUIRED, False),
        ("verify-full", ssl.CERT_REQUIRED, True),
    ],
)
def test_each_sslmode_checks_the_certificate_and_the_host_as_postgresql_says(
    mode: str, verify: ssl.VerifyMode, checks_host: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)
    found = server(f"postgresql://h/db?sslmode={mode}")
    context = found.connect_arguments()["ssl"]
    assert (context.verify_mode, context.check_hostname) == (verify, checks_host)
    assert found.is_checked is (verify is ssl.CERT_REQUIRED)


@pytest.mark.parametrize("query", ["", "?sslmode=disable", "?sslmode=allow", "?sslmode=prefer", "?ssl=false"])
@pytest.mark.parametrize("host", ["db.example.com", "10.0.0.1", "127.0.0.1,10.0.0.1", "[2001:db8::1]"])
def test_plain_text_to_another_machine_is_refused_unless_it_is_allowed(host: str, query: str) -> None:
    url = f"postgresql://u:s3cr3t@{host}/db{query}"
    with pytest.raises(ValueError, match="sslmode=require") as refused:
        check_ledger_url(url, allow_plain=False)
    assert "ledger.allow_plain" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
    check_ledger_url(url, allow_plain=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "[::1]:5432,localhost"])
def test_plain_text_to_this_machine_is_not_refused(host: str) -> None:
    check_ledger_url(f"postgresql://u:p@{host}/db", allow_plain=False)
    check_ledger_url("postgresql:///db?host=/run/postgresql", allow_plain=False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:abc@s3cr3t@127.0.0.1:1/db", "%40"),
        ("postgresql://u:p@127.0.0.1/db?password=s3cr3t", "before the host"),
        ("postgresql://u:p@127.0.0.1/db?s3cr3t=1", "query parameter"),
        ("postgresql://u:p@127.0.0.1/db?sslmod=require", "sslmod"),
        ("postgresql://u:p@127.0.0.1/db?sslmode=s3cr3t", "one sslmode"),
        ("postgresql://u:p@127.0.0.1/db?sslmode=require&ssl=disable", "one sslmode"),
        ("postgresql://u:p@h:s3cr3t/db", "port"),
        ("postgresql://u:p@h:99999/db", "port"),
        ("postgresql://u:p@/db", "name a host"),
        ("postgresql+psycopg://u:s3cr3t@127.0.0.1/db", "must begin with"),
        ("sqlite:///s3cr3t.db", "absolute path"),
        ("sqlite://s3cr3t/x.db", "absolute path"),
        ("s3cr3t", "must begin with"),
    ],
)
def test_a_url_that_can_not_be_taken_is_refused_and_not_quoted(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        check_ledger_url(url, allow_plain=True)
    assert "s3cr3t" not in str(refused.value)


def test_a_missing_authority_is_named() -> None:
    with pytest.raises(SettingsError, match=r"/no/such/ca.pem \(sslrootcert\).*No such file"):
        server("postgresql://h/db?sslmode=verify-full&sslrootcert=/no/such/ca.pem").connect_arguments()


# Those that PgBouncer tracks; any other startup parameter ends the connection, unless it is told to ignore it.
# https://www.pgbouncer.org/config.html#ignore_startup_parameters
POOLED = {
    "user",
    "database",
    "client_encoding",
    "datestyle",
    "timezone",
    "standard_conforming_strings",
    "application_name",
}
SSL_REQUEST = 80_877_103


async def test_nothing_is_sent_at_startup_that_a_pooler_refuses() -> None:
    startups: list[dict[str, str]] = []

    async def pooler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            size, code = struct.unpack("!ii", await reader.readexactly(8))
            rest = await reader.readexactly(size - 8)
            if code != SSL_REQUEST:
                break
            writer.write(b"N")
        words = rest.decode().split("\0")
        startups.append(dict(zip(words[::2], words[1::2], strict=False)))
        writer.write(b"E" + struct.pack("!i", 4 + 36) + b"SFATAL\0C28P01\0Mno such user at all\0\0")
        writer.close()

    async with await asyncio.start_server(pooler, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(SettingsError, match="refused the user name or the password") as refused:
            await LedgerClient(f"postgresql://u:s3cr3t@127.0.0.1:{port}/db").__aenter__()
    assert "s3cr3t" not in str(refused.value)
    (startup,) = startups
    assert {name for name in startup if name} <= POOLED


def test_no_login_is_in_the_cause_of_an_error() -> None:
    cause = cause_of(RuntimeError("can't reach postgresql://u:kQ7vX2mN@h/d"))
    assert cause.sentence.endswith("postgresql://***@h/d")


def test_no_token_in_the_place_of_a_certificate_is_repeated() -> None:
    token = "kQ7vX2mN-9pL4wR8s"
    server = read_ledger_url(f"postgresql://u:p@h/d?sslmode=verify-full&sslrootcert={token}")
    assert isinstance(server, PostgresServer)
    with pytest.raises(SettingsError) as refused:
        server.connect_arguments()
    assert token not in str(refused.value)
