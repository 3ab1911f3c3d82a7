"""`signalq gateway` from outside: HTTP in, a real broker behind it (contract 5)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from yarl import URL

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import Message, depth, drain
from tests.support.broker import ExternalBroker, through, written_down
from tests.support.gateways import ALERT, TOKEN, gateway
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

Broker = PrivateRabbitMQ | ExternalBroker

PATH = "/trading-signal/webhook"


@pytest.fixture
def queue(topology: Topology) -> str:
    """Where what has no lane of its own arrives."""
    return topology.names.orders


async def taken(broker: Broker, queue: str, count: int) -> list[Message]:
    return await drain(broker.url, queue, count)


async def test_an_open_door_is_warned_of_at_the_start_and_when_the_settings_change(
    broker: Broker, queue: str, prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[connectors.second]\nlane = "shared"\ntoken = "second-token"\n', "utf-8")
    async with gateway(broker.url, prefix, CONFIG=str(file)) as front:
        (line,) = front.events("gateway.open")
        assert (line["level"], "gateway.path_secret" in line["advice"]) == ("warning", True)
        order = ALERT | {"connectorName": "second", "connectorToken": "second-token"}
        assert await front.post(order) == (200, "ok")
        assert (await front.post(order | {"connectorToken": "new-token"}))[0] == 401
        changed = '[connectors.second]\nlane = "shared"\ntoken = "new-token"\nurl = "https://h.example/x"\n'
        file.write_text(f"{changed}[connectors.third]\n", "utf-8")
        await wait_until(lambda: front.events("settings.refused"), what="the new token, and what is refused")
        assert front.events("settings.reloaded")
        assert not front.events("environment.changed"), "the consumer alone sends orders there"
        assert "connectors.third is new" in front.events("settings.refused")[0]["why"]
        assert (await front.post(order | {"connectorToken": "new-token"})) == (200, "ok")
        assert (await front.post(order))[0] == 401
        file.write_text('[connectors.second]\nlane = "shared"\n', "utf-8")
        await wait_until(lambda: len(front.events("gateway.open")) == 2, what="the connector without a token")
        assert "token of second" in front.events("gateway.open")[1]["advice"]
    assert await depth(broker.url, queue) == 2
    assert "new-token" not in json.dumps(front.log)


async def test_an_alert_is_answered_ok_and_is_one_message_with_its_bytes_an_identity_and_a_date(
    broker: Broker, queue: str, prefix: str
) -> None:
    body = b'{"connectorName": "main", "connectorToken": "the-right-token", "action":"openLong","percent": 50.0}'
    async with gateway(broker.url, prefix) as front:
        assert await front.post(body) == (200, "ok")
        assert await front.post(body, **{"Content-Type": "text/plain; charset=utf-8"}) == (200, "ok")
        first, second = await taken(broker, queue, 2)
        assert first.body == second.body == body
        properties = first.properties
        assert properties.message_id
        assert properties.message_id != second.properties.message_id, "an equal alert after an ok is a new order"
        assert (properties.app_id, properties.user_id) == ("gateway", URL(broker.url).user)
        assert first.headers["signalq-created-ms"]
        await wait_until(lambda: len(front.events("alert.published")) == 2)
        published = front.events("alert.published")
        assert [line["message_id"] for line in published] == [properties.message_id, second.properties.message_id]
        assert 'signalq_gateway_requests_total{connector="main",status="200"} 2.0' in (await front.get("/metrics"))[1]
    assert TOKEN not in json.dumps(front.log)


REFUSED: list[tuple[object, int, str | None]] = [
    (ALERT | {"connectorToken": "wrong"}, 401, "connectorToken"),
    ({"connectorName": "main", "action": "openLong"}, 401, "connectorToken"),
    ({"connectorName": "elsewhere", "action": "openLong"}, 401, "connectorToken"),
    (ALERT | {"percent": "101"}, 400, "percent"),
    (ALERT | {"colour": "red"}, 400, "colour"),
    (b"not json", 400, None),
    (b"", 400, None),
    (b'{"log": "' + b"x" * 70_000 + b'"}', 413, None),
]


async def test_a_refusal_is_a_problem_that_names_the_field_and_never_a_message(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix) as front:
        for body, status, field in REFUSED:
            got, text = await front.post(body)
            assert got == status
            problem = json.loads(text)
            assert (problem["status"], problem["type"]) == (status, "about:blank")
            assert [one["field"] for one in problem["fields"]] == [field]
            assert "wrong" not in text
            assert "101" not in text
        assert {line["caller"] for line in front.events("alert.refused")} == {"127.0.0.1"}
        assert 'signalq_gateway_requests_total{connector="other",status="413"} 1.0' in (await front.get("/metrics"))[1]
    assert await depth(broker.url, queue) == 0


async def test_other_paths_and_methods_are_problems_too(broker: Broker, queue: str, prefix: str) -> None:
    async with gateway(broker.url, prefix) as front:
        assert (await front.post(ALERT, "/elsewhere"))[0] == 404
        status, text = await front.get(PATH)
        assert (status, json.loads(text)["title"]) == (405, "Method Not Allowed")
        assert await front.get("/startupz") == (200, "started\n")
        assert await front.get("/healthz") == (200, "ok\n")
    assert await depth(broker.url, queue) == 0


async def test_with_a_path_secret_nothing_is_taken_without_it(broker: Broker, queue: str, prefix: str) -> None:
    async with gateway(broker.url, prefix, GATEWAY__PATH_SECRET="s3cret-path-of-16") as front:
        for path in (PATH, f"/wrong-secret{PATH}", f"{PATH}/wrong-secret"):
            assert (await front.post(ALERT, path))[0] == 404
        assert await front.post(ALERT, f"/s3cret-path-of-16{PATH}") == (200, "ok")
        assert await front.post(ALERT, f"{PATH}/s3cret-path-of-16") == (200, "ok")
    assert len(await taken(broker, queue, 2)) == 2
    assert "s3cret-path-of-16" not in json.dumps(front.log)


async def test_only_the_listed_sources_may_call_also_behind_a_proxy(broker: Broker, queue: str, prefix: str) -> None:
    sources = {"GATEWAY__SOURCES": '["52.89.214.238"]', "GATEWAY__PROXIES": '["127.0.0.1"]'}
    async with gateway(broker.url, prefix, **sources) as front:
        assert (await front.post(ALERT))[0] == 403
        assert (await front.post(ALERT, **{"X-Forwarded-For": "52.89.214.238, 192.0.2.1"}))[0] == 403
        assert (await front.post(ALERT, **{"X-Forwarded-For": "192.0.2.1, 52.89.214.238"}))[0] == 200
    assert len(await taken(broker, queue, 1)) == 1


async def test_a_connector_beyond_its_rate_has_to_wait_and_holds_up_no_other(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix, GATEWAY__RATE_PER_S="3", CONNECTORS__OTHER__TOKEN=TOKEN) as front:
        answers = [(await front.post(ALERT | {"log": str(number)}))[0] for number in range(6)]
        assert answers.count(429) >= 2
        assert answers[:3] == [200] * 3
        assert (await front.post(ALERT | {"connectorName": "other"}))[0] == 200
    assert await depth(broker.url, queue) == answers.count(200) + 1


async def test_while_the_broker_is_away_the_answer_is_503_in_time_and_the_repeat_is_the_same_order(
    broker: Broker, link: Proxy, queue: str, prefix: str
) -> None:
    async with gateway(through(link, broker.url), prefix) as front:
        link.stall()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        status, text = await front.post(ALERT)
        assert (status, loop.time() - began_s < 10) == (503, True), f"2.5 s, later only on a busy machine: {text}"
        link.heal()
        assert await front.post(ALERT) == (200, "ok")
        assert await front.post(ALERT) == (200, "ok")
        await wait_until(lambda: len(front.events("alert.published")) == 2)
        assert [line["repeat"] for line in front.events("alert.published")] == [True, False]
        # The first may have arrived after all: then it is there twice, under one identity.
        messages = await taken(broker, queue, await depth(broker.url, queue) or 0)
        ids = {message.properties.message_id for message in messages}
        unconfirmed = front.events("alert.unconfirmed")[0]["message_id"]
        assert unconfirmed in ids
        assert len(ids) == 2


async def test_every_ok_that_was_answered_while_the_broker_died_is_in_the_queue(
    mortal_broker: PrivateRabbitMQ, prefix_on_mortal: Names
) -> None:
    """Alerts go on while the broker is killed and started; what was not answered is sent again, as TradingView does."""
    names = prefix_on_mortal
    async with gateway(mortal_broker.url, names.prefix) as front:
        pending = {str(number): ALERT | {"log": str(number)} for number in range(150)}
        confirmed: set[str] = set()
        is_back = asyncio.Event()

        async def send(number: str) -> None:
            tries_left = 8  # from when the broker is back: a busy machine takes its time to start it
            while tries_left:
                status, _text = await front.post(pending[number])
                if status == 200:
                    confirmed.add(number)
                    return
                assert status == 503
                tries_left -= is_back.is_set()

        sending = [asyncio.create_task(send(number)) for number in list(pending)[:75]]
        await wait_until(lambda: len(confirmed) > 20, what="some alerts")
        await asyncio.to_thread(mortal_broker.kill)
        sending += [asyncio.create_task(send(number)) for number in list(pending)[75:]]
        await asyncio.to_thread(mortal_broker.start)
        is_back.set()
        await asyncio.gather(*sending)
        assert len(confirmed) == len(pending)
        count = await depth(mortal_broker.url, names.orders)
        messages = await drain(mortal_broker.url, names.orders, count)
        by_id = {message.properties.message_id: json.loads(message.body)["log"] for message in messages}
        assert sorted(by_id.values()) == sorted(pending), "each alert under one identity, and none missing"


@pytest.fixture
async def prefix_on_mortal(mortal_broker: PrivateRabbitMQ) -> Names:
    """The topology on a broker that a test may kill."""
    from signalq.amqp.connection import connect  # noqa: PLC0415

    names = Names("signalq")
    async with await connect(mortal_broker.url, name="signalq test") as connection:
        await Topology(names).declare(connection)
    await written_down(mortal_broker, names.orders)
    return names


async def test_nothing_that_comes_is_answered_with_a_500(broker: Broker, queue: str, prefix: str) -> None:
    async with gateway(broker.url, prefix, GATEWAY__PATH_SECRET="s3cret-path-of-16") as front:
        path = f"/s3cret-path-of-16{PATH}"
        statuses = [
            (await front.post(b"no gzip", path, **{"Content-Encoding": "gzip"}))[0],
            (await front.post(b"\xff\xfe{}", path))[0],
            (await front.post(b'{"connectorName": "\\ud800", "connectorToken": "\\udfff"}', path))[0],
            (await front.post(b"[" * 60_000, path))[0],
            (await front.post(ALERT | {"connectorName": ["main"]}, path))[0],
            (await front.post(ALERT | {"connectorToken": "\ud800"}, path))[0],
            (await front.post(ALERT, URL("/%ff%fe%ed%a0%80" + PATH, encoded=True)))[0],
            (await front.post(ALERT, path, **{"X-Forwarded-For": "\u00ff, , ["}))[0],
        ]
        assert [status for status in statuses if status >= 500] == [], statuses
        assert statuses[-1] == 200, "without sources an address is nobody's business"
    assert await depth(broker.url, queue) == 1
