"""An order: a delivered intent, with all that the rules ask for. How a message is read is in read.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pamqp.commands import Basic

from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.limits import Exceeded, Rate, Scoped
from signalq.consumer.orders.rights import WRONG_TOKEN, Rights, is_wrong_token
from signalq.consumer.orders.state import Reason
from signalq.message.creation import Creation
from signalq.message.identity import new_message_id, unauthorized_id
from signalq.message.intent import OrderIntent
from signalq.secrets.blanking import Blanker
from signalq.settings.sections import Limits

NO_SKEW = KnownSkew()


@dataclass(frozen=True, slots=True)
class Message:
    """What the broker delivered; `queue` is where it lay, empty for what never lay anywhere.

    `given_id` is its identity where it brings none: given once, so that handling the same delivery again after an
    unforeseen error finds what the ledger knows of it.
    """

    body: bytes = field(repr=False)
    properties: Basic.Properties = field(repr=False)
    routing_key: str
    redelivered: bool
    given_id: str = field(default_factory=new_message_id, compare=False)
    unattended_since_ms: int | None = None
    queue: str = ""
    # Where it was published, as the broker says; empty for what went straight into a queue.
    exchange: str = ""
    # How long the body was, where less of it was kept.
    sent_bytes: int | None = None
    # Handling this very delivery has failed before: what the ledger knows of it may be its own.
    handled_before: bool = False

    @property
    def body_bytes(self) -> int:
        """How long the body was when it came."""
        return len(self.body) if self.sent_bytes is None else self.sent_bytes

    @property
    def is_cut(self) -> bool:
        """Whether only its beginning was kept."""
        return self.body_bytes > len(self.body)


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


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """What of the ledger's row of an identity tells whether a message stands for it."""

    digest: bytes
    origin_user: str | None


# The row of a strategy and an id, if the ledger has one.
Lookup = Callable[[str, str], RowIdentity | None]


