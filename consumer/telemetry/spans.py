"""The spans of orders, made behind their acknowledgement of the steps that were noted: docs/traces.md lists them.

Only traces.py imports this module, where traces are on: it loads OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from yarl import URL

from signalq.consumer.broker.session import Delivery
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.state import Attempt
from signalq.consumer.steps import NotedSteps, Tried
from signalq.consumer.telemetry.traces import Traces
from signalq.names import Names
from signalq.publishing.spans import attributes_of, context_of
from signalq.secrets.blanking import hold_token
from signalq.settings.sections import UNLIKE_A_NAME_CHARACTERS_MIN, Settings
from signalq.times import iso_ms
from signalq.traces.afterwards import UNSET, Place, SpanMaker

WEBHOOKS_KEPT_MAX = 1_000
DESCRIPTION_CHARACTERS_MAX = 500
# Neither an ending nor a trouble: the order goes on.
ON_ITS_WAY = frozenset({"scheduled", "forwarded"})
# Let go after an attempt, for another consumer to try again.
LET_GO = "retrying"

Attributes = dict[str, Any]

log = structlog.get_logger()


class OrderTraces(Traces):
    """Makes a span of an order's processing, one of each of its POSTs, and one of its dead letter."""

    def __init__(self, settings: Settings, maker: SpanMaker, begin_flush: Callable[[], None]) -> None:
        names, url = Names(settings.broker.prefix), settings.broker.url.get_secret_value()
        self._maker = maker
        self._begin_flush = begin_flush
        self._links_what_is_later = settings.traces.delayed == "link"
        self._keeps_failures = settings.traces.keep_failures
        self._process_name, self._letter_name = f"process {names.orders}", f"publish {names.dead}"
        self._process = attributes_of(url, "signalq consumer") | {
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.template": names.orders,
        }
        self._letter = attributes_of(url, "signalq consumer publishing") | {
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.destination.name": names.dead,
            "messaging.destination.template": names.dead,
            "messaging.rabbitmq.destination.routing_key": names.dead,
        }
        self._webhook = lru_cache(WEBHOOKS_KEPT_MAX)(_webhook)

    def begin(self, delivery: Delivery) -> Delivery:
        """See Traces."""
        return delivery.noted_by(NotedSteps())

    def end(self, delivery: Delivery) -> None:
        """See Traces. Whatever fails at it is logged, and holds no order up."""
        try:
            self._make(delivery)
        except Exception:
            log.exception("traces.failed")

    def _make(self, delivery: Delivery) -> None:
        """A copy that was dropped has no spans, nor a hop of the ladder, nor what was let go untried."""
        steps = delivery.steps
        if not isinstance(steps, NotedSteps) or steps.order is None:
            return
        steps.ended()
        producer, links = self._producer_of(steps, steps.order)
        keeps = self._keeps_failures and not _went_smoothly(steps)
        place = self._maker.place(self._process_name, SpanKind.CONSUMER, producer, links, always=keeps)
        if place is None:
            return
        for tried in steps.tries:
            self._make_post(self._maker.below(place), tried)
        if steps.letter_confirmed_ns:
            self._make_letter(self._maker.below(place), steps, steps.order)
        attributes = self._process | _of_message(delivery.message, steps.order) | _of_steps(steps)
        status = Status(StatusCode.ERROR, _detail(steps)) if steps.status == "dead" else UNSET
        times_ns = steps.turn_ns, steps.settled_ns
        self._maker.make(self._process_name, SpanKind.CONSUMER, place, attributes, times_ns, status)

    def begin_flush(self) -> None:
        """See Traces."""
        self._begin_flush()

    def _producer_of(self, steps: NotedSteps, order: Order | Unreadable) -> tuple[SpanContext | None, Sequence[Link]]:
        """The producer's span as the parent, or as the end of a link."""
        if order.traceparent is None:
            return None, ()
        producer: SpanContext = context_of(trace, order.traceparent)
        if self._links_what_is_later and is_later(steps, order):
            return None, (Link(producer),)
        return producer, ()

    def _make_post(self, place: Place, tried: Tried) -> None:
        attempt = tried.attempt
        if attempt.status is None and attempt.failure is None:
            return  # its claim took too long, and no POST was begun
        problem = _problem(attempt)
        attributes: Attributes = self._webhook(tried.url) | {
            "http.request.method": "POST",
            "http.response.status_code": attempt.status,
            "http.request.resend_count": tried.number - 1 or None,
            "error.type": problem,
            "signalq.certainty": attempt.certainty.replace(" ", "_"),
            "signalq.sent": attempt.sent,
            "signalq.retry_after_s": attempt.retry_after_s,
        }
        status = Status(StatusCode.ERROR, attempt.why) if problem is not None else UNSET
        self._maker.make("POST", SpanKind.CLIENT, place, _given(attributes), (tried.began_ns, tried.ended_ns), status)

    def _make_letter(self, place: Place, steps: NotedSteps, order: Order | Unreadable) -> None:
        times_ns = steps.letter_ns, steps.letter_confirmed_ns
        self._maker.make(self._letter_name, SpanKind.PRODUCER, place, self._letter | _id_of(order), times_ns)


def is_later(steps: NotedSteps, order: Order | Unreadable) -> bool:
    """Whether time or a person has come between the publish and this: the delay is over, or the intent was replayed."""
    if steps.state is not None and steps.state.generation > 1:
        return True
    if not isinstance(order, Order) or order.timing.due_ms is None:
        return False
    return order.timing.is_due and steps.status not in ON_ITS_WAY


