"""A delivered message, read: an Order with all that the rules ask for, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pamqp.commands import Basic
from pamqp.common import FieldTable

from signalq import names
from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.lanes import FORWARDS_MAX, queue_of
from signalq.consumer.orders.limits import Exceeded, Rate, Scoped
from signalq.consumer.orders.rights import NOBODY, WRONG_TOKEN, Rights, is_wrong_token
from signalq.consumer.orders.state import Reason
from signalq.errors import InvalidIntent, Problem
from signalq.message.creation import Creation, broker_stamp_ms, creation
from signalq.message.envelope import strategy
from signalq.message.field_rules import connector_name
from signalq.message.identity import digest_of, fitting_id, new_message_id, unauthorized_id
from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.message.outcome import is_event
from signalq.message.strict_json import check_size, parse_object
from signalq.secrets.blanking import BodyBlanker, hold_token
from signalq.settings.sections import SECRET_CHARACTERS_MIN, Connector, Limits, Settings

DETAIL_CHARACTERS_MAX = 8_000
EVENT_CAME_BACK = (
    "it is an outcome event of signalq, and no order: a binding, or a queue that dead-letters, brings what is "
    "published to the exchange of outcomes back as a message"
)
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


@dataclass(frozen=True, slots=True)
class Found:
    """What of the ledger's row of an identity tells whether a message stands for it."""

    digest: bytes
    origin_user: str | None


# The row of a strategy and an id, if the ledger has one.
Look = Callable[[str, str], Found | None]


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
    # What it was read by; others may hold by the time it is POSTed, see `renewed`.
    settings: Settings | None = field(default=None, compare=False, repr=False)
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

    def identified(self, look: Look) -> Order:
        """The same order, under the identity that it can prove by the ledger's rows.

        What says that it is our own copy is one of the row whose bytes it has, and from whom that row says; else it is
        nobody's. What comes again after its strategy was given another name is the intent that it was before.
        """
        found = look(self.strategy, self.intent_id)
        if self.is_own_copy and found is not None and found.digest == self.digest:
            return replace(self, origin_user=found.origin_user, needs_proof=False)
        if self.needs_proof:
            return replace(self, intent_id=unauthorized_id(self.intent_id, None, self.digest), needs_proof=False)
        if found is not None or self.by_label is None or not self.redelivered:
            return self
        if look(*self.by_label) != Found(self.digest, self.origin_user):
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

    def is_canceled_by(self, other: Order) -> bool:
        """Whether a `cancel` or `cancelAll` means this one: of its connector, created before it."""
        if self.connector != other.connector or self.creation.age_ms > other.creation.delay_ms:
            return False
        return other.intent.kind == "cancelAll" or self.intent.client_order_id == other.intent.client_order_id

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


def read(message: Message, settings: Settings, now_ms: int, skew: KnownSkew = NO_SKEW) -> Order | Unreadable:
    """Read any message whatsoever; never raises."""
    properties = message.properties
    headers = properties.headers or {}
    rights = Rights.of(settings)
    digest = digest_of(message.body)
    sender = _sender(message, rights, digest)
    fields: dict[str, object] = {}
    try:
        _check_headers(headers)
        check_size(message.body_bytes)
        fields = parse_object(message.body)
        name = str(fields.get("connectorName"))
        connector = settings.connector(name)
        misdated, created = _dated(properties, now_ms)
        try:
            intent = intent_from_fields(
                fields,
                extra_fields=connector.extra_fields,
                # Of a connector that orders may not be for, that is what is told, not that it has no token.
                token_needed=connector.token is None and rights.takes(name),
                delay_max_s=settings.delivery.delay_max_s,
            )
        except InvalidIntent as invalid:
            raise InvalidIntent([*invalid.problems, *misdated]) from None
        _check_no_token_for_a_name(intent, sender, settings)
        is_exit = intent.is_exit(spot_sell_is_exit=connector.spot_sell_is_exit)
        _check_dated(created, misdated, settings, is_exit=is_exit)
    except InvalidIntent as invalid:
        found = _unreadable(invalid, sender, _connector_of(fields, message), message, digest)
        return _without_secrets(found, fields, message, settings, digest)
    return Order(
        intent=intent,
        policy=_policy(connector, settings, rights, is_exit=is_exit),
        intent_id=sender.intent_id,
        message_id=sender.message_id,
        strategy=sender.strategy,
        origin_user=sender.user,
        creation=created,
        due_ms=created.delay_ms + intent.delay_ms if intent.delay_ms else None,
        received_ms=now_ms,
        digest=digest,
        is_exit=is_exit,
        redelivered=message.redelivered,
        is_own_copy=sender.is_own_copy,
        receipt=message.given_id,
        unattended_since_ms=message.unattended_since_ms,
        park_rank=_whole(headers.get(names.PARK_RANK)) if sender.user is None else 0,
        lane=(lane := queue_of(settings, intent.connector_name)),
        source_queue=message.queue or lane,
        forwards=min(max(_whole(headers.get(names.HOPS)), 0), FORWARDS_MAX) if sender.user is None else 0,
        may_vanish=properties.expiration is not None,
        is_letter=sender.is_own_copy and names.REASON in headers,
        came_beside=sender.is_own_copy and _came_beside(message, names.Names(settings.broker.prefix)),
        recorded=message.handled_before,
        settings=settings,
        needs_proof=sender.needs_proof,
        by_label=sender.by_label,
        stamped_ms=broker_stamp_ms(properties),
        skew=skew,
    )


