"""Every exchange, queue, routing key and header, once."""

from __future__ import annotations

from dataclasses import dataclass

# Headers a producer may set.
CREATED_MS = "signalq-created-ms"
STRATEGY = "signalq-strategy"
TRACEPARENT = "traceparent"

# Headers that signalq sets, on dead letters and on what it parks.
REASON = "signalq-reason"
DETAIL = "signalq-detail"
ATTEMPTS = "signalq-attempts"
HTTP_STATUS = "signalq-http-status"
ANSWER = "signalq-answer"
DEAD_AT = "signalq-dead-at"
INTENT_ID = "signalq-intent-id"
GENERATION = "signalq-generation"
CONNECTOR = "signalq-connector"
ORIGIN_USER = "signalq-origin-user"
PARK_RANK = "signalq-park-rank"
HOPS = "signalq-hops"
BODY_BYTES = "signalq-body-bytes"
SEAL = "signalq-seal"

# Stands in place of a header table that could not be read.
UNREADABLE_HEADERS = "signalq-unreadable-headers"

OWN_HEADERS = frozenset(
    {
        REASON,
        DETAIL,
        ATTEMPTS,
        HTTP_STATUS,
        ANSWER,
        DEAD_AT,
        INTENT_ID,
        GENERATION,
        CONNECTOR,
        ORIGIN_USER,
        PARK_RANK,
        HOPS,
        BODY_BYTES,
        SEAL,
        UNREADABLE_HEADERS,
    }
)

# The header with which a broker that stamps messages says when it took one, in ms since the epoch
# (RabbitMQ's message interceptor set_header_timestamp).
BROKER_TIMESTAMP_MS = "timestamp_in_ms"

# Level k of the ladder holds a message for 2^k seconds; 20 levels reach 1,048,575 s, above twelve days.
LADDER_LEVELS = 20
LADDER_MAX_S = (1 << LADDER_LEVELS) - 1


@dataclass(frozen=True, slots=True)
class Names:
    """The broker's objects under one prefix."""

    prefix: str = "signalq"

    @property
    def orders(self) -> str:
        """Exchange where producers publish, and the queue of the shared lane."""
        return f"{self.prefix}.orders"

    def lane(self, connector: str) -> str:
        """Queue of a connector's own lane."""
        return f"{self.orders}.{connector}"

    def connector_of(self, queue: str) -> str | None:
        """Whose own lane a queue would be, by its name; None for any other queue."""
        own = f"{self.orders}."
        return queue.removeprefix(own) if queue.startswith(own) else None

    @property
    def unrouted(self) -> str:
        """Alternate exchange of `orders`: feeds the shared lane."""
        return f"{self.prefix}.unrouted"

    @property
    def due(self) -> str:
        """Queue of what the ladder hands back."""
        return f"{self.prefix}.due"

    @property
    def dead(self) -> str:
        """The dead-letter queue."""
        return f"{self.prefix}.dead"

    @property
    def dead_reader(self) -> str:
        """Exclusive queue of whoever reads the dead letters: the right to do so."""
        return f"{self.prefix}.dead.reader"

    @property
    def ledger(self) -> str:
        """Queue of one message: which ledger the lanes belong to."""
        return f"{self.prefix}.ledger"

    @property
    def outcomes(self) -> str:
        """Topic exchange of outcome events."""
        return f"{self.prefix}.outcomes"

    def outcome_queue(self, listener: str) -> str:
        """Exclusive queue of one listener for outcome events."""
        return f"{self.outcomes}.{listener}"

    def delay(self, level: int) -> str:
        """Exchange and queue of one level of the delay ladder, 0 to LADDER_LEVELS - 1."""
        return f"{self.prefix}.delay.{level}"

    def is_delay(self, name: object) -> bool:
        """Whether this is the name of one level of the ladder."""
        return isinstance(name, str) and name.startswith(f"{self.prefix}.delay.")
