"""The log and the metrics of an intent on its way: one line and one count for each event."""

import logging
from collections import defaultdict
from typing import Any

import structlog

from signalq.consumer.clocks.clock import Clock
from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.orders.decisions import After, DeadLetter, Retry
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.telemetry.metrics import Metrics
from signalq.times import iso_ms

WARNED_MAX = 1000

log = structlog.get_logger()


class IntentTelemetry:
    """Logs and counts what happens to intents; decides nothing."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._label = metrics.connector_label
        self._clock = clock
        # The strategies or connectors that a warning has named.
        self._named: defaultdict[str, set[str]] = defaultdict(set)

    def received(self, order: Order, near: str | None) -> None:
        """A valid intent came in, for the first time or again; its connector, not configured, may be `near` another."""
        age_s = (order.timing.received_ms - order.timing.creation.age_ms) / 1000
        self._metrics.receipt_age_seconds.observe(age_s)
        if log.is_enabled_for(logging.DEBUG):
            log.debug("intent.received", **facts_of(order), redelivered=order.provenance.redelivered)
        # A second delivery can not be told from a second order.
        if order.identity.message_id is None and self._is_first("without identity", order.strategy):
            log.warning("intent.without_message_id", strategy=order.strategy, connector=order.connector)
        # The broker may drop such a message before we see it: the order would be lost, and nobody would know.
        if order.provenance.may_vanish and self._is_first("with expiration", order.strategy):
            log.warning("intent.with_expiration", strategy=order.strategy, connector=order.connector)
        # Such an intent counts as created now, whatever its deadline was meant to be.
        created = order.timing.creation
        if created.is_ahead and self._is_first("dated ahead", order.strategy):
            log.warning(
                "intent.dated_ahead",
                strategy=order.strategy,
                connector=order.connector,
                ahead_s=created.ahead_ms / 1000,
                said_by=created.source,
            )
        # Such a connector has none of the limits and pauses of the one that was meant.
        if near is not None and self._is_first("near another", order.connector):
            log.warning("connector.near_another", connector=order.connector, near=near, strategy=order.strategy)

    def _is_first(self, warning: str, name: str) -> bool:
        """Whether this warning did not name it yet; beyond WARNED_MAX names none is new."""
        named = self._named[warning]
        if name in named or len(named) >= WARNED_MAX:
            return False
        named.add(name)
        return True

    def claimed(self, claim: LedgerEntry) -> None:
        """A POST is about to begin. At the first one, note how late it is, and which limits only report it."""
        order = claim.order
        for pending in claim.canceled:
            self._metrics.intents_with(self._label(pending.connector), "canceled", "").inc()
            facts = {"intent_id": pending.intent_id, "connector": pending.connector, "strategy": pending.strategy}
            log.info("intent.settled", **facts, action=pending.action, status="canceled", canceled_by=order.intent_id)
        if claim.state.attempts > 1:
            return
        if order.route.is_misrouted:
            log.warning(
                "intent.handled_astray", **facts_of(order), source=order.route.source_queue, queue=order.route.lane
            )
        late_s = (self._clock.now_ms() - order.timing.age_from_ms) / 1000
        self._metrics.end_to_end_seconds.observe(late_s)
        if order.timing.due_ms is not None:
            self._metrics.delay_error_seconds.observe(late_s)
        for one in (*order.exceeded(enforced=False), *(rate.exceeded for rate in claim.over_rates)):
            self._metrics.limits_exceeded.labels(self._label(order.connector), one.limit).inc()
            log.warning("limit.exceeded", **facts_of(order), limit=one.limit, scope=one.scope, detail=one.detail)

    def attempted(self, order: Order, state: IntentState, attempt: Attempt, after: After) -> None:
        """A POST has ended, or could not begin."""
        self._metrics.attempts_with(self._label(order.connector), attempt.certainty).inc()
        self._metrics.webhook_seconds.observe(attempt.duration_s)
        log.info(
            "delivery.attempted",
            **facts_of(order),
            attempt=state.attempts,
            certainty=attempt.certainty,
            why=attempt.why,
            answer=attempt.answer,
            duration_ms=round(attempt.duration_s * 1000, 1),
            next_attempt_at=iso_ms(after.at_ms) if isinstance(after, Retry) else None,
        )

    def parked(self, order: Order, due_ms: int) -> None:
        """The ladder has the intent."""
        self._metrics.intents_with(self._label(order.connector), "scheduled", "").inc()
        log.info("intent.scheduled", **facts_of(order), due_at=iso_ms(due_ms))

    def forwarded(self, order: Order, queue: str) -> None:
        """The order lay in another lane than its connector's, which has it now."""
        log.info("intent.forwarded", **facts_of(order), source=order.route.source_queue, queue=queue)

    def dead_lettered(self, order: Order | Unreadable, letter: DeadLetter, answer: str | None = None) -> None:
        """The dead-letter queue has the intent; `answer` is the webhook's last one, where that was no success."""
        reason, detail = letter.reason, letter.detail
        log.error("intent.dead_lettered", **facts_of(order), reason=reason, detail=detail, answer=answer)

    def settled(self, order: Order | Unreadable, status: str, reason: str = "") -> None:
        """The intent has ended."""
        if status == "delivered":
            self._metrics.note_accepted(order.connector)
        self._metrics.intents_with(self._label(order.connector), status, reason).inc()
        log.info("intent.settled", **facts_of(order), status=status, reason=reason or None)


def facts_of(order: Order | Unreadable) -> dict[str, Any]:
    """The fields of every log line about an intent; `trace_id` where its producer has named its span."""
    facts = {"intent_id": order.intent_id, "connector": order.connector, "strategy": order.strategy}
    if isinstance(order, Order):
        facts["action"] = order.intent.action
    if order.traceparent is not None:
        facts["trace_id"] = order.traceparent.trace
    return facts
