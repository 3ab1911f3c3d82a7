"""The name of every exchange, queue, routing key and header, written once."""

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


@dataclass(frozen=True, slots=True)
class Names:
    """The broker's objects under one prefix."""

    prefix: str = "signalq"

    @property
    def orders(self) -> str:
        """The exchange that producers publish to, and the queue of the shared lane."""
        return f"{self.prefix}.orders"

    def lane(self, connector: str) -> str:
        """The queue of a connector's own lane."""
        return f"{self.orders}.{connector}"

    def connector_of(self, queue: str) -> str | None:
        """The connector of an own lane, by the name of the queue; None for any other queue."""
        own = f"{self.orders}."
        return queue.removeprefix(own) if queue.startswith(own) else None

    @property
    def unrouted(self) -> str:
        """The alternate exchange of `orders`, which feeds the shared lane."""
        return f"{self.prefix}.unrouted"

    @property
    def due(self) -> str:
        """The queue of the messages that come back from the ladder."""
        return f"{self.prefix}.due"

    @property
    def dead(self) -> str:
        """The dead-letter queue."""
        return f"{self.prefix}.dead"

    @property
    def dead_reader(self) -> str:
        """The exclusive queue that a reader of the dead letters holds, so that there is one reader at a time."""
        return f"{self.prefix}.dead.reader"

    @property
    def ledger(self) -> str:
        """The queue of one message, which says the ledger that the lanes belong to."""
        return f"{self.prefix}.ledger"

    @property
    def outcomes(self) -> str:
        """The topic exchange of outcome events."""
        return f"{self.prefix}.outcomes"

    def outcome_queue(self, listener: str) -> str:
        """The exclusive queue of one listener for outcome events."""
        return f"{self.outcomes}.{listener}"

    def delay(self, level: int) -> str:
        """The exchange and the queue of one level of the delay ladder, from 0 to LADDER_LEVELS - 1."""
        return f"{self.prefix}.delay.{level}"

    def is_delay(self, name: object) -> bool:
        """Whether `name` is that of a level of the ladder."""
        return isinstance(name, str) and name.startswith(f"{self.prefix}.delay.")
