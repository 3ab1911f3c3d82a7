"""Traces: a real collector sees exactly the spans of docs/traces.md, and the webhook sees nothing of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from pamqp.commands import Basic
from yarl import URL

from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.publishing.spans import SCHEMA_URL
from signalq.version import __version__
from tests.support.amqp import drain, publish_all
from tests.support.broker import ExternalBroker
from tests.support.collector import Collector, Span
from tests.support.commands import ROOT, Signalq
from tests.support.console import Console, begin_replay, signed_in
from tests.support.consumer import Consumer
from tests.support.gateways import TOKEN, gateway
from tests.support.graveyard import in_ledger
from tests.support.orders import body
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Hang, Webhook

Broker = PrivateRabbitMQ | ExternalBroker

# The span of a producer, in the trace of a number.
PRODUCER = "00f067aa0ba902b7"
SETTINGS = {
    "webhook.connect_timeout_s": 1,
    "webhook.timeout_s": 2,
    "delivery.backoff_base_s": 0.05,
    "delivery.backoff_max_s": 0.1,
}
DRAIN_TIMEOUT_S = 6.0
OPS_TOKEN = "the-ops-token-of-traces-kQ7v"
# All that a POST has for headers; see consumer/webhook/target.py.
POST_HEADERS = {"host", "user-agent", "accept-encoding", "accept", "content-length", "content-type"}
TIMES = {"signalq.wait_s", "signalq.claim_s", "signalq.age_s"}

Message = tuple[bytes, Basic.Properties]


def trace(number: int) -> str:
    return f"{number:032x}"


def traceparent(number: int, flags: str = "01") -> str:
    """The header of a producer's span in the trace of this number."""
    return f"00-{trace(number)}-{PRODUCER}-{flags}"


