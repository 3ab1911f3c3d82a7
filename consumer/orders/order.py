"""An order: a delivered intent, with all that the rules ask for. How a message is read is in read.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from signalq.consumer.orders.limits import Exceeded, Rate, Scoped
from signalq.consumer.orders.rights import WRONG_TOKEN, Rights, is_wrong_token
from signalq.consumer.orders.state import Reason
from signalq.consumer.orders.timing import Timing
from signalq.message.creation import Creation
from signalq.message.identity import unauthorized_id
from signalq.message.intent import OrderIntent
from signalq.message.trace_context import TraceParent
from signalq.secrets.blanking import Blanker
from signalq.settings.named import Limits


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that hold for one intent: those of its connector over the general ones."""

    url: str
    token: str | None = field(repr=False)
    success_body: str
    cancel_all_spelling: str | None
    not_taken_statuses: frozenset[int]
    resend_when_unknown: str
    attempts_max: int
    retry_after_max_s: float
    repeat_window_s: float
    max_age_s: float
    rate_per_s: float | None
    rights: Rights = field(repr=False)
    # The connector's own; those of its strategy are found by the rights.
    limits: Limits = field(repr=False)
    # Knows every secret that is configured.
    blanker: Blanker = field(compare=False, repr=False)
    # Whether the ledger keeps the order's fields, for people.
    keep_orders: bool = True


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """The part of an identity's row in the ledger that tells whether a message stands for it."""

    digest: bytes
    origin_user: str | None


