"""A delivered message is read: an Order with all that the rules ask for, or the reason why it is none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from pamqp.commands import Basic

from signalq import names
from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.lanes import FORWARDS_MAX, queue_of
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import (
    Identity,
    Order,
    Policy,
    Provenance,
    Route,
    Unreadable,
)
from signalq.consumer.orders.rights import NOBODY, Rights
from signalq.consumer.orders.timing import NO_SKEW, Timing
from signalq.errors import InvalidIntent, Problem
from signalq.message.creation import Creation, broker_stamp_ms, creation
from signalq.message.envelope import strategy
from signalq.message.field_rules import CLIENT_ORDER_ID_BYTES_MAX, Action, connector_name
from signalq.message.identity import digest_of, fitting_id, unauthorized_id
from signalq.message.intent import NOT_POSTED, OrderIntent, intent_from_fields
from signalq.message.outcome import is_event
from signalq.message.strict_json import check_size, parse_object
from signalq.message.trace_context import traceparent_of
from signalq.secrets.blanking import BodyBlanker, hold_token
from signalq.settings.named import Connector
from signalq.settings.sections import UNLIKE_A_NAME_CHARACTERS_MIN, Settings

DETAIL_CHARACTERS_MAX = 8_000
_ACTIONS = get_args(Action)
EVENT_CAME_BACK = (
    "it is an outcome event of signalq, and no order: a binding, or a queue that dead-letters, brings what is "
    "published to the exchange of outcomes back as a message"
)


def read(message: Message, settings: Settings, now_ms: int, skew: KnownSkew = NO_SKEW) -> Order | Unreadable:
    """Read any message whatsoever; never raises."""
    properties = message.properties
    headers = properties.headers or {}
    rights = Rights.of(settings)
    is_own_copy = not message.properties.user_id and names.INTENT_ID in headers
    identity = _identity(message, rights, is_own_copy=is_own_copy)
    traceparent = traceparent_of(headers.get(names.TRACEPARENT))
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
        _check_no_token_for_a_name(intent, identity, settings)
        is_exit = intent.is_exit(spot_sell_is_exit=connector.spot_sell_is_exit)
        _check_dated(created, misdated, settings, is_exit=is_exit)
    except InvalidIntent as invalid:
        found = _unreadable(invalid, identity, _connector_of(fields, message), message)
        return replace(_without_secrets(found, fields, settings), traceparent=traceparent)
    is_ours = identity.origin_user is None  # the marks of another's message are not ours
    lane = queue_of(settings, intent.connector_name)
    return Order(
        intent=intent,
        policy=_policy(connector, settings, rights, is_exit=is_exit),
        identity=identity,
        timing=Timing(
            created,
            due_ms=created.delay_ms + intent.delay_ms if intent.delay_ms else None,
            received_ms=now_ms,
            unattended_since_ms=message.unattended_since_ms,
            stamped_ms=broker_stamp_ms(properties),
            skew=skew,
        ),
        route=Route(
            lane,
            source_queue=message.queue or lane,
            forwards=min(max(_whole(headers.get(names.HOPS)), 0), FORWARDS_MAX) if is_ours else 0,
            park_rank=_whole(headers.get(names.PARK_RANK)) if is_ours else 0,
        ),
        provenance=Provenance(
            message.given_id,
            message.redelivered,
            is_own_copy,
            recorded=message.handled_before,
            is_letter=is_own_copy and names.REASON in headers,
            came_beside=is_own_copy and _came_beside(message, names.Names(settings.broker.prefix)),
            may_vanish=properties.expiration is not None,
        ),
        is_exit=is_exit,
        body=message.body if _goes_as_it_came(fields, intent) else None,
        traceparent=traceparent,
    )


def renewed(order: Order, message: Message, settings: Settings) -> Order:
    """The same order, with everything that comes from settings as it is by these; its identity, age and place stay.

    What only the settings allowed (no token of its own, an extra field) may make it invalid now.
    """
    fresh = read(message, settings, order.timing.received_ms)
    if isinstance(fresh, Unreadable):
        return replace(order, why_invalid=fresh.detail)
    return replace(order, why_invalid=None, intent=fresh.intent, policy=fresh.policy, is_exit=fresh.is_exit)


def _identity(message: Message, rights: Rights, *, is_own_copy: bool) -> Identity:
    """From whom a message is and which intent it stands for, as far as it can say so itself.

    `is_own_copy`: it says that it is a copy of ours. Only one without a user can be: the broker lets nobody publish as
    another, and ours carry none.
    """
    properties, digest = message.properties, digest_of(message.body)
    message_id = fitting_id(properties.message_id) if properties.message_id else None
    intent_id = message_id or message.given_id
    label = strategy(properties)
    user = properties.user_id or None
    name = rights.name_of(user, label) if rights.are_given else label
    if name is None and is_own_copy:
        return Identity(label, intent_id, user, message_id, digest, needs_proof=True)
    by_label = (label, intent_id) if name != label else None
    if name is None:
        # Its message may not take an identity that belongs to another's intent, or will.
        own_id = unauthorized_id(intent_id, user, digest)
        return Identity(label, own_id, user, message_id, digest, is_nobody=True, by_label=by_label)
    return Identity(name, intent_id, user, message_id, digest, by_label=by_label)


def _unreadable(invalid: InvalidIntent, identity: Identity, connector: str, message: Message) -> Unreadable:
    """Of what can't be read there is nothing in the ledger: what that alone could prove is not believed.

    An event is told by its body, for that stays as it is on every way by which it may come back.
    """
    if identity.needs_proof:
        identity = replace(identity, intent_id=unauthorized_id(identity.intent_id, None, identity.digest))
    if is_event(message.body):
        return Unreadable(EVENT_CAME_BACK, connector, identity, came_back=True)
    if identity.is_nobody:
        return Unreadable(NOBODY, connector, identity, "unauthorized")
    return Unreadable(_shortened(invalid), connector, identity)


def _came_beside(message: Message, topology: names.Names) -> bool:
    """Whether another queue than its level's own had it from the ladder: the ladder's own hand it to the due queue by
    dead-lettering, and the broker notes where each queue that did so had it from.
    """
    deaths = (message.properties.headers or {}).get("x-death")
    ways: list[tuple[object, object]] = [(message.exchange, None)]
    if isinstance(deaths, list):
        ways += [(one.get("exchange"), one.get("queue")) for one in deaths if isinstance(one, dict)]
    return any(topology.is_delay(exchange) and exchange != queue for exchange, queue in ways)


def _check_no_token_for_a_name(intent: OrderIntent, identity: Identity, settings: Settings) -> None:
    """Refuse a token in a name: names are shown everywhere. The token may be the order's own or one of the settings."""
    own = intent.connector_token or ""
    given = {
        "connectorName": intent.connector_name,
        "clientOrderId": intent.client_order_id,
        "message_id": identity.intent_id,
        "strategy": identity.strategy,
    }
    shown = {name: value for name, value in given.items() if value}
    may_hold_own = len(own) >= UNLIKE_A_NAME_CHARACTERS_MIN and hold_token(shown.values(), own)
    if not may_hold_own and not settings.hold_token(shown.values()):
        return
    for name, value in shown.items():
        if (may_hold_own and hold_token([value], own)) or settings.hold_token([value]):
            raise InvalidIntent([Problem(name, "holds a token, which would be shown there")])


