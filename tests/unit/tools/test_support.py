"""The tests' own tools do what the tests rely on."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.support.waiting import wait_until
from tests.support.webhook import (
    Answer,
    Behaviour,
    CutInTheMiddle,
    CutOff,
    EndlessBody,
    Garbage,
    Hang,
    Webhook,
)

BODY = {"connectorName": "main", "action": "buy"}
TIMEOUT = aiohttp.ClientTimeout(total=5)


async def test_a_request_is_recorded_and_answered_ok(webhook: Webhook) -> None:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.post(webhook.url, json=BODY) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    (order,) = await webhook.received(1)
    assert (order.connector, order.json, order.method) == ("main", BODY, "POST")
    assert order.path == "/trading-signal/webhook"
    assert order.headers["content-type"] == "application/json"
    assert order.at_ns <= order.answered_ns


async def test_one_connection_serves_many_requests(webhook: Webhook) -> None:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        for number in range(3):
            async with session.post(webhook.url, json=BODY | {"log": str(number)}) as answer:
                await answer.read()
    assert [order.json["log"] for order in webhook.orders] == ["0", "1", "2"]
    assert webhook.connections == 1


async def test_each_order_can_be_answered_in_its_own_way(webhook: Webhook) -> None:
    webhook.behave(lambda order: Answer(429 if order.connector == "slow" else 200, headers={"Retry-After": "7"}))
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        async with session.post(webhook.url, json={"connectorName": "slow"}) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        async with session.post(webhook.url, json={"connectorName": "main"}) as answer:
            assert answer.status == 200


async def test_a_script_is_followed_once_and_then_the_usual_again(webhook: Webhook) -> None:
    webhook.script(Answer(500), Answer(503, close=True))
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        statuses = []
        for _ in range(3):
            async with session.post(webhook.url, json=BODY) as answer:
                statuses.append(answer.status)
    assert statuses == [500, 503, 200]


@pytest.mark.parametrize("behaviour", [CutOff(), CutOff(reset=True), CutInTheMiddle(), Garbage()], ids=repr)
async def test_a_broken_answer_is_an_error_for_the_client_and_the_order_is_recorded(
    webhook: Webhook, behaviour: Behaviour
) -> None:
    webhook.behave(behaviour)
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            async with session.post(webhook.url, json=BODY) as answer:
                await answer.read()
    assert json.loads(webhook.orders[0].body) == BODY
    assert webhook.orders[0].answered_ns is None


@pytest.mark.parametrize("behaviour", [Hang(), EndlessBody(), Answer(delay_s=60)], ids=repr)
async def test_an_answer_that_does_not_end_ends_with_the_clients_patience(
    webhook: Webhook, behaviour: Behaviour
) -> None:
    webhook.behave(behaviour)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
        with pytest.raises(TimeoutError):
            async with session.post(webhook.url, json=BODY) as answer:
                await answer.read()
    assert len(webhook.orders) == 1


async def test_a_connection_closed_unread_records_nothing(webhook: Webhook) -> None:
    webhook.close_unread(1)
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.post(webhook.url, json=BODY)
        assert webhook.orders == []
        async with session.post(webhook.url, json=BODY) as answer:
            assert answer.status == 200


async def test_leaving_the_webhook_ends_what_hangs() -> None:
    async with Webhook() as hook, aiohttp.ClientSession(timeout=TIMEOUT) as session:
        hook.behave(Hang())
        posting = asyncio.create_task(session.post(hook.url, json=BODY))
        await hook.received(1)
        assert hook.in_flight == 1
        await hook.__aexit__(None, None, None)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await posting
    assert hook.in_flight == 0


async def test_waiting_in_vain_names_the_thing_waited_for() -> None:
    with pytest.raises(AssertionError, match="in vain for the moon"):
        await wait_until(lambda: False, 0.02, what="the moon")


async def test_waiting_returns_what_it_waited_for() -> None:
    answers = iter([None, 0, 42])
    assert await wait_until(lambda: next(answers)) == 42
