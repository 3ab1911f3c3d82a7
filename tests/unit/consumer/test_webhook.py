"""What of an answer counts: Retry-After, the success body, and what goes out."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import Attempt
from signalq.consumer.webhook.answer import retry_after_s
from signalq.consumer.webhook.answer_reader import AnswerReader
from signalq.consumer.webhook.client import Webhook
from signalq.settings.sections import Settings
from signalq.version import __version__
from tests.support import webhook as support
from tests.support.webhook import Answer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("2", 2.0),
        (" 120 ", 120.0),
        ("007", 7.0),
        ("00000000000005", 5.0),
        ("999999999", 999_999_999.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        ("Friday, 02-Jan-26 03:05:05 GMT", 60.0),
        ("Fri, 02 Jan 2026 05:05:05 +0200", 60.0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("1 2", None),
        ("0x10", None),
        ("²", None),
        ("٣", None),
        ("Fri, 99 Jan 2026 03:05:05 GMT", None),
        ("Fri, 02 Jan 99999 03:05:05 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_says_nothing(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize("digits", [10, 50, 4_000, 100_000])
def test_a_huge_number_of_seconds_is_a_long_time_and_no_error(digits: int) -> None:
    found = retry_after_s("9" * digits, NOW)
    assert found is not None
    assert found >= 86_400


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d+:\d+:\d+ .{0,6}"))
def test_no_retry_after_whatsoever_raises(value: str) -> None:
    found = retry_after_s(value, NOW)
    assert found is None or found >= 0


def order(url: str, **webhook: object) -> Order:
    settings = Settings(webhook={"url": url, **webhook})
    body = json.dumps({"connectorName": "é", "connectorToken": "t", "action": "cancelAll"}).encode()
    found = read(Message(body, Basic.Properties(), "main", redelivered=False), settings, 1_700_000_000_000)
    assert isinstance(found, Order)
    return found


@pytest.fixture
async def client() -> object:
    async with Webhook(connect_s=2, total_s=5) as webhook:
        yield webhook


@pytest.mark.parametrize(
    ("body", "success_body", "certainty"),
    [
        (b"ok", "ok", "accepted"),
        (b"OK", "ok", "accepted"),
        (b" \r\n ok\t\n", "ok", "accepted"),
        (b"ok", " Ok ", "accepted"),
        (b"okay", "ok", "unknown"),
        ("o\u212a".encode(), "ok", "unknown"),  # the Kelvin sign, which Unicode takes for a capital k
        ("\u00c4".encode(), "\u00c4", "accepted"),
        (b"ok ok", "ok", "unknown"),
        (b'"ok"', "ok", "unknown"),
        (b"", "ok", "unknown"),
        (b"\xff\xfe", "ok", "unknown"),
        (b"ok" + b" " * 5_000, "ok", "unknown"),
        (b"", "", "accepted"),
        (b"anything", "", "accepted"),
        (b"x" * 100_000, "", "accepted"),
    ],
)
async def test_a_200_is_accepted_with_the_expected_body_trimmed_and_without_case(
    webhook: support.Webhook, client: Webhook, body: bytes, success_body: str, certainty: str
) -> None:
    webhook.script(Answer(body=body))
    attempt = await client.post(order(webhook.url, success_body=success_body))
    assert (attempt.certainty, attempt.status, attempt.sent) == (certainty, 200, True)


async def test_one_plain_post_goes_out_and_nothing_is_remembered_or_followed(
    webhook: support.Webhook, client: Webhook
) -> None:
    webhook.script(Answer(headers={"Set-Cookie": "session=1; Path=/"}), Answer(status=307, headers={"Location": "/x"}))
    await client.post(order(webhook.url))
    await client.post(order(webhook.url))
    assert len(webhook.orders) == 2
    for posted in webhook.orders:
        assert posted.method == "POST"
        assert posted.headers["content-type"] == "application/json"
        assert posted.headers["user-agent"] == f"signalq/{__version__}"
        assert posted.body == '{"connectorName":"é","connectorToken":"t","action":"cancelAll"}'.encode()
        assert not {"cookie", "expect", "transfer-encoding"} & posted.headers.keys()


async def test_the_configured_spelling_of_cancel_all_goes_out(webhook: support.Webhook, client: Webhook) -> None:
    await client.post(order(webhook.url, cancel_all_spelling="cancellAll"))
    assert webhook.orders[0].json["action"] == "cancellAll"


async def test_an_attempt_tells_its_retry_after_and_how_long_it_took(webhook: support.Webhook, client: Webhook) -> None:
    webhook.script(Answer(status=503, headers={"Retry-After": "17"}, delay_s=0.05))
    attempt = await client.post(order(webhook.url))
    assert (attempt.certainty, attempt.retry_after_s) == ("not taken", 17.0)
    assert attempt.duration_s >= 0.05


async def test_the_beginning_of_an_answer_that_was_not_expected_is_in_the_attempt_without_any_token(
    webhook: support.Webhook, client: Webhook
) -> None:
    long = b"a wrong\r\n token: \x00my-own-token, or  a-configured-token " + b"x" * 5_000
    webhook.script(Answer(status=400, body=long), Answer(body=long), Answer(status=500, body=b""), Answer())
    settings = Settings(webhook={"url": webhook.url}, connectors={"other": {"token": "a-configured-token"}})
    body = {"connectorName": "main", "connectorToken": "my-own-token", "action": "cancelAll"}
    message = Message(json.dumps(body).encode(), Basic.Properties(), "main", redelivered=False)
    found = read(message, settings, 1_700_000_000_000)
    assert isinstance(found, Order)
    refused, unknown, empty, accepted = [await client.post(found) for _ in range(4)]
    assert refused.certainty == "refused"
    assert refused.answer is not None
    assert refused.answer.startswith("a wrong token: ***, or *** xxxx")
    assert len(refused.answer) == 200
    assert (unknown.certainty, unknown.answer) == ("unknown", refused.answer)
    assert (empty.answer, accepted.answer) == (None, None)


HEAD = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 1000\r\n\r\n"
DRIP_S = 0.02
# The timer is not that exact, and the machine may be busy.
SLACK_S = 0.3


async def _refused_by(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], total_s: float = 5
) -> tuple[Attempt, float]:
    """The attempt that so ended, and how long it took."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        with suppress(ConnectionError):
            await answer(writer)
            await reader.read()
        writer.close()

    async with await asyncio.start_server(converse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Webhook(connect_s=2, total_s=total_s) as client:
            began_s = time.monotonic()
            attempt = await client.post(order(f"http://127.0.0.1:{port}/"))
            return attempt, time.monotonic() - began_s


async def _in_one_piece(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"no, because")


async def _in_two_pieces(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await asyncio.sleep(DRIP_S)
    writer.write(b"no, because")


async def _dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"no, because")
    while True:
        await asyncio.sleep(DRIP_S)
        writer.write(b".")
        await writer.drain()


@pytest.mark.parametrize("answer", [_in_one_piece, _in_two_pieces, _dripping])
async def test_a_refusal_is_known_at_once_however_its_body_comes(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """A kill between the status and its record would leave in doubt what was refused; and the lane waits."""
    attempt, took_s = await _refused_by(answer)
    assert (attempt.certainty, attempt.status) == ("refused", 400)
    assert (attempt.answer or "").startswith("no, because")
    assert took_s < 0.2 + SLACK_S


async def test_a_refusals_status_counts_where_the_time_for_all_of_it_ends_in_its_body() -> None:
    attempt, _ = await _refused_by(_in_one_piece, total_s=0.1)
    assert (attempt.certainty, attempt.status, attempt.answer) == ("refused", 400, "no, because")


async def test_a_refusals_body_that_came_while_the_loop_was_busy_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(HEAD)
            time.sleep(0.1)
            connection.sendall(b"no, because")
            connection.recv(1)

    take_head = AnswerReader._take_head

    def take_head_and_be_busy(*args: Any) -> None:
        take_head(*args)
        asyncio.get_running_loop().call_later(0.02, time.sleep, 0.3)

    monkeypatch.setattr(AnswerReader, "_take_head", take_head_and_be_busy)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = asyncio.create_task(asyncio.to_thread(answer, listening))
        async with Webhook(connect_s=2, total_s=5) as client:
            attempt = await client.post(order(f"http://127.0.0.1:{listening.getsockname()[1]}/"))
        await answering
    assert (attempt.certainty, attempt.answer) == ("refused", "no, because")


async def test_an_answers_date_says_how_far_our_clock_is_ahead(webhook: support.Webhook, client: Webhook) -> None:
    an_hour_ago = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    webhook.script(Answer(headers={"Date": an_hour_ago}), Answer(), Answer(headers={"Date": "soon"}))
    at_least_ms, at_most_ms = (await client.post(order(webhook.url))).clock_ahead_ms or (0, 0)
    assert 3_598_000 <= at_least_ms <= 3_600_000 <= at_most_ms <= 3_602_000
    assert (await client.post(order(webhook.url))).clock_ahead_ms is None
    assert (await client.post(order(webhook.url))).clock_ahead_ms is None


async def test_a_retry_after_that_is_a_date_counts_from_the_date_of_its_answer(
    webhook: support.Webhook, client: Webhook
) -> None:
    dated = {
        "Date": format_datetime(NOW, usegmt=True),
        "Retry-After": format_datetime(NOW + timedelta(seconds=7), usegmt=True),
    }
    webhook.script(Answer(status=429, headers=dated))
    assert (await client.post(order(webhook.url))).retry_after_s == 7.0


async def test_proxies_of_the_environment_are_not_used(
    webhook: support.Webhook, client: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert (await client.post(order(webhook.url))).certainty == "accepted"


async def test_a_post_that_may_not_begin_any_more_sends_no_byte_although_it_has_a_connection(
    webhook: support.Webhook, client: Webhook
) -> None:
    """On a fresh connection and on one that is used again."""
    asked = 0

    async def no() -> bool:
        nonlocal asked
        asked += 1
        return False

    for _ in range(2):
        attempt = await client.post(order(webhook.url), no)
        assert (attempt.certainty, attempt.sent) == ("not taken", False)
        assert (await client.post(order(webhook.url))).certainty == "accepted"
    assert asked == 2
    assert len(webhook.orders) == 2


async def test_a_post_that_may_begin_is_asked_once_and_goes_out(webhook: support.Webhook, client: Webhook) -> None:
    asked = 0

    async def yes() -> bool:
        nonlocal asked
        asked += 1
        return True

    for _ in range(2):
        assert (await client.post(order(webhook.url), yes)).certainty == "accepted"
    assert asked == len(webhook.orders) == 2


async def test_a_last_look_that_takes_too_long_is_a_post_that_was_not_sent(webhook: support.Webhook) -> None:
    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    async with Webhook(connect_s=5, total_s=0.2) as brief:
        attempt = await brief.post(order(webhook.url), never)
    assert (attempt.certainty, attempt.sent) == ("not taken", False)
    assert webhook.orders == []
