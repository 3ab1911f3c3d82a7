"""A delivered message, read: an Order with all that the rules ask for, or the reason why it is none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from aiormq.abc import FieldTable
from pamqp.commands import Basic

from consumer.lanes import HOPS_MAX, queue_of
from consumer.settings import Connector, Settings
from signalq import names
from signalq.envelope import Creation, creation, digest_of, fitting_id, new_message_id, strategy
from signalq.errors import InvalidIntent, Problem
from signalq.intent import OrderIntent, intent_from_fields
from signalq.strict_json import parse_object, printable_name

DETAIL_CHARACTERS_MAX = 8_000


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
    nobody_since_ms: int | None = None
    queue: str = ""
    # Handling this very delivery has failed before: what the ledger knows of it may be its own.
    handled_before: bool = False


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
    handed_back: bool
    # Which message this is, in this consumer: tells two deliveries of one intent apart.
    receipt: str
    # Nobody consumed since then, and the message had waited when we began; None where that is not so.
    nobody_since_ms: int | None = None
    park_rank: int = 0
    # It came in before its due time, by what its message says: it has no turn, whatever the ledger says of that time.
    came_early: bool = False
    # The ledger's first record of the intent was made for this very message, or may have been.
    recorded: bool = False
    # When it was replayed, and its delay, if it had one, was over.
    replayed_ms: int | None = None
    # The queue of its connector's lane, the one that it came by, and how often it was forwarded, by what it says.
    lane: str = ""
    came_by: str = ""
    hops: int = 0

    @property
    def connector(self) -> str:
        """The connector's name."""
        return self.intent.connector_name

    @property
    def is_astray(self) -> bool:
        """Whether it came by another lane than its connector's."""
        return self.came_by != self.lane

    @property
    def is_due(self) -> bool:
        """Whether its delay, if it has one, was over when it came in. Judged once: it decides about its turn too."""
        return not self.came_early and (self.due_ms is None or self.due_ms <= self.received_ms)

    @property
    def is_first_delivery(self) -> bool:
        """Whether nothing speaks for it having been here before: neither the broker, nor the ladder."""
        return self.is_due and not self.redelivered and not self.handed_back

    @property
    def is_copy(self) -> bool:
        """Whether it may be the very message that the ledger knows its intent by, and not a producer's second one."""
        return self.redelivered or self.handed_back or self.recorded or self.message_id is None

    @property
    def age_from_ms(self) -> int:
        """Where its age begins: its creation, its due time if it is delayed, its replay if it was replayed."""
        if self.replayed_ms is not None:
            return self.replayed_ms
        return self.due_ms if self.due_ms is not None else self.creation.age_ms

    @property
    def expires_ms(self) -> int:
        """After this it is not POSTed any more."""
        return self.age_from_ms + round(self.policy.max_age_s * 1000)

    def known_as(self, intent_id: str, created: Creation, replayed_ms: int | None = None) -> Order:
        """The same order under the identity and the creation time that the ledger keeps for it.

        A delay that was over at its replay is not served again, and its age counts from there. One whose message says
        that it came early has no turn yet: it goes round by the ladder first, as any other.
        """
        due_ms = created.delay_ms + self.intent.delay_ms if self.intent.delay_ms else None
        if replayed_ms is not None and self.is_due and (due_ms is None or due_ms <= replayed_ms):
            return replace(self, intent_id=intent_id, creation=created, due_ms=None, replayed_ms=replayed_ms)
        return replace(self, intent_id=intent_id, creation=created, due_ms=due_ms, came_early=not self.is_due)

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
    """A message that is no valid intent: what is wrong, and what is known of it all the same."""

    detail: str
    connector: str
    intent_id: str
    strategy: str
    origin_user: str | None


def read(message: Message, settings: Settings, now_ms: int) -> Order | Unreadable:
    """Read any message whatsoever; never raises."""
    properties = message.properties
    headers = properties.headers or {}
    message_id = fitting_id(properties.message_id) if properties.message_id else None
    intent_id = message_id or message.given_id
    origin_user = properties.user_id or _text(headers.get(names.ORIGIN_USER))
    fields: dict[str, object] = {}
    try:
        _check_headers(headers)
        fields = parse_object(message.body)
        connector = settings.connector(str(fields.get("connectorName")))
        intent = intent_from_fields(
            fields,
            extra_fields=connector.extra_fields,
            token_needed=connector.token is None,
            delay_max_s=settings.delivery.delay_max_s,
        )
        created = creation(properties, now_ms)
        is_exit = intent.is_exit(spot_sell_is_exit=connector.spot_sell_is_exit)
        _check_dated(created, settings, is_exit=is_exit)
    except InvalidIntent as invalid:
        return Unreadable(
            _shortened(invalid), _connector_of(fields, message), intent_id, strategy(properties), origin_user
        )
    return Order(
        intent=intent,
        policy=_policy(connector, settings, is_exit=is_exit),
        intent_id=intent_id,
        message_id=message_id,
        strategy=strategy(properties),
        origin_user=origin_user,
        creation=created,
        due_ms=created.delay_ms + intent.delay_ms if intent.delay_ms else None,
        received_ms=now_ms,
        digest=digest_of(message.body),
        is_exit=is_exit,
        redelivered=message.redelivered,
        handed_back=names.INTENT_ID in headers,
        receipt=message.given_id,
        nobody_since_ms=message.nobody_since_ms,
        park_rank=_whole(headers.get(names.PARK_RANK)),
        lane=(lane := queue_of(settings, intent.connector_name)),
        came_by=message.queue or lane,
        hops=min(max(_whole(headers.get(names.HOPS)), 0), HOPS_MAX),
        recorded=message.handled_before,
    )


def _check_headers(headers: FieldTable) -> None:
    if names.UNREADABLE_HEADERS in headers:
        raise InvalidIntent([Problem(None, "the headers of the message can't be read")])


def _check_dated(created: Creation, settings: Settings, *, is_exit: bool) -> None:
    if created.source == "first receipt" and settings.delivery.undated == "refuse" and not is_exit:
        raise InvalidIntent([Problem(None, "it has no creation time (signalq-created-ms or timestamp)")])


def _policy(connector: Connector, settings: Settings, *, is_exit: bool) -> Policy:
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
    )


def _connector_of(fields: dict[str, object], message: Message) -> str:
    """The connector that the body names, where it names one that could be; else the routing key."""
    name = fields.get("connectorName")
    if isinstance(name, str) and name and len(name.encode("utf-8", "replace")) <= 128 and name.isprintable():
        return name
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


def _text(value: object) -> str | None:
    return printable_name(value) if isinstance(value, str) else None