def _without_secrets(found: Unreadable, fields: dict[str, object], settings: Settings) -> Unreadable:
    """The same, none of its parts a secret that the settings name or that the body has for a token."""
    own = BodyBlanker(fields, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN)

    def blank(text: str) -> str:
        return settings.blanker(own(text), characters_min=UNLIKE_A_NAME_CHARACTERS_MIN)

    identity = found.identity
    intent_id = identity.intent_id
    if blank(intent_id) != intent_id:
        intent_id = unauthorized_id("hidden", identity.origin_user, identity.digest)
    identity = replace(identity, strategy=blank(identity.strategy), intent_id=intent_id)
    action, own_id = fields.get("action"), fields.get("clientOrderId")
    return replace(
        found,
        detail=blank(found.detail),
        connector=blank(found.connector),
        identity=identity,
        action=action if isinstance(action, str) and action in _ACTIONS else None,  # any other text may be a secret
        client_order_id=blank(own_id) if isinstance(own_id, str) and len(own_id) <= CLIENT_ORDER_ID_BYTES_MAX else None,
    )


def _check_headers(headers: Mapping[str, object]) -> None:
    if names.UNREADABLE_HEADERS in headers:
        raise InvalidIntent([Problem(None, "the headers of the message can't be read")])


def _dated(properties: Basic.Properties, now_ms: int) -> tuple[list[Problem], Creation]:
    """Return the problems of the creation time, and the time; of a wrong one, the time of receipt."""
    try:
        return [], creation(properties, now_ms)
    except InvalidIntent as invalid:
        return list(invalid.problems), Creation(now_ms, now_ms, "first receipt")


def _check_dated(created: Creation, misdated: list[Problem], settings: Settings, *, is_exit: bool) -> None:
    if misdated:
        raise InvalidIntent(misdated)
    if created.source == "first receipt" and settings.delivery.undated == "refuse" and not is_exit:
        raise InvalidIntent([Problem(None, "it has no creation time (signalq-created-ms or timestamp)")])


def _goes_as_it_came(fields: dict[str, object], intent: OrderIntent) -> bool:
    """Whether the webhook gets the very body: nothing in it is ours, is missing, or may have another spelling there."""
    are_texts = set(map(type, fields.values())) == {str}
    return (
        are_texts and "connectorToken" in fields and fields.keys().isdisjoint(NOT_POSTED) and intent.kind != "cancelAll"
    )


def _policy(connector: Connector, settings: Settings, rights: Rights, *, is_exit: bool) -> Policy:
    webhook, delivery = settings.webhook, settings.delivery
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
        max_age_s=max_age_s(connector, settings, is_exit=is_exit),
        rate_per_s=connector.rate_per_s,
        rights=rights,
        limits=connector,
        blanker=settings.blanker,
        keep_orders=settings.ledger.keep_orders,
    )


def max_age_s(connector: Connector, settings: Settings, *, is_exit: bool) -> float:
    """The age up to which a connector's exits, or its opens, are POSTed."""
    own_s = connector.exit_max_age_s if is_exit else connector.open_max_age_s
    return own_s or (settings.delivery.exit_max_age_s if is_exit else settings.delivery.open_max_age_s)


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
