"""The name of every exchange, queue, routing key and header, written once."""

from typing import Final

# Headers a producer may set.
CREATED_MS = "signalq-created-ms"
STRATEGY = "signalq-strategy"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

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

# Takes the place of a header table that could not be read.
UNREADABLE_HEADERS = "signalq-unreadable-headers"

OWN_HEADERS = frozenset(
    {REASON, DETAIL, ATTEMPTS, HTTP_STATUS, ANSWER, DEAD_AT, INTENT_ID, GENERATION, CONNECTOR, ORIGIN_USER}
    | {PARK_RANK, HOPS, BODY_BYTES, SEAL, UNREADABLE_HEADERS}
)

# The header in which a broker that stamps messages says when it took one, in ms since the epoch (RabbitMQ's message
# interceptor set_header_timestamp).
BROKER_TIMESTAMP_MS = "timestamp_in_ms"

# Level k of the ladder holds a message for 2^k seconds; 20 levels reach 1,048,575 s, above twelve days.
LADDER_LEVELS = 20
LADDER_MAX_S = (1 << LADDER_LEVELS) - 1


class Names:
    """The broker's objects under one prefix."""

    def __init__(self, prefix: str = "signalq") -> None:
        self.prefix: Final = prefix
        # The exchange that producers publish to, and the queue of the shared lane.
        self.orders: Final = f"{prefix}.orders"
        # The alternate exchange of `orders`, which feeds the shared lane.
        self.unrouted: Final = f"{prefix}.unrouted"
        # The queue of the messages that come back from the ladder.
        self.due: Final = f"{prefix}.due"
        # The dead-letter queue.
        self.dead: Final = f"{prefix}.dead"
        # The exclusive queue that a reader of the dead letters holds, so that there is one reader at a time.
        self.dead_reader: Final = f"{prefix}.dead.reader"
        # The queue of one message, which says the ledger that the lanes belong to.
        self.ledger: Final = f"{prefix}.ledger"
        # The topic exchange of outcome events.
        self.outcomes: Final = f"{prefix}.outcomes"

    def lane(self, connector: str) -> str:
        """The queue of a connector's own lane."""
        return f"{self.orders}.{connector}"

    def connector_of(self, queue: str) -> str | None:
        """The connector of an own lane, by the name of the queue; None for any other queue."""
        own = f"{self.orders}."
        return queue.removeprefix(own) if queue.startswith(own) else None

    def outcome_queue(self, listener: str) -> str:
        """The exclusive queue of one listener for outcome events."""
        return f"{self.outcomes}.{listener}"

    def delay(self, level: int) -> str:
        """The exchange and the queue of one level of the delay ladder, from 0 to LADDER_LEVELS - 1."""
        return f"{self.prefix}.delay.{level}"

    def is_delay(self, name: object) -> bool:
        """Whether `name` is that of a level of the ladder."""
        return isinstance(name, str) and name.startswith(f"{self.prefix}.delay.")
