"""The spans that are made of a message's steps, by the real SDK: which there are, and what is in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, Sampler
from opentelemetry.trace import StatusCode
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import Attempt, IntentState, Reason
from signalq.consumer.steps import NO_STEPS, NotedSteps
from signalq.consumer.telemetry.spans import DESCRIPTION_CHARACTERS_MAX, OrderTraces
from signalq.settings.sections import Settings
from signalq.traces.afterwards import SpanMaker
from tests.support.orders import body

TRACE, PRODUCER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = {"traceparent": f"00-{TRACE}-{PRODUCER}-01"}
SECRET = "a-token-that-is-configured-0f3b"
SETTINGS = Settings.model_validate({"connectors": {"kept": {"token": SECRET}}})
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200, duration_s=0.01)
NOW_MS = 1_796_000_000_000


@dataclass
class Made:
    """The traces, and the spans that they have made."""

    traces: OrderTraces
    spans: list[ReadableSpan]

    def of(self, delivery: Delivery) -> list[ReadableSpan]:
        """The spans of a delivery, the processing last."""
        self.spans.clear()
        self.traces.end(delivery)
        return list(self.spans)


def made(settings: Settings = SETTINGS, sampler: Sampler = DEFAULT_ON) -> Made:
    spans: list[ReadableSpan] = []
    return Made(OrderTraces(settings, SpanMaker(sampler, Resource({}), spans.append), lambda: None), spans)


def delivered(content: bytes, *, routing_key: str = "main", **properties: Any) -> tuple[Delivery, Order | Unreadable]:
    """A delivery whose steps are noted, and what was read of it."""
    given = {"message_id": "id-1", "app_id": "momentum", "headers": HEADER} | properties
    message = Message(
        content,
        Basic.Properties(**given),
        routing_key,
        redelivered=False,
        queue="signalq.orders",
        exchange="signalq.orders",
    )
    return Delivery(message, 1, cast("Session", None), steps=NotedSteps()), read(message, SETTINGS, NOW_MS)


def steps_of(delivery: Delivery) -> NotedSteps:
    assert isinstance(delivery.steps, NotedSteps)
    return delivery.steps


def state_of(order: Order | Unreadable, reason: Reason | None = None, **changes: Any) -> IntentState:
    return replace(IntentState(order.intent_id, b"", attempts=1, reason=reason), **changes)


def texts(spans: list[ReadableSpan]) -> str:
    """All that spans show of strings."""
    return " ".join(f"{span.name} {dict(span.attributes or {})} {span.status.description}" for span in spans)


def test_a_message_that_was_neither_settled_nor_tried_has_no_span() -> None:
    make = made()
    delivery, _ = delivered(body())
    assert make.of(delivery) == []
    assert make.of(replace(delivery, steps=NO_STEPS)) == []
    assert isinstance(make.traces.begin(replace(delivery, steps=NO_STEPS)).steps, NotedSteps)


def test_spans_that_cannot_be_made_are_logged_and_raise_nothing() -> None:
    def fails(_span: ReadableSpan) -> None:
        raise RuntimeError("in OpenTelemetry")

    traces = OrderTraces(SETTINGS, SpanMaker(DEFAULT_ON, Resource({}), fails), lambda: None)
    delivery, order = delivered(body())
    steps_of(delivery).settled(order, "delivered", state_of(order))
    with capture_logs() as logs:
        traces.end(delivery)
    assert [line["event"] for line in logs] == ["traces.failed"]


def test_an_order_that_is_let_go_after_an_attempt_shows_that() -> None:
    delivery, order = delivered(body())
    assert isinstance(order, Order)
    failed = Attempt("not taken", sent=True, why="HTTP 429", status=429, duration_s=0.01)
    delivery.steps.claims()
    delivery.steps.claimed(order, state_of(order))
    delivery.steps.tried(failed)
    post, process = made().of(delivery)
    assert (post.attributes or {})["error.type"] == "429"
    assert (process.attributes or {})["signalq.status"] == "retrying"
    assert process.status.status_code is StatusCode.UNSET


def test_a_post_that_was_cut_off_is_in_doubt_and_its_order_is_still_being_sent() -> None:
    delivery, order = delivered(body())
    assert isinstance(order, Order)
    delivery.steps.claims()
    delivery.steps.claimed(order, state_of(order))
    post, process = made().of(delivery)
    attributes = dict(post.attributes or {})
    assert (attributes["error.type"], attributes["signalq.certainty"], attributes["signalq.sent"]) == (
        "cut_off",
        "unknown",
        True,
    )
    assert post.status.description == "the consumer ended while it was sending"
    assert (process.attributes or {})["signalq.status"] == "sending"
    assert (process.start_time or 0) <= (post.start_time or 0) <= (post.end_time or 0) == process.end_time


@pytest.mark.parametrize(
    ("attempt", "problem"),
    [
        (ACCEPTED, None),
        (Attempt("refused", sent=True, why="HTTP 302", status=302, duration_s=0.01), None),
        (Attempt("refused", sent=True, why="HTTP 400", status=400, duration_s=0.01), "400"),
        (Attempt("unknown", sent=True, why="HTTP 502", status=502, duration_s=0.01), "502"),
        (Attempt("unknown", sent=True, why="HTTP 200 with another body", status=200), "unexpected_answer"),
        (Attempt("unknown", sent=True, why="timed out", failure="timeout"), "timeout"),
        (Attempt("unknown", sent=True, why="it hung up", failure="disconnected"), "disconnected"),
        (Attempt("not taken", sent=False, why="refused", failure="connect"), "connect"),
        (Attempt("not taken", sent=False, why="no tunnel", failure="proxy"), "proxy"),
        (Attempt("not taken", sent=False, why="too late", failure="too_late"), "too_late"),
    ],
)
def test_each_kind_of_attempt_is_an_error_or_none_and_says_how_certain_it_is(
    attempt: Attempt, problem: str | None
) -> None:
    delivery, order = delivered(body())
    assert isinstance(order, Order)
    delivery.steps.claimed(order, state_of(order, attempts=3))
    delivery.steps.tried(attempt)
    post, _ = made().of(delivery)
    attributes = dict(post.attributes or {})
    assert attributes.get("error.type") == problem
    assert (post.status.status_code is StatusCode.ERROR) == (problem is not None)
    assert attributes["signalq.certainty"] == attempt.certainty.replace(" ", "_")
    assert (attributes["signalq.sent"], attributes["http.request.resend_count"]) == (attempt.sent, 2)
    assert attributes.get("http.response.status_code") == attempt.status


def test_a_claim_that_took_too_long_has_no_post() -> None:
    delivery, order = delivered(body())
    assert isinstance(order, Order)
    delivery.steps.claimed(order, state_of(order))
    delivery.steps.tried(Attempt("not taken", sent=False, why="its claim took too long"))
    (process,) = made().of(delivery)
    assert process.name == "process signalq.orders"


def test_of_the_webhooks_url_neither_query_nor_anything_else_secret_is_shown() -> None:
    settings = Settings.model_validate(
        {"connectors": {"main": {"url": "https://hook.example/orders/in?key=quite-secret&a=%2F"}}}
    )
    message = Message(body(), Basic.Properties(message_id="id-1"), "main", redelivered=False)
    order = read(message, settings, NOW_MS)
    assert isinstance(order, Order)
    delivery = Delivery(message, 1, cast("Session", None), steps=NotedSteps())
    delivery.steps.claimed(order, state_of(order))
    delivery.steps.tried(ACCEPTED)
    post, _ = made(settings).of(delivery)
    attributes = dict(post.attributes or {})
    assert attributes["url.full"] == "https://hook.example/orders/in?REDACTED"
    assert (attributes["server.address"], attributes["server.port"]) == ("hook.example", 443)


@pytest.mark.parametrize(
    "message",
    [
        delivered(body(connectorName="kept", connectorToken=SECRET), routing_key=SECRET),
        delivered(body(connectorToken="its-own-token-77"), correlation_id="its-own-token-77", routing_key="x"),
        delivered(body(connectorName="kept", connectorToken=SECRET), correlation_id=f"id {SECRET}"),
        delivered(body(connectorName="kept", connectorToken=SECRET, percent="500"), routing_key=SECRET),
        delivered(body(connectorName="kept", connectorToken=SECRET, percent="500"), message_id=SECRET),
        delivered(body(connectorName="kept", connectorToken=SECRET), app_id=SECRET),
        delivered(body(connectorTokne=SECRET)),
        delivered(b"no json: " + SECRET.encode(), routing_key=SECRET, correlation_id=SECRET),
    ],
    ids=lambda given: type(given[1]).__name__,
)
def test_no_token_is_shown_wherever_its_producer_has_put_it(message: tuple[Delivery, Order | Unreadable]) -> None:
    delivery, order = message
    delivery.steps.publishes_letter()
    delivery.steps.letter_confirmed()
    delivery.steps.settled(
        order, "dead", state_of(order, "rejected", detail="why") if isinstance(order, Order) else None
    )
    spans = made().of(delivery)
    assert len(spans) == 2
    assert SECRET not in texts(spans)
    assert "its-own-token-77" not in texts(spans)
    assert "50" not in {str(value) for span in spans for value in (span.attributes or {}).values()}


def test_a_conversation_that_is_no_secret_is_shown() -> None:
    delivery, order = delivered(body(), correlation_id="basket-7")
    delivery.steps.settled(order, "delivered", state_of(order))
    (process,) = made().of(delivery)
    assert (process.attributes or {})["messaging.message.conversation_id"] == "basket-7"


def test_text_that_is_no_utf_8_is_told_all_the_same_and_a_long_sentence_is_cut() -> None:
    delivery, order = delivered(body())
    assert isinstance(order, Order)
    odd = replace(order, identity=replace(order.identity, strategy="a\ud800b\x00ü"))
    delivery.steps.settled(odd, "dead", state_of(odd, "rejected", detail="why\udfff" * 1000))
    (process,) = made().of(delivery)
    assert (process.attributes or {})["signalq.strategy"] == "a\\ud800b\x00ü"
    description = process.status.description or ""
    description.encode()
    assert description.startswith("why\\udfff")
    assert len(description) == DESCRIPTION_CHARACTERS_MAX


def test_a_clock_that_was_set_back_makes_no_span_end_before_it_began() -> None:
    delivery, order = delivered(body())
    steps = steps_of(delivery)
    steps.settled(order, "delivered", state_of(order))
    steps.settled_ns, steps.turn_ns = 1_000, 5_000
    (process,) = made().of(delivery)
    assert (process.start_time, process.end_time) == (5_000, 5_000)
    assert (process.attributes or {})["signalq.age_s"] == 0.0


@pytest.mark.parametrize(
    ("status", "attempts", "is_kept"),
    [
        ("delivered", 1, False),
        ("scheduled", 0, False),
        ("forwarded", 0, False),
        ("delivered", 2, True),
        ("dead", 1, True),
        ("canceled", 0, True),
        ("duplicate", 1, True),
    ],
)
def test_failures_are_kept_whatever_the_sampler_says_where_that_is_asked_for(
    status: str, attempts: int, is_kept: bool
) -> None:
    settings = Settings.model_validate({"traces": {"keep_failures": True}})
    delivery, order = delivered(body())
    delivery.steps.settled(order, status, state_of(order, attempts=attempts))
    assert bool(made(settings, ALWAYS_OFF).of(delivery)) == is_kept
    assert made(SETTINGS, ALWAYS_OFF).of(delivery) == []
    assert len(made(settings).of(delivery)) == 1


@pytest.mark.parametrize("delayed", ["link", "continue"])
@pytest.mark.parametrize(
    ("status", "generation", "is_due", "is_later"),
    [
        ("delivered", 1, True, True),
        ("canceled", 1, True, True),
        ("canceled", 1, False, False),
        ("scheduled", 1, False, False),
        ("delivered", 2, False, True),
    ],
)
def test_time_or_a_person_between_makes_a_link_of_the_parent(
    delayed: str, status: str, generation: int, is_due: bool, is_later: bool
) -> None:
    settings = Settings.model_validate({"traces": {"delayed": delayed}})
    delivery, order = delivered(body(delaySeconds=60))
    assert isinstance(order, Order)
    if is_due:
        order = order.fallen_due((order.timing.due_ms or 0) + 1)
    delivery.steps.settled(order, status, state_of(order, generation=generation))
    (process,) = made(settings).of(delivery)
    links = [format(link.context.span_id, "016x") for link in process.links]
    if is_later and delayed == "link":
        assert (process.parent, links) == (None, [PRODUCER])
    else:
        assert process.parent is not None
        assert (format(process.parent.span_id, "016x"), links) == (PRODUCER, [])