def _went_smoothly(steps: NotedSteps) -> bool:
    """Whether the order was delivered by its first POST, or goes on without any trouble."""
    if steps.status in ON_ITS_WAY:
        return True
    return steps.status == "delivered" and steps.state is not None and steps.state.attempts == 1


def _of_message(message: Message, order: Order | Unreadable) -> Attributes:
    """Where the message came from, and which it is. Foreign text is shown where it is known to be no secret."""
    # A routing key is anybody's text, unless it is the name that was checked with the order.
    routing_key = message.routing_key if message.routing_key in (order.connector, message.queue) else ""
    parts = dict.fromkeys(part for part in (message.exchange, routing_key, message.queue) if part)
    found: Attributes = {
        "messaging.destination.name": ":".join(parts),
        "messaging.rabbitmq.destination.routing_key": routing_key or None,
        "messaging.message.conversation_id": _conversation(message, order),
        "signalq.connector": order.connector,
        "signalq.strategy": order.strategy,
        "signalq.action": order.intent.action if isinstance(order, Order) else order.action,
        "signalq.redelivered": message.redelivered,
    }
    return _given(found) | _id_of(order)


def _id_of(order: Order | Unreadable) -> Attributes:
    """Its `message_id` where that is the intent's id, which was checked; else that id under a name of ours."""
    is_the_message_s = order.identity.message_id == order.intent_id
    return _given({"messaging.message.id" if is_the_message_s else "signalq.intent_id": order.intent_id})


def _conversation(message: Message, order: Order | Unreadable) -> str | None:
    """A producer's text that nobody has checked: shown unless it may hold a token, its own or a configured one."""
    text, short = message.properties.correlation_id, UNLIKE_A_NAME_CHARACTERS_MIN
    if not text or not isinstance(order, Order) or order.policy.blanker.finds(text, characters_min=short):
        return None
    own = order.intent.connector_token or ""
    return None if len(own) >= short and hold_token([text], own) else text


def _of_steps(steps: NotedSteps) -> Attributes:
    """The end of the order here, its ages, and the times that it waited."""
    state, order = steps.state, steps.order
    is_dead = steps.status == "dead"
    reason = order.reason if isinstance(order, Unreadable) else state.reason if state is not None else None
    claims_s = [(tried.began_ns - tried.asked_ns) / 1e9 for tried in steps.tries]
    found: Attributes = {
        "signalq.status": steps.status or LET_GO,
        "signalq.reason": reason if is_dead else None,
        "error.type": reason if is_dead else None,
        "signalq.generation": state.generation if state is not None else None,
        "signalq.attempts": state.attempts if state is not None else None,
        "signalq.wait_s": _seconds((steps.turn_ns - steps.received_ns) / 1e9),
        "signalq.claim_s": _seconds(sum(claims_s)) if claims_s else None,
        "signalq.backoff_s": _seconds(steps.waited_ns / 1e9) if steps.waited_ns > 0 else None,
    }
    if isinstance(order, Order):
        found |= _ages(steps, order)
    return _given(found)


def _ages(steps: NotedSteps, order: Order) -> Attributes:
    """The ages at its first POST here, or where there was none when it was settled."""
    at_ms, timing = (steps.tries[0].began_ns if steps.tries else steps.settled_ns) / 1e6, order.timing
    began_ms = timing.creation.age_ms if timing.replayed_ms is None else timing.replayed_ms
    found: Attributes = {"signalq.age_s": _seconds((at_ms - began_ms) / 1000)}
    if timing.due_ms is not None:
        found["signalq.due_at"] = iso_ms(timing.due_ms)
        if steps.status not in ON_ITS_WAY:
            found["signalq.late_s"] = _seconds((at_ms - timing.due_ms) / 1000)
    return found


def _detail(steps: NotedSteps) -> str | None:
    """The sentence that says why it is dead, which quotes no body."""
    detail = steps.order.detail if isinstance(steps.order, Unreadable) else steps.state.detail if steps.state else None
    return _utf8(detail)[:DESCRIPTION_CHARACTERS_MAX] if detail is not None else None


def _problem(attempt: Attempt) -> str | None:
    """The class of what was wrong with an attempt; None where nothing was."""
    if attempt.status is None:
        return attempt.failure
    if attempt.status >= 400:
        return str(attempt.status)
    return "unexpected_answer" if attempt.certainty == "unknown" else None


def _webhook(url: str) -> Attributes:
    """The webhook as spans show it: a query may hold a secret."""
    parsed = URL(url)
    query = "?REDACTED" if parsed.raw_query_string else ""
    shown = f"{parsed.scheme}://{parsed.host_port_subcomponent}{parsed.raw_path}{query}"
    return {"server.address": parsed.host, "server.port": parsed.port, "url.full": shown}


def _seconds(seconds: float) -> float:
    """Whole µs; a clock that was set meanwhile makes nothing negative."""
    return max(0.0, round(seconds, 6))


def _given(attributes: Mapping[str, Any]) -> Attributes:
    """The attributes without None, in UTF-8: one text that is none would cost the whole batch."""
    return {
        name: value if not isinstance(value, str) or value.isascii() else _utf8(value)
        for name, value in attributes.items()
        if value is not None
    }


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
