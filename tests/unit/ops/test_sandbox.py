"""The stand-in for the platform: it checks, it remembers without tokens, it misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

import signalq.ops.sandbox.server
from signalq.ops.sandbox.behaviour import BEHAVIOURS_MAX, Behaviour, Behaviours
from signalq.ops.sandbox.server import Sandbox, SandboxOrder
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.environment import environment_of

ORDER = {"connectorName": "main", "connectorToken": "s3cret", "action": "openLong", "percent": "50"}


@dataclass
class Platform:
    sandbox: Sandbox
    http: aiohttp.ClientSession

    async def post(self, body: Any = None, **fields: Any) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else None
        json = None if data is not None else {**ORDER, **fields}
        async with self.http.post(self.sandbox.url, data=data, json=json) as answer:
            return answer.status, await answer.text()

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        async with self.http.request(method, self.sandbox.base_url + path, json=json) as answer:
            return await answer.json()


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[Platform]:
    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http,
    ):
        yield Platform(sandbox, http)


async def test_an_order_by_the_rules_is_answered_ok_and_kept_without_its_token(platform: Platform) -> None:
    assert await platform.post() == (200, "ok")
    (order,) = platform.sandbox.orders
    assert (order.connector, order.action, order.answer, order.taken) == ("main", "openLong", "200 ok", True)
    assert order.body == {**ORDER, "connectorToken": "***"}


async def test_the_sandboxs_url_tells_what_it_is_and_the_platforms_own_path_works_too(platform: Platform) -> None:
    assert environment_of(platform.sandbox.url) == "sandbox"
    url = f"{platform.sandbox.base_url}/trading-signal/webhook"
    async with platform.http.post(url, json=ORDER) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")
    assert len(platform.sandbox.orders) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"nonsense", None),
        (b'{"connectorName":"main","action":"buy"}', "connectorToken"),
        (b'{"connectorName":"main","connectorToken":"s3cret","action":"buy","percnt":"5"}', "percnt"),
        (b'{"connectorName":"main","connectorToken":"s3cret","action":"buy","percent":"500"}', "percent"),
    ],
)
async def test_the_answer_to_a_bad_order_names_the_bad_field(
    body: bytes, field: str | None, platform: Platform
) -> None:
    status, text = await platform.post(body)
    assert status == 400
    assert (f'"field": "{field}"' if field else '"field": null') in text
    assert "s3cret" not in text + repr(platform.sandbox.orders)
    assert [order.taken for order in platform.sandbox.orders] == [False]


async def test_the_orders_that_came_can_be_listed_by_connector_and_forgotten(platform: Platform) -> None:
    await platform.post(percent=12.50)
    await platform.post(connectorName="other")
    everything = await platform.ask("GET", "/orders")
    assert [row["connector"] for row in everything] == ["main", "other"]
    assert everything[0]["body"]["connectorToken"] == "***"
    assert set(everything[0]) == {"at", "connector", "action", "answer", "taken", "body"}
    assert [row["connector"] for row in await platform.ask("GET", "/orders?connector=other")] == ["other"]
    assert await platform.ask("DELETE", "/orders") == {"deleted": 2}
    assert await platform.ask("GET", "/orders") == []


async def test_the_sandbox_fails_as_often_as_requested_and_only_for_the_named_connector(platform: Platform) -> None:
    behaviour = {"mode": "fail", "status": 503, "retry_after_s": 7, "connector": "main", "times": 2}
    await platform.ask("PUT", "/behaviour", behaviour)
    assert (await platform.post(connectorName="other"))[0] == 200
    assert [(await platform.post())[0] for _ in range(3)] == [503, 503, 200]
    assert [order.answer for order in platform.sandbox.orders][1] == "503 retry after 7 s"
    assert await platform.ask("GET", "/behaviour") == []


async def test_a_connector_can_be_refused(platform: Platform) -> None:
    platform.sandbox.behave(Behaviour(mode="refuse", connector="main"))
    assert (await platform.post())[0] == 400
    assert (await platform.post(connectorName="other"))[0] == 200


@pytest.mark.parametrize(("moment", "taken"), [("before", False), ("during", True), ("after", True)])
async def test_a_cut_connection_leaves_its_sender_without_an_answer(
    moment: str, taken: bool, platform: Platform
) -> None:
    platform.sandbox.behave(Behaviour.model_validate({"mode": "cut", "moment": moment}))
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
        await platform.post()
    assert [(order.answer, order.taken) for order in platform.sandbox.orders] == [(f"cut {moment}", taken)]


async def test_a_sandbox_that_hangs_has_the_order_and_does_not_hold_up_its_own_end(platform: Platform) -> None:
    platform.sandbox.behave(Behaviour(mode="hang", seconds=3600))
    posting = asyncio.create_task(platform.post())
    (order,) = await platform.sandbox.received(1, timeout_s=30)
    assert (order.answer, order.taken) == ("200 ok after 3600 s", True)
    async with asyncio.timeout(30):
        await platform.sandbox.__aexit__(None, None, None)
        with pytest.raises(aiohttp.ClientError):
            await posting


def test_throttling_says_when_to_come_back() -> None:
    now = 100.0
    behaviours = Behaviours(clock=lambda: now)
    behaviours.put(Behaviour(mode="throttle", rate_per_s=0.5))
    assert behaviours.take("main").mode == "ok"
    throttled = behaviours.take("main")
    assert (throttled.status, throttled.retry_after_s) == (429, 2)
    now = 102.0
    assert behaviours.take("main").mode == "ok"


@pytest.mark.parametrize(
    "behaviour",
    [{"mode": "fial"}, {"mode": "fail", "status": 200}, {"mode": "fail", "tims": 3}, {"mode": "ok", "times": 0}, []],
)
async def test_a_behaviour_that_is_none_is_refused_with_a_sentence(behaviour: Any, platform: Platform) -> None:
    assert "error" in await platform.ask("PUT", "/behaviour", behaviour)
    assert (await platform.post())[0] == 200


async def test_everything_is_as_it_should_be_again_once_behaviours_are_deleted(platform: Platform) -> None:
    for connector in (None, "main"):
        platform.sandbox.behave(Behaviour(mode="fail", connector=connector))
    await platform.ask("DELETE", "/behaviour")
    assert (await platform.post())[0] == 200


async def test_only_so_many_orders_are_kept(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signalq.ops.sandbox.server, "ORDERS_MAX", 2)
    async with Sandbox() as small:
        for name in ("a", "b", "c"):
            async with platform.http.post(small.url, json={**ORDER, "connectorName": name}):
                pass
        assert [order.connector for order in await small.received(3)] == ["b", "c"]


def test_only_so_many_connectors_have_a_behaviour_of_their_own() -> None:
    behaviours = Behaviours()
    for number in range(BEHAVIOURS_MAX):
        behaviours.put(Behaviour(mode="refuse", connector=str(number)))
    with pytest.raises(CommandFailed):
        behaviours.put(Behaviour(mode="refuse", connector="one more"))
    behaviours.put(Behaviour(mode="fail", connector="7"))


async def test_the_callback_gets_every_order(platform: Platform) -> None:
    told: list[SandboxOrder] = []
    async with Sandbox(on_order=told.append, extra_fields=["notional"]) as sandbox:
        async with platform.http.post(sandbox.url, json={**ORDER, "notional": 5}) as answer:
            assert answer.status == 200
        assert told == sandbox.orders


async def test_a_port_that_is_taken_is_one_sentence(platform: Platform) -> None:
    port = int(platform.sandbox.base_url.rsplit(":", 1)[1])
    with pytest.raises(CommandFailed, match=f"can't listen on 127.0.0.1:{port}"):
        async with Sandbox(port=port):
            pass


async def test_bytes_that_are_no_http_are_turned_away_without_a_word_in_the_log(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(platform.sandbox.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    async with asyncio.timeout(30):
        assert b"400" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert caplog.records == []