# The row of a strategy and an id, if the ledger has one.
Lookup = Callable[[str, str], RowIdentity | None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Which intent a message stands for, and from whom it is: at first as far as it can say so itself."""

    strategy: str
    intent_id: str
    # The user that the broker has checked; None where it names none.
    origin_user: str | None
    # The id that its producer gave it; None where it gave none, and equal bodies are all that is known.
    message_id: str | None
    digest: bytes
    # The message says that it is our own copy of an intent whose sender the broker has checked: the ledger knows.
    needs_proof: bool = False
    # The settings know no such sender.
    is_nobody: bool = False
    # The strategy and the id that it would have by its label alone, where the settings give it others.
    by_label: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a message: the queue of its connector's lane, the one that it came by, and how often it was forwarded,
    by what it says. `park_rank` is its place among those with the same due time: they were published in this order.
    """

    lane: str
    source_queue: str
    forwards: int = 0
    park_rank: int = 0

    @property
    def is_misrouted(self) -> bool:
        """Whether it came by another lane than its connector's."""
        return self.source_queue != self.lane


@dataclass(frozen=True, slots=True)
class Provenance:
    """The kind of a message: a first delivery, a redelivery, a copy of ours, or a letter of ours."""

    # Which message this is, in this consumer: tells two deliveries of one intent apart.
    receipt: str
    redelivered: bool
    is_own_copy: bool
    # The ledger's first record of the intent was made for this very message, or may have been.
    recorded: bool = False
    # The message is marked as a letter of ours, and as our own copy: the ledger knows whether its intent is dead.
    is_letter: bool = False
    # A copy of what we parked that the ladder did not bring: somebody has bound a queue of theirs, or ours, to it.
    came_beside: bool = False
    # Its producer lets the broker drop it, with nobody knowing.
    may_vanish: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An intent that was delivered: what to POST, where, and until when."""

    intent: OrderIntent
    policy: Policy
    identity: Identity
    timing: Timing
    route: Route
    provenance: Provenance
    is_exit: bool
    # The span of its producer, where a valid header names it.
    traceparent: TraceParent | None = None
    # The problem by the settings that hold now, of an order that was valid when it was read.
    why_invalid: str | None = None
    # The body as it came, where the webhook gets exactly that.
    body: bytes | None = field(default=None, repr=False)

    @property
    def connector(self) -> str:
        """The connector's name."""
        return self.intent.connector_name

    @property
    def strategy(self) -> str:
        """The strategy's name, "-" for none."""
        return self.identity.strategy

    @property
    def intent_id(self) -> str:
        """The id of its intent among those of its strategy."""
        return self.identity.intent_id

    @property
    def is_first_delivery(self) -> bool:
        """Whether nothing speaks for it having been here before: neither the broker, nor the ladder."""
        return self.timing.is_due and not self.provenance.redelivered and not self.provenance.is_own_copy

    @property
    def is_copy(self) -> bool:
        """Whether it may be the very message that the ledger knows its intent by, and not a producer's second one."""
        own = self.provenance
        return own.redelivered or own.is_own_copy or own.recorded or self.identity.message_id is None

    @property
    def expires_ms(self) -> int:
        """After this it is not POSTed any more. What our clock is known to be ahead is no age of an exit."""
        expires_ms = self.timing.age_from_ms + round(self.policy.max_age_s * 1000)
        return expires_ms + self.timing.clock_ahead_ms if self.is_exit else expires_ms

    def named(self, strategy: str, intent_id: str) -> Order:
        """The same order, which stands for this intent."""
        return replace(self, identity=replace(self.identity, strategy=strategy, intent_id=intent_id))

    def known_as(self, intent_id: str, created: Creation, replayed_ms: int | None = None) -> Order:
        """The same order under the identity and the creation time that the ledger keeps for it."""
        timing = self.timing.known_as(created, self.intent.delay_ms, replayed_ms)
        return replace(self, identity=replace(self.identity, intent_id=intent_id), timing=timing)

    def as_recorded(self) -> Order:
        """The same order, for whose message the ledger's first record of its intent was made, or may have been."""
        return replace(self, provenance=replace(self.provenance, recorded=True))

    def fallen_due(self, now_ms: int) -> Order:
        """The same order, after it was waited for: it takes its turn as if it came in now."""
        return replace(self, timing=replace(self.timing, received_ms=now_ms, came_early=False))

    def identified(self, lookup: Lookup) -> Order:
        """The same order, under the identity that it can prove by the ledger's rows.

        What says that it is our own copy is one of the row whose bytes it has, and from whom that row says; else it is
        nobody's. What comes again after its strategy was given another name is the intent that it was before.
        """
        identity = self.identity
        found = lookup(identity.strategy, identity.intent_id)
        if self.provenance.is_own_copy and found is not None and found.digest == identity.digest:
            return replace(self, identity=replace(identity, origin_user=found.origin_user, needs_proof=False))
        if identity.needs_proof:
            unauthorized = unauthorized_id(identity.intent_id, None, identity.digest)
            return replace(self, identity=replace(identity, intent_id=unauthorized, needs_proof=False))
        if found is not None or identity.by_label is None or not self.provenance.redelivered:
            return self
        if lookup(*identity.by_label) != RowIdentity(identity.digest, identity.origin_user):
            return self
        return self.named(*identity.by_label)

    def why_unauthorized(self) -> str | None:
        """Why its sender may not have it POSTed, in one sentence that quotes nothing of it."""
        if is_wrong_token(self.intent.connector_token, self.policy.token):
            return WRONG_TOKEN
        return self.policy.rights.why_not(self.identity.origin_user, self.strategy, self.intent)

    def exceeded(self, *, enforced: bool) -> list[Exceeded]:
        """The limits that it is over, of those that are enforced, or of those that are only reported."""
        return [
            one
            for scoped in self._scopes()
            if scoped.enforced is enforced
            for one in scoped.exceeded(self.intent, is_exit=self.is_exit)
        ]

    def rates(self) -> tuple[Rate, ...]:
        """The rates that its first POST counts for: none, for an exit."""
        if self.is_exit:
            return ()
        return tuple(rate for scoped in self._scopes() if (rate := scoped.rate()) is not None)

    def _scopes(self) -> list[Scoped]:
        scopes = [Scoped("connector", self.connector, self.policy.limits)]
        name = self.policy.rights.name_of(self.identity.origin_user, self.strategy)
        if name is not None:
            scopes.append(Scoped("strategy", name, self.policy.rights.strategies[name]))
        return scopes

    def body_to_post(self) -> bytes:
        """Return the body of the POST, token and all."""
        if self.body is not None:
            return self.body
        return self.intent.to_webhook(token=self.policy.token, cancel_all_spelling=self.policy.cancel_all_spelling)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no valid intent: what is wrong, and what is known of it all the same.

    `came_back`: it is an event of ours. Its ending is no news to anybody.
    """

    detail: str
    connector: str
    identity: Identity
    reason: Reason = "invalid"
    came_back: bool = False
    # Of a body that has fields, the two by which people know an order.
    action: str | None = None
    client_order_id: str | None = None
    # The span of its producer, where a valid header names it.
    traceparent: TraceParent | None = None

    @property
    def strategy(self) -> str:
        """The strategy's name, "-" for none."""
        return self.identity.strategy

    @property
    def intent_id(self) -> str:
        """The id of its intent among those of its strategy."""
        return self.identity.intent_id