@dataclass(frozen=True, slots=True)
class Order:
    """An intent that was delivered: what to POST, where, and until when.

    `park_rank` is its place among those with the same due time: they were published in this order.
    """

    intent: OrderIntent
    policy: Policy
    intent_id: str
    message_id: str | None
    strategy: str
    origin_user: str | None
    creation: Creation
    due_ms: int | None
    received_ms: int
    digest: bytes
    is_exit: bool
    redelivered: bool
    is_own_copy: bool
    # Which message this is, in this consumer: tells two deliveries of one intent apart.
    receipt: str
    # Nobody consumed since then, and the message had waited when we began; None where that is not so.
    unattended_since_ms: int | None = None
    park_rank: int = 0
    # It came in before its due time, by what its message says: it has no turn, whatever the ledger says of that time.
    came_early: bool = False
    # The ledger's first record of the intent was made for this very message, or may have been.
    recorded: bool = False
    # When it was replayed, and its delay, if it had one, was over.
    replayed_ms: int | None = None
    # What makes it invalid by the settings that hold now, although it was not when it was read.
    why_invalid: str | None = None
    # It says that it is our own copy of an intent whose sender the broker has checked: only the ledger can know.
    needs_proof: bool = False
    # The strategy and the id that it would have by its label alone, where the settings give it others.
    by_label: tuple[str, str] | None = None
    # It is marked as a letter of ours, and as our own copy: the ledger knows whether its intent is dead.
    is_letter: bool = False
    # A copy of what we parked that the ladder did not bring: somebody has bound a queue of theirs, or ours, to it.
    came_beside: bool = False
    # Its producer lets the broker drop it, with nobody knowing.
    may_vanish: bool = False
    # The queue of its connector's lane, the one that it came by, and how often it was forwarded, by what it says.
    lane: str = ""
    source_queue: str = ""
    forwards: int = 0
    # When the broker took it, by its clock, where it says so.
    stamped_ms: int | None = None
    # What was known of this machine's clock when it came.
    skew: KnownSkew = field(default=NO_SKEW, compare=False, repr=False)

    @property
    def connector(self) -> str:
        """The connector's name."""
        return self.intent.connector_name

    @property
    def is_misrouted(self) -> bool:
        """Whether it came by another lane than its connector's."""
        return self.source_queue != self.lane

    @property
    def is_due(self) -> bool:
        """Whether its delay, if it has one, was over when it came in. Judged once: it decides about its turn too."""
        return not self.came_early and (self.due_ms is None or self.due_ms <= self.received_ms)

    @property
    def is_first_delivery(self) -> bool:
        """Whether nothing speaks for it having been here before: neither the broker, nor the ladder."""
        return self.is_due and not self.redelivered and not self.is_own_copy

    @property
    def is_copy(self) -> bool:
        """Whether it may be the very message that the ledger knows its intent by, and not a producer's second one."""
        return self.redelivered or self.is_own_copy or self.recorded or self.message_id is None

    @property
    def age_from_ms(self) -> int:
        """Where its age begins: its creation, its due time if it is delayed, its replay if it was replayed."""
        if self.replayed_ms is not None:
            return self.replayed_ms
        return self.due_ms if self.due_ms is not None else self.creation.age_ms

    @property
    def expires_ms(self) -> int:
        """After this it is not POSTed any more. What our clock is known to be ahead is no age of an exit."""
        expires_ms = self.age_from_ms + round(self.policy.max_age_s * 1000)
        return expires_ms + self.clock_ahead_ms if self.is_exit else expires_ms

    @property
    def clock_ahead_ms(self) -> int:
        """How far our clock is known to be ahead of the one that dated it, at most."""
        return self.skew.ahead_of(self.creation.age_ms)

    def known_as(self, intent_id: str, created: Creation, replayed_ms: int | None = None) -> Order:
        """The same order under the identity and the creation time that the ledger keeps for it.

        A delay that was over at its replay is not served again, and its age counts from there. One whose message says
        that it came early has no turn yet: it goes round by the ladder first, as any other.
        """
        due_ms = created.delay_ms + self.intent.delay_ms if self.intent.delay_ms else None
        if replayed_ms is not None and self.is_due and (due_ms is None or due_ms <= replayed_ms):
            return replace(self, intent_id=intent_id, creation=created, due_ms=None, replayed_ms=replayed_ms)
        return replace(self, intent_id=intent_id, creation=created, due_ms=due_ms, came_early=not self.is_due)

    def identified(self, lookup: Lookup) -> Order:
        """The same order, under the identity that it can prove by the ledger's rows.

        What says that it is our own copy is one of the row whose bytes it has, and from whom that row says; else it is
        nobody's. What comes again after its strategy was given another name is the intent that it was before.
        """
        found = lookup(self.strategy, self.intent_id)
        if self.is_own_copy and found is not None and found.digest == self.digest:
            return replace(self, origin_user=found.origin_user, needs_proof=False)
        if self.needs_proof:
            return replace(self, intent_id=unauthorized_id(self.intent_id, None, self.digest), needs_proof=False)
        if found is not None or self.by_label is None or not self.redelivered:
            return self
        if lookup(*self.by_label) != RowIdentity(self.digest, self.origin_user):
            return self
        return replace(self, strategy=self.by_label[0], intent_id=self.by_label[1])

    def why_unauthorized(self) -> str | None:
        """Why its sender may not have it POSTed, in one sentence that quotes nothing of it."""
        if is_wrong_token(self.intent.connector_token, self.policy.token):
            return WRONG_TOKEN
        return self.policy.rights.why_not(self.origin_user, self.strategy, self.intent)

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
        name = self.policy.rights.name_of(self.origin_user, self.strategy)
        if name is not None:
            scopes.append(Scoped("strategy", name, self.policy.rights.strategies[name]))
        return scopes

    def fallen_due(self, now_ms: int) -> Order:
        """The same order, after it was waited for: it takes its turn as if it came in now."""
        return replace(self, received_ms=now_ms, came_early=False)

    def body_to_post(self) -> bytes:
        """What goes out, token and all."""
        return self.intent.to_webhook(token=self.policy.token, cancel_all_spelling=self.policy.cancel_all_spelling)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that is no valid intent: what is wrong, and what is known of it all the same.

    `came_back`: it is an event of ours. Its ending is no news to anybody.
    """

    detail: str
    connector: str
    intent_id: str
    strategy: str
    origin_user: str | None
    reason: Reason = "invalid"
    came_back: bool = False
