"""The consumer with `webhook.proxy`: all orders go through it, none twice, and nobody learns its password."""

from __future__ import annotations

import json

from pamqp.commands import Basic

from signalq import names as headers
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import drain, publish_all
from tests.support.broker import ExternalBroker
from tests.support.connect_proxy import ConnectProxy, Says, Tunnel
from tests.support.consumer import Consumer
from tests.support.waiting import wait_until
from tests.support.webhook import PATH, Webhook

Broker = PrivateRabbitMQ | ExternalBroker

PASSWORD = "kQ7vX2mN9pL4wR8s"
HOOK = f"http://hook.example:81{PATH}"
SETTINGS = {
    "webhook.allow_plain_http": "true",
    "webhook.connect_timeout_s": 2,
    "webhook.timeout_s": 3,
    "delivery.drain_timeout_s": 8,
    "delivery.backoff_base_s": 0.05,
    "log.level": "debug",
}


def order(connector: str, number: int) -> tuple[bytes, Basic.Properties]:
    body = {"connectorName": connector, "connectorToken": "t", "action": "openLong", "log": f"{number}"}
    return json.dumps(body).encode(), Basic.Properties(delivery_mode=2, message_id=f"{connector}-{number}")


async def test_orders_go_through_the_proxy_also_those_with_a_url_of_their_own_and_each_once(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """The proxy refuses, hangs up and answers nonsense before it does what it is there for."""
    config = f'[connectors.own]\nurl = "http://own.example/other"\n[connectors.here]\nurl = "{webhook.url}"\n'
    async with ConnectProxy(webhook.port, login=f"desk:{PASSWORD}") as proxy:
        settings = SETTINGS | {"webhook.proxy": proxy.url}
        proxy.script(Says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Says(b""), Says(b"SSH-2.0\r\n"), Says(b"", "reset"))
        async with Consumer(broker.url, names.prefix, HOOK, settings, config=config) as consumer:
            await consumer.started()
            for connector in ("main", "own", "here"):
                sent = [order(connector, number) for number in range(3)]
                await publish_all(broker.url, names.orders, connector, sent)
            await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == 9)
            not_taken = consumer.events("delivery.attempted", certainty="not taken")
            assert PASSWORD not in consumer.log
    by_path: dict[str, list[str]] = {}
    for posted in webhook.orders:
        by_path.setdefault(f"{posted.headers['host']}{posted.path}", []).append(posted.json["log"])
    assert by_path == {
        f"hook.example:81{PATH}": ["0", "1", "2"],
        "own.example/other": ["0", "1", "2"],
        f"127.0.0.1:{webhook.port}{PATH}": ["0", "1", "2"],
    }
    assert set(proxy.targets) == {"hook.example:81", "own.example:80"}
    assert len(not_taken) == 4
    assert all("the proxy" in attempted["why"] for attempted in not_taken)


async def test_an_order_that_a_proxy_cut_off_is_in_doubt_and_one_that_it_never_let_in_expires(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    async with ConnectProxy(webhook.port, login=f"desk:{PASSWORD}") as proxy:
        # Long enough that the second order is tried, however busy the machine is.
        settings = SETTINGS | {"webhook.proxy": proxy.url, "delivery.open_max_age_s": 4}
        proxy.script(Tunnel(bytes_max=50))
        async with Consumer(broker.url, names.prefix, HOOK, settings) as consumer:
            await consumer.started()
            await publish_all(broker.url, names.orders, "main", [order("main", 0)])
            await wait_until(lambda: consumer.events("intent.settled"))
            proxy.behave(Says(b"HTTP/1.1 407 Not you\r\n\r\n"))
            await publish_all(broker.url, names.orders, "main", [order("main", 1)])
            await wait_until(lambda: len(consumer.events("intent.settled")) == 2)
            assert PASSWORD not in consumer.log
    letters = {
        str((one.headers or {})[headers.INTENT_ID]): one.headers or {} for one in await drain_dead(broker, names)
    }
    assert letters["main-0"][headers.REASON] == "outcome-unknown"
    assert letters["main-1"][headers.REASON] == "expired"
    assert "HTTP 407" in letters["main-1"][headers.DETAIL]
    assert PASSWORD not in repr(letters)
    assert webhook.orders == []


async def drain_dead(broker: Broker, names: Names) -> list[Basic.Properties]:
    return [message.properties for message in await drain(broker.url, names.dead, 2)]