def message(message_id: str, header: object = None, **fields: object) -> Message:
    """An order as any program publishes it, with this `traceparent`."""
    headers: dict[str, Any] = {"signalq-created-ms": time.time_ns() // 1_000_000}
    if header is not None:
        headers["traceparent"] = header
    properties = Basic.Properties(delivery_mode=2, message_id=message_id, app_id="momentum", headers=headers)
    return body(**fields), properties


def times_of(span: Span, *more: str) -> set[str]:
    """The names of its attributes that are times; each is one that can be."""
    found = {name for name in span.attributes if name.endswith("_s")}
    assert found == TIMES | set(more)
    assert all(0 <= span.attributes[name] < 60 for name in found)
    return found


def shape(span: Span) -> tuple[str, str, str | None, str | None, bool]:
    """What distinguishes a span: its name without the prefix, kind, status or certainty, kind of error."""
    name = span.name.replace(span.resource["service.namespace"], "signalq")
    became = span.attributes.get("signalq.status", span.attributes.get("signalq.certainty"))
    return name, span.kind, became, span.attributes.get("error.type"), span.is_error


class Desk:
    """A consumer whose spans go to a collector."""

    def __init__(self, broker: Broker, names: Names, hook: Webhook, collector: Collector, consumer: Consumer) -> None:
        self.names = names
        self.hook = hook
        self.collector = collector
        self.consumer = consumer
        self._broker = broker

    async def publish(self, *messages: Message, connector: str = "main") -> None:
        await publish_all(self._broker.url, self.names.orders, connector, messages)

    async def ended(self, count: int) -> None:
        """Wait until the consumer has settled so many."""
        await wait_until(lambda: len(self.consumer.events("intent.settled")) >= count, what=f"{count} endings")

    async def spans(self, count: int) -> list[Span]:
        """Wait for this many spans; more must not come before the consumer has ended."""
        await self.collector.received(count)
        await self.consumer.end()
        assert len(self.collector.spans) == count, [span.name for span in self.collector.spans]
        return self.collector.spans

    def process(self, trace_id: str) -> list[Span]:
        """The spans of processing in a trace, in their order."""
        return [span for span in self.collector.in_trace(trace_id) if span.kind == "CONSUMER"]

    def linked(self, number: int) -> list[Span]:
        """The roots that have a link to the producer of a number, in their order."""
        roots = [span for span in self.collector.spans if (trace(number), PRODUCER) in span.links]
        return sorted(roots, key=lambda span: span.began_ns)

    def below(self, span: Span) -> list[Span]:
        """The spans directly below it, in their order."""
        return [one for one in self.collector.in_trace(span.trace) if one.parent == span.id]


@pytest_asyncio.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector, named in the environment of all that is started."""
    async with Collector() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@asynccontextmanager
async def desk(
    broker: Broker,
    names: Names,
    hook: Webhook,
    collector: Collector,
    settings: Mapping[str, object] | None = None,
    command: tuple[str, ...] = ("-m", "signalq.consumer"),
) -> AsyncIterator[Desk]:
    chosen = SETTINGS | dict(settings or {})
    async with Consumer(broker.url, names.prefix, hook.url, chosen, command=command) as consumer:
        await consumer.started()
        yield Desk(broker, names, hook, collector, consumer)


# ---- one order ----


async def test_a_plain_order_is_a_child_of_its_producer_and_has_one_post_and_all_of_its_attributes(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    async with desk(broker, names, webhook, collector) as at:
        await at.publish(message("id-1", traceparent(1)))
        process, post = sorted(await at.spans(2), key=lambda span: span.kind, reverse=True)
        url, broker_url = URL(webhook.url), URL(broker.url)
        assert (process.name, process.kind, process.is_error) == (f"process {names.orders}", "CONSUMER", False)
        assert (process.trace, process.parent, process.links) == (trace(1), PRODUCER, [])
        assert {name: value for name, value in process.attributes.items() if name not in times_of(process)} == {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": f"{names.orders}:main",
            "messaging.destination.template": names.orders,
            "messaging.rabbitmq.destination.routing_key": "main",
            "messaging.message.id": "id-1",
            "messaging.client.id": "signalq consumer",
            "server.address": broker_url.host,
            "server.port": broker_url.port,
            "signalq.generation": 1,
            "signalq.connector": "main",
            "signalq.strategy": "momentum",
            "signalq.action": "openLong",
            "signalq.status": "delivered",
            "signalq.attempts": 1,
            "signalq.redelivered": False,
        }
        assert (post.name, post.kind, post.is_error, post.says) == ("POST", "CLIENT", False, "")
        assert (post.trace, post.parent, post.links) == (trace(1), process.id, [])
        assert post.attributes == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": url.host,
            "server.port": url.port,
            "url.full": webhook.url,
            "signalq.certainty": "accepted",
            "signalq.sent": True,
        }
        (order,) = webhook.orders
        assert process.began_ns <= post.began_ns <= order.at_ns <= post.ended_ns <= process.ended_ns
        for span in (process, post):
            assert span.scope == ("signalq", __version__, SCHEMA_URL)
            assert span.resource["service.name"] == "signalq-consumer"
            assert span.resource["service.namespace"] == names.prefix
            assert span.resource["service.version"] == __version__
            # As the ledger has it, in replicas: the machine and the process.
            assert span.resource["service.instance.id"] == f"{socket.gethostname()}:{at.consumer.pid}"


async def test_without_a_valid_header_it_is_a_root_and_the_header_is_left_as_it_is(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    webhook.behave(Answer(status=400))
    forged = [f"00-{trace(0)}-{PRODUCER}-01", f"00-{trace(7)}-{PRODUCER}-01-more", "x" * 300, 7]
    async with desk(broker, names, webhook, collector) as at:
        await at.publish(message("id-0"), *(message(f"id-{at}", one) for at, one in enumerate(forged, 1)))
        spans = await at.spans(3 * (1 + len(forged)))
        roots = [span for span in spans if span.kind == "CONSUMER"]
        assert [(span.parent, span.links) for span in roots] == [("", [])] * (1 + len(forged))
        assert len({span.trace for span in roots}) == 1 + len(forged)
        assert not any("trace_id" in line for line in at.consumer.lines)
    letters = await drain(broker.url, names.dead)
    assert [letter.headers.get("traceparent") for letter in letters] == [None, *forged]


async def test_the_log_the_ledger_and_the_dead_letter_have_the_producers_trace(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    webhook.behave(Answer(status=400))
    state = "vendor=opaque"
    async with desk(broker, names, webhook, collector) as at:
        rejected, properties = message("id-1", traceparent(1))
        assert properties.headers is not None
        properties.headers["tracestate"] = state
        await at.publish((rejected, properties))
        await at.spans(3)
        for event in ("delivery.attempted", "intent.dead_lettered", "intent.settled"):
            (line,) = at.consumer.events(event)
            assert line["trace_id"] == trace(1)
    ((kept,),) = in_ledger(names.prefix, "SELECT trace_id FROM intents")
    assert kept == bytes.fromhex(trace(1))
    (letter,) = await drain(broker.url, names.dead)
    assert (letter.headers["traceparent"], letter.headers["tracestate"]) == (traceparent(1), state)


async def test_each_post_is_a_span_and_each_ending_has_its_status(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    answers = {
        "retried": [Answer(status=429, headers={"Retry-After": "1"}), Answer()],
        "rejected": [Answer(status=400)],
    }
    webhook.behave(lambda order: answers[order.connector].pop(0))
    async with desk(broker, names, webhook, collector) as at:
        await at.publish(message("retried", traceparent(1), connectorName="retried"), connector="retried")
        await at.publish(message("rejected", traceparent(2), connectorName="rejected"), connector="rejected")
        await at.publish(message("invalid", traceparent(3), percent="500"))
        again = message("retried", traceparent(4), connectorName="retried")
        await at.publish(again, connector="retried")
        await at.spans(3 + 3 + 2 + 1)
        process = ("process signalq.orders", "CONSUMER")
        letter = ("publish signalq.dead", "PRODUCER", None, None, False)

        (retried,) = at.process(trace(1))
        assert shape(retried) == (*process, "delivered", None, False)
        assert [shape(span) for span in at.below(retried)] == [
            ("POST", "CLIENT", "not_taken", "429", True),
            ("POST", "CLIENT", "accepted", None, False),
        ]
        first, second = at.below(retried)
        assert (first.attributes["signalq.retry_after_s"], first.says) == (1.0, "HTTP 429")
        assert "http.request.resend_count" not in first.attributes
        assert second.attributes["http.request.resend_count"] == 1
        assert (retried.attributes["signalq.attempts"], retried.parent) == (2, PRODUCER)
        times_of(retried, "signalq.backoff_s")

        (rejected,) = at.process(trace(2))
        assert shape(rejected) == (*process, "dead", "rejected", True)
        assert (rejected.attributes["signalq.reason"], rejected.says) == (
            "rejected",
            "the webhook refused it: HTTP 400",
        )
        post, buried = at.below(rejected)
        assert shape(post) == ("POST", "CLIENT", "refused", "400", True)
        assert shape(buried) == letter
        assert post.ended_ns <= buried.began_ns <= buried.ended_ns <= rejected.ended_ns
        broker_url = URL(broker.url)
        assert buried.attributes == {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": names.dead,
            "messaging.destination.template": names.dead,
            "messaging.rabbitmq.destination.routing_key": names.dead,
            "messaging.message.id": "rejected",
            "messaging.client.id": "signalq consumer publishing",
            "server.address": broker_url.host,
            "server.port": broker_url.port,
        }

        (invalid,) = at.process(trace(3))
        assert shape(invalid) == (*process, "dead", "invalid", True)
        assert invalid.says.startswith("percent: ")
        assert [shape(span) for span in at.below(invalid)] == [letter]

        (duplicate,) = at.process(trace(4))
        assert shape(duplicate) == (*process, "duplicate", None, False)
        assert at.below(duplicate) == []


# ---- later ----


@pytest.mark.parametrize("delayed", ["link", "continue"])
async def test_a_delayed_or_a_canceled_order_is_a_trace_of_its_own_with_a_link_or_goes_on(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector, delayed: str
) -> None:
    async with desk(broker, names, webhook, collector, {"traces.delayed": delayed}) as at:
        await at.publish(message("later", traceparent(1), delaySeconds=1.5))
        await at.publish(message("gone", traceparent(2), delaySeconds=2, clientOrderId="c"))
        await wait_until(lambda: len(at.consumer.events("intent.scheduled")) == 2, what="both to be parked")
        await at.publish(message("cancel", traceparent(3), action="cancel", percent=None, clientOrderId="c"))
        await at.spans(2 + 2 + 2 + 1)
        (parked, *went_on), (waiting, *ended_there) = at.process(trace(1)), at.process(trace(2))
        assert [span.attributes["signalq.status"] for span in (parked, waiting)] == ["scheduled"] * 2
        assert [span.parent for span in (parked, waiting)] == [PRODUCER] * 2
        if delayed == "continue":
            assert at.linked(1) == at.linked(2) == []
            (delivered,), (canceled,) = went_on, ended_there
            assert delivered.parent == canceled.parent == PRODUCER
        else:
            assert went_on == ended_there == []
            (delivered,), (canceled,) = at.linked(1), at.linked(2)
            assert delivered.parent == canceled.parent == ""
            assert len({trace(1), trace(2), delivered.trace, canceled.trace}) == 4
        assert delivered.attributes["signalq.status"] == "delivered"
        assert [shape(span)[2] for span in at.below(delivered)] == ["accepted"]
        times_of(delivered, "signalq.late_s")
        assert delivered.attributes["signalq.due_at"] == parked.attributes["signalq.due_at"]
        assert (canceled.attributes["signalq.status"], canceled.is_error, at.below(canceled)) == ("canceled", False, [])
        (cancel,) = at.process(trace(3))
        assert (cancel.attributes["signalq.status"], len(at.below(cancel))) == ("delivered", 1)


async def replay_by_the_command(_at: Desk, _broker: Broker, signalq: Signalq) -> str:
    ran = await signalq("dead", "replay", "--id", "id-1")
    assert (ran.status, ran.err.count("\n")) == (0, 1)
    return "signalq"


async def replay_in_the_console(at: Desk, broker: Broker, _signalq: Signalq) -> str:
    settings = {"ops.token": OPS_TOKEN}
    async with Console(broker.url, at.names.prefix, at.hook.url, settings) as console:
        await console.started()
        assert console.events("traces.started")
        async with signed_in(console.url, OPS_TOKEN) as caller:
            await begin_replay(caller)
            await at.ended(2)
    return "signalq"


async def replay_in_the_console_of_the_consumer(at: Desk, _broker: Broker, _signalq: Signalq) -> str:
    async with signed_in(f"http://127.0.0.1:{at.consumer.ops_port}", OPS_TOKEN) as caller:
        await begin_replay(caller)
    return "signalq-consumer"


@pytest.mark.parametrize(
    "replay_by", [replay_by_the_command, replay_in_the_console, replay_in_the_console_of_the_consumer]
)
async def test_a_replay_is_a_span_of_its_process_and_what_follows_has_a_link_to_the_producer(
    broker: Broker,
    names: Names,
    webhook: Webhook,
    collector: Collector,
    signalq: Signalq,
    replay_by: Callable[[Desk, Broker, Signalq], Awaitable[str]],
) -> None:
    webhook.script(Answer(status=400))
    settings = {"ops.token": OPS_TOKEN}
    async with desk(broker, names, webhook, collector, settings, ("-m", "signalq", "consume")) as at:
        await at.publish(message("id-1", traceparent(1)))
        await at.ended(1)
        service = await replay_by(at, broker, signalq)
        await at.ended(2)
        await at.spans(3 + 1 + 2)
        replay, process = at.linked(1)
        assert (replay.name, replay.kind, replay.parent) == (f"replay {names.orders}", "PRODUCER", "")
        assert replay.resource["service.name"] == service
        assert replay.attributes["messaging.operation.name"] == "replay"
        assert replay.attributes["messaging.message.id"] == "id-1"
        assert replay.attributes["messaging.client.id"] == "signalq dead replay"
        assert (process.attributes["signalq.status"], process.attributes["signalq.generation"]) == ("delivered", 2)
        assert process.parent == ""
        assert len(at.below(process)) == 1
        assert len({trace(1), replay.trace, process.trace}) == 3
    assert [order.headers.keys() for order in webhook.orders] == [POST_HEADERS] * 2


# ---- which are exported ----


async def test_the_producers_flag_is_honoured_and_failures_are_kept_where_that_is_asked_for(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    webhook.behave(lambda order: Answer(status=200 if "well" in order.body.decode() else 400))
    async with desk(broker, names, webhook, collector, {"traces.keep_failures": "true"}) as at:
        await at.publish(message("id-1", traceparent(1, "00"), log="well"), message("id-2", traceparent(2), log="well"))
        await at.publish(message("id-3", traceparent(3, "00")))
        spans = await at.spans(2 + 3)
    assert {span.trace for span in spans} == {trace(2), trace(3)}


async def test_a_sampler_that_takes_none_leaves_the_failures_where_these_are_kept(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    webhook.script(Answer(), Answer(status=425))
    async with desk(broker, names, webhook, collector, {"traces.keep_failures": "true"}) as at:
        await at.publish(message("well", traceparent(1)), message("retried", traceparent(2)))
        spans = await at.spans(3)
    assert {(span.trace, span.name) for span in spans} == {(trace(2), f"process {names.orders}"), (trace(2), "POST")}


# ---- from the producers to the webhook ----


async def test_the_gateway_and_the_command_make_one_trace_each_with_what_follows(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector, signalq: Signalq
) -> None:
    async with desk(broker, names, webhook, collector) as at:
        async with gateway(broker.url, names.prefix, beside=collector.environment) as front:
            order = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
            assert (await front.post(order, traceparent=traceparent(1)))[0] == 200
            assert (await front.post(order | {"connectorToken": "wrong"}, traceparent=traceparent(2)))[0] == 401
        ran = await signalq("publish", "--connector", "main", "--action", "openLong", "--percent", "5", "--token", "t")
        assert ran.status == 0, ran.err
        await at.ended(2)
        await at.spans(4 + 3)
        server, sent, process, post = at.collector.in_trace(trace(1))
        assert (server.name, server.kind) == ("POST /trading-signal/webhook", "SERVER")
        assert server.parent == PRODUCER
        assert server.attributes == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "http.route": "/trading-signal/webhook",
            "url.path": "/trading-signal/webhook",
            "url.scheme": "http",
        }
        assert (server.resource["service.name"], sent.resource["service.name"]) == ("signalq-gateway",) * 2
        assert [span.parent for span in (sent, process, post)] == [server.id, sent.id, process.id]
        (root,) = [span for span in at.collector.spans if span.name == f"publish {names.orders}" and not span.parent]
        assert root.resource["service.name"] == "signalq"
        for span in (sent, root):
            assert (span.kind, span.is_error) == ("PRODUCER", False)
            assert span.attributes["messaging.destination.name"] == f"{names.orders}:main"
            assert span.attributes["messaging.operation.name"] == "publish"
        (processed,) = at.below(root)
        assert [span.name for span in at.below(processed)] == ["POST"]
    assert [order.headers.keys() for order in webhook.orders] == [POST_HEADERS] * 2


async def test_without_traces_the_gateway_hands_its_callers_context_on(broker: Broker, names: Names) -> None:
    async with gateway(broker.url, names.prefix) as front:
        order = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
        later = f"01{traceparent(1)[2:]}-more"
        assert (await front.post(order, traceparent=later))[0] == 200
        assert (await front.post(order, traceparent="forged"))[0] == 200
    first, second = await drain(broker.url, names.orders, 2)
    assert first.headers["traceparent"] == traceparent(1)
    assert "traceparent" not in second.headers


SDK = """
import asyncio, os
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from signalq import OrderIntent, OrderPublisher, SyncOrderPublisher

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
strategy = trace.get_tracer("a strategy")
url, prefix = os.environ["URL"], os.environ["PREFIX"]
intent = OrderIntent(connector_name="main", connector_token="t", action="openLong", percent="50")

async def main():
    async with OrderPublisher(url, prefix=prefix, strategy="momentum", outcomes=False) as orders:
        with strategy.start_as_current_span("POST"):  # any name of a span that the test knows
            await orders.publish(intent, message_id="one")
            await orders.publish_many([(intent, "two")])
    try:
        await orders.publish(intent, message_id="closed")
    except Exception as error:
        print(type(error).__name__)

asyncio.run(main())
with SyncOrderPublisher(url, prefix=prefix, strategy="momentum", outcomes=False) as orders:
    with strategy.start_as_current_span("POST"):
        orders.publish(intent, message_id="three")
        orders.publish_many([(intent, "four")])
provider.shutdown()
"""


async def test_the_sdk_makes_a_span_below_the_current_one_where_opentelemetry_is_in_use(
    broker: Broker, names: Names, collector: Collector
) -> None:
    ran = await program(SDK, {"URL": broker.url, "PREFIX": names.prefix})
    assert ran == (0, "Unconfirmed\n", "")
    messages = {one.properties.message_id: one for one in await drain(broker.url, names.orders, 4)}
    spans = {span.attributes.get("messaging.message.id"): span for span in collector.spans}
    strategies = [span for span in collector.spans if span.name == "POST"]
    assert (len(strategies), len(collector.spans)) == (2, 7)
    for message_id, strategy in zip(("one", "two", "three", "four"), (0, 0, 1, 1), strict=True):
        span = spans[message_id]
        assert (span.name, span.kind, span.is_error) == (f"publish {names.orders}", "PRODUCER", False)
        assert span.parent in {one.id for one in strategies}
        assert span.parent == spans[("one", "three")[strategy]].parent
        assert span.scope == ("signalq", __version__, SCHEMA_URL)
        assert span.attributes["messaging.client.id"] == "signalq publisher momentum"
        header = str(messages[message_id].headers["traceparent"])
        assert header.rpartition("-")[0] == span.traceparent.rpartition("-")[0]
    closed = spans["closed"]
    assert (closed.is_error, closed.attributes["error.type"], closed.parent) == (True, "unconfirmed", "")


async def test_a_post_names_the_producers_span_where_that_is_asked_for(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    settings = {"webhook.send_traceparent": "true"}
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS | settings) as consumer:
        await consumer.started()
        headers = [traceparent(1), "forged", None, f"cc{traceparent(2)[2:]}-\r\nX: 1", f"cc{traceparent(3)[2:]}-\rX: 1"]
        messages = [message(f"id-{number}", header) for number, header in enumerate(headers)]
        await publish_all(broker.url, names.orders, "main", messages)
        await webhook.received(5)
    named = [order.headers.get("traceparent") for order in webhook.orders]
    assert named == [traceparent(1), None, None, None, traceparent(3)]
    assert all(order.headers.keys() - {"traceparent"} == POST_HEADERS for order in webhook.orders)


# ---- a collector that is away; none ----


async def test_a_collector_that_hangs_does_not_hold_the_drain_up_and_what_it_loses_is_counted_and_told(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    collector.gate.clear()
    settings = {"delivery.drain_timeout_s": DRAIN_TIMEOUT_S}
    async with desk(broker, names, webhook, collector, settings) as at:
        await at.publish(message("id-1", traceparent(1)))
        await at.ended(1)
        await wait_until(lambda: collector.requests, what="the first export")
        assert await at.consumer.terminate(DRAIN_TIMEOUT_S) == 0
        assert at.consumer.events("service.stopped")
        (lost,) = at.consumer.events("traces.export_failed")
        assert (lost["level"], lost["spans"]) == ("warning", 2)
        assert "within 2 s" in lost["why"]


async def test_a_post_that_is_cut_off_is_told_and_the_next_consumer_tells_what_became_of_its_order(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    webhook.behave(Hang())
    patient = {"webhook.timeout_s": 60, "delivery.drain_timeout_s": 90}
    consumer = Consumer(broker.url, names.prefix, webhook.url, SETTINGS | patient)
    try:
        consumer.start()
        await consumer.started()
        await publish_all(broker.url, names.orders, "main", [message("id-1", traceparent(1))])
        await webhook.received(1)
        consumer.signal(signal.SIGTERM)
        await wait_until(lambda: consumer.events("service.draining"), what="the drain")
        consumer.signal(signal.SIGTERM)
        assert await consumer.exited() == 0
        assert len(collector.spans) == 2
    finally:
        consumer.close()
    async with desk(broker, names, webhook, collector) as at:
        await at.spans(2 + 2)
        sent, buried = at.process(trace(1))
        assert shape(sent) == ("process signalq.orders", "CONSUMER", "sending", None, False)
        (post,) = at.below(sent)
        assert shape(post) == ("POST", "CLIENT", "unknown", "cut_off", True)
        assert post.says == "the consumer ended while it was sending"
        assert post.ended_ns == sent.ended_ns
        assert shape(buried) == ("process signalq.orders", "CONSUMER", "dead", "outcome-unknown", True)
        assert [span.name for span in at.below(buried)] == [f"publish {names.dead}"]
    assert len(webhook.orders) == 1


async def test_a_collector_that_refuses_is_told_once_and_counted(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    collector.status = 401
    async with desk(broker, names, webhook, collector) as at:
        await at.publish(message("id-1", traceparent(1)))

        async def counted() -> bool:
            return await at.consumer.metric("signalq_spans_dropped_total") == 2

        await wait_until(counted, what="the spans to be counted")
        await at.publish(message("id-2"))
        await wait_until(lambda: collector.requests > 1, what="another export")
        await at.ended(2)
        await at.consumer.end()
        first, rest = at.consumer.events("traces.export_failed")
    # Once as it happens, and what was not told within the minute at the end.
    assert (first["why"], first["spans"] + rest["spans"]) == ("HTTP 401", 4)
    assert len(webhook.orders) == 2


LOOKING = """
import atexit, json, sys
def look():
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "google", "requests"})
    print(json.dumps({"event": "looked", "loaded": loaded}), file=sys.stderr)
