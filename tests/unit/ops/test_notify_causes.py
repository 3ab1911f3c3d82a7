"""Why a service did not take a message: the cause of the connection, by apprise and real servers on loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from pathlib import Path

import pytest

from signalq.ops.notify.causes import CausesOnly, words_in
from signalq.ops.notify.outbox import Message
from signalq.ops.notify.services import load_services
from tests.support.certificates import make_certificate

SECRET = "kQ7vX2mN9pL4wR8s"
MESSAGE = Message("title", "body", "warning", Counter(), {})


async def why_not(url: str) -> str:
    """The reason that is logged, for a service that does not take it."""
    (service,) = load_services([url])
    attempt = await service.send(MESSAGE, timeout_s=20)
    assert not attempt.is_taken
    assert attempt.why is not None
    assert "HTTPConnectionPool" not in attempt.why, "only the cause is taken out of a library's words"
    return attempt.why


@pytest.mark.parametrize(
    "url",
    [
        "json://127.0.0.1:{port}/" + SECRET,
        "mailto://127.0.0.1:{port}/?from=a@example.com&to=b@example.com&mode=insecure",
    ],
)
async def test_a_service_where_nobody_listens_is_refused(url: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        why = await why_not(url.format(port=closed.getsockname()[1]))
    assert why.endswith("(connection refused: nothing listens there)")
    assert SECRET not in why


async def test_a_service_whose_name_does_not_resolve_is_unknown() -> None:
    assert (await why_not("json://signalq-test.invalid/x")).endswith("(unknown host: its name does not resolve)")


async def test_a_service_whose_certificate_nobody_trusts_is_not_spoken_to(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(64))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(tmp_path))
    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as server:
        why = await why_not(f"jsons://localhost:{server.sockets[0].getsockname()[1]}/{SECRET}")
    assert why.endswith("(its certificate is not accepted: self-signed certificate)")
    assert (b"".join(asked), SECRET in why) == (b"", False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Socket Exception: (535, b'5.7.8 Error: authentication failed')", "it refused the user name or the password"),
        ("Socket Exception: [Errno -2] Name or service not known", "unknown host: its name does not resolve"),
        ("Socket Exception: [Errno 101] Network is unreachable", "no way leads there: "),
        ("Socket Exception: HTTPSConnectionPool(…): Read timed out. (read timeout=4)", "no answer in time"),
        ("Socket Exception: [SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", "no TLS is spoken there"),
        ("Socket Exception: Connection unexpectedly closed", "it hung up without a word"),
        ("Socket Exception: certificate verify failed: certificate has expired (_ssl.c:1)", "certificate has expired"),
        ("Socket Exception: something of its own", None),
    ],
)
def test_each_cause_is_told_in_our_words(said: str, words: str | None) -> None:
    found = words_in(said)
    assert found is None if words is None else found is not None and words in found


def test_nothing_that_is_for_debugging_passes_but_a_cause() -> None:
    def passes(level: int, text: str) -> str | None:
        record = logging.LogRecord("apprise", level, __file__, 1, text, (), None)
        return record.getMessage() if CausesOnly().filter(record) else None

    assert passes(logging.DEBUG, f"JSON Payload: {SECRET}") is None
    assert passes(logging.DEBUG, f"Socket Exception: at /{SECRET}") is None
    assert passes(logging.INFO, f"Sent to {SECRET}") is None
    assert passes(logging.DEBUG, f"Socket Exception: at /{SECRET} [Errno 111] x") == (
        "(connection refused: nothing listens there)"
    )
    assert passes(logging.WARNING, "Failed to send") == "Failed to send"