def renewed(order: Order, message: Message, settings: Settings) -> Order:
    """The same order, with everything that comes from settings as it is by these; its identity, age and place stay.

    What only the settings allowed (no token of its own, an extra field) may make it invalid now.
    """
    fresh = read(message, settings, order.received_ms)
    if isinstance(fresh, Unreadable):
        return replace(order, settings=settings, why_invalid=fresh.detail)
    return replace(
        order,
        settings=settings,
        why_invalid=None,
        intent=fresh.intent,
        policy=fresh.policy,
        is_exit=fresh.is_exit,
    )


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who a message is from and which intent it is, as far as it can say so itself.

    `hands_back`: it says that it is a copy of ours. Only one without a user can be: the broker lets nobody publish as
    another, and ours carry none.
    """

    user: str | None
    strategy: str
    message_id: str | None
    intent_id: str
    is_own_copy: bool = False
    needs_proof: bool = False
    is_nobody: bool = False
    by_label: tuple[str, str] | None = None


def _sender(message: Message, rights: Rights, digest: bytes) -> _Sender:
    properties = message.properties
    message_id = fitting_id(properties.message_id) if properties.message_id else None
    intent_id = message_id or message.given_id
    label = strategy(properties)
    user = properties.user_id or None
    is_own_copy = user is None and names.INTENT_ID in (properties.headers or {})
    name = rights.name_of(user, label) if rights.are_given else label
    if name is None and is_own_copy:
        return _Sender(user, label, message_id, intent_id, is_own_copy, needs_proof=True)
    by_label = (label, intent_id) if name != label else None
    if name is None:
        # It may not take an identity that belongs to another's intent, or will.
        own_id = unauthorized_id(intent_id, user, digest)
        return _Sender(user, label, message_id, own_id, is_nobody=True, by_label=by_label)
    return _Sender(user, name, message_id, intent_id, is_own_copy, by_label=by_label)


def _unreadable(invalid: InvalidIntent, sender: _Sender, connector: str, message: Message, digest: bytes) -> Unreadable:
    """Of what can't be read there is nothing in the ledger: what that alone could prove is not believed.

    An event is told by its body, for that stays as it is on every way by which it may come back.
    """
    intent_id = unauthorized_id(sender.intent_id, None, digest) if sender.needs_proof else sender.intent_id
    if is_event(message.body):
        return Unreadable(EVENT_CAME_BACK, connector, intent_id, sender.strategy, sender.user, came_back=True)
    if sender.is_nobody:
        return Unreadable(NOBODY, connector, intent_id, sender.strategy, sender.user, "unauthorized")
    return Unreadable(_shortened(invalid), connector, intent_id, sender.strategy, sender.user)


def _came_beside(message: Message, topology: names.Names) -> bool:
    """Whether another queue than its level's own had it from the ladder: the ladder's own hand it to the due queue by
    dead-lettering, and the broker notes where each queue that did so had it from.
    """
    deaths = (message.properties.headers or {}).get("x-death")
    ways: list[tuple[object, object]] = [(message.exchange, None)]
    if isinstance(deaths, list):
        ways += [(one.get("exchange"), one.get("queue")) for one in deaths if isinstance(one, dict)]
    return any(topology.is_delay(exchange) and exchange != queue for exchange, queue in ways)


def _check_no_token_for_a_name(intent: OrderIntent, sender: _Sender, settings: Settings) -> None:
    """What names an order is shown everywhere: it must not be a token, the order's own or one of the settings."""
    own = intent.connector_token or ""
    given = {
        "connectorName": intent.connector_name,
        "clientOrderId": intent.client_order_id,
        "message_id": sender.intent_id,
        "strategy": sender.strategy,
    }
    shown = {name: value for name, value in given.items() if value}
    may_hold_own = len(own) >= SECRET_CHARACTERS_MIN and hold_token(shown.values(), own)
    if not may_hold_own and not settings.hold_token(shown.values()):
        return
    for name, value in shown.items():
        if (may_hold_own and hold_token([value], own)) or settings.hold_token([value]):
            raise InvalidIntent([Problem(name, "holds a token, which would be shown there")])