atexit.register(look)
from signalq.consumer.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("variables", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
async def test_off_nothing_of_opentelemetry_is_loaded_after_100_orders(
    broker: Broker, names: Names, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    if variables:
        variables = {**variables, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=("-c", LOOKING)) as consumer:
        await consumer.started()
        messages = [message(f"id-{number}", traceparent(number + 1)) for number in range(100)]
        await publish_all(broker.url, names.orders, "main", messages)
        await wait_until(lambda: len(consumer.events("intent.settled")) == 100, what="100 endings")
        await consumer.end()
        (looked,) = consumer.events("looked")
        assert looked["loaded"] == []
        assert not consumer.events("traces.started")


WITHOUT_THE_EXTRA = """
import sys
sys.modules["opentelemetry.sdk"] = None
from signalq.consumer.__main__ import main
sys.exit(main())
"""


async def test_an_endpoint_without_the_extra_ends_the_start_with_a_sentence(
    broker: Broker, names: Names, webhook: Webhook, collector: Collector
) -> None:
    consumer = Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=("-c", WITHOUT_THE_EXTRA))
    try:
        consumer.start()
        assert await consumer.exited() == 2
        (failed,) = consumer.events("service.failed")
        assert failed["kind"] == "package-missing"
        assert failed["why"].startswith(
            "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and the package opentelemetry.sdk"
        )
        assert "[otel]" in failed["why"]
        assert failed["why"].endswith("or set OTEL_TRACES_EXPORTER=none to leave traces off")
    finally:
        consumer.close()


async def program(text: str, variables: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a program of Python's; its status, and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        text,
        cwd=ROOT,
        env=os.environ | dict(variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()