def _without_secrets(
    found: Unreadable, fields: dict[str, object], message: Message, settings: Settings, digest: bytes
) -> Unreadable:
    """The same, none of its parts a secret that the settings name or that the body has for a token."""
    own = BodyBlanker(fields, characters_min=SECRET_CHARACTERS_MIN)

    def blank(text: str) -> str:
        return settings.blanker(own(text), characters_min=SECRET_CHARACTERS_MIN)

    intent_id = found.intent_id
    if blank(intent_id) != intent_id:
        intent_id = unauthorized_id("hidden", message.properties.user_id, digest)
    return replace(
        found,
        detail=blank(found.detail),
        connector=blank(found.connector),
        strategy=blank(found.strategy),
        intent_id=intent_id,
    )


def _check_headers(headers: FieldTable) -> None:
    if names.UNREADABLE_HEADERS in headers:
        raise InvalidIntent([Problem(None, "the headers of the message can't be read")])


def _dated(properties: Basic.Properties, now_ms: int) -> tuple[list[Problem], Creation]:
    """What is wrong with its creation time, if anything is, and else that."""
    try:
        return [], creation(properties, now_ms)
    except InvalidIntent as invalid:
        return list(invalid.problems), Creation(now_ms, now_ms, "first receipt")


def _check_dated(created: Creation, misdated: list[Problem], settings: Settings, *, is_exit: bool) -> None:
    if misdated:
        raise InvalidIntent(misdated)
    if created.source == "first receipt" and settings.delivery.undated == "refuse" and not is_exit:
        raise InvalidIntent([Problem(None, "it has no creation time (signalq-created-ms or timestamp)")])


def _policy(connector: Connector, settings: Settings, rights: Rights, *, is_exit: bool) -> Policy:
    webhook, delivery = settings.webhook, settings.delivery
    own_age_s = connector.exit_max_age_s if is_exit else connector.open_max_age_s
    return Policy(
        url=connector.url or webhook.url,
        token=connector.token.get_secret_value() if connector.token else None,
        success_body=webhook.success_body if connector.success_body is None else connector.success_body,
        cancel_all_spelling=webhook.cancel_all_spelling,
        not_taken_statuses=connector.not_taken_statuses,
        resend_when_unknown=connector.resend_when_unknown,
        attempts_max=delivery.attempts_max,
        retry_after_max_s=delivery.retry_after_max_s,
        repeat_window_s=delivery.repeat_window_s,
        max_age_s=own_age_s or (delivery.exit_max_age_s if is_exit else delivery.open_max_age_s),
        rate_per_s=connector.rate_per_s,
        rights=rights,
        limits=connector,
    )


def _connector_of(fields: dict[str, object], message: Message) -> str:
    """The connector that the body names, where it names one that could be; else the routing key."""
    name = fields.get("connectorName")
    try:
        return connector_name(name) if isinstance(name, str) else message.routing_key
    except ValueError:
        return message.routing_key


def _shortened(invalid: InvalidIntent) -> str:
    """All problems in one sentence; a body of a thousand unknown fields is told up to DETAIL_CHARACTERS_MAX."""
    text = str(invalid)
    if len(text) <= DETAIL_CHARACTERS_MAX:
        return text
    told, length = 0, 0
    for problem in invalid.problems:
        length += len(str(problem)) + 2
        if length > DETAIL_CHARACTERS_MAX:
            break
        told += 1
    return "; ".join(map(str, invalid.problems[:told])) + f"; and {len(invalid.problems) - told} more"


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
