"""The fields of an order that the ledger keeps for people: as JSON, without a token, without any known secret.

The connector, the action and the client's id have columns of their own; the other fields of an intent are one text.
Fields that only a connector's `extra_fields` let through are not kept: nobody knows what is in them.
"""

import json
from math import isfinite
from operator import attrgetter

from signalq.consumer.orders.order import Order
from signalq.secrets.blanking import BodyBlanker, hold_token
from signalq.secrets.masking import MASK
from signalq.settings.sections import UNLIKE_A_NAME_CHARACTERS_MIN

# Of `log` and of the delay's filter, the only fields that may be long.
TEXT_CHARACTERS_MAX = 200
# So much of them is looked at for secrets: one that begins in the part that is kept ends in the part that is looked at.
LOOKED_AT_CHARACTERS = 2_000
# The longest spelling of a character, such as `&#0000065;`.
_SPELLING_CHARACTERS_MAX = 10
_TOKEN_CHARACTERS_MAX = (LOOKED_AT_CHARACTERS - TEXT_CHARACTERS_MAX) // _SPELLING_CHARACTERS_MAX

_NAMES = ("fixed", "percent", "limit", "profit", "loss", "log", "delaySecondsFilter", "delaySeconds")
_values = attrgetter("fixed", "percent", "limit", "profit", "loss", "log", "delay_seconds_filter", "delay_seconds")
# By hand, each order pays for it: an encoder for the whole object takes twice as long.
_quoted = json.encoder.encode_basestring


def kept_fields(order: Order) -> str | None:
    """Return the fields as a JSON object; None where the settings say that they are not kept."""
    if not order.policy.keep_orders:
        return None
    *texts, seconds = _values(order.intent)
    given = {name: value for name, value in zip(_NAMES, texts, strict=False) if value is not None}
    members = [f'"{name}":{_quoted(text)}' for name, text in _without_secrets(given, order).items()]
    if seconds is not None:
        members.append(f'"delaySeconds":{json.dumps(plain_seconds(float(seconds)))}')
    return "{" + ",".join(members) + "}"


def order_fields(
    connector: str, action: str, client_order_id: str | None, kept: str | None
) -> dict[str, object] | None:
    """Return the order as listings show it, under the names of its body; None where nothing of it was kept."""
    if kept is None:
        return None
    own = {} if client_order_id is None else {"clientOrderId": client_order_id}
    return {"connectorName": connector, "action": action, **json.loads(kept), **own}


def plain_seconds(seconds: float) -> float | None:
    """The number as JSON has it, whole where it is whole; None for one that no float can hold."""
    if not isfinite(seconds):
        return None
    return int(seconds) if seconds.is_integer() else seconds


def _without_secrets(given: dict[str, str], order: Order) -> dict[str, str]:
    """The same, long texts cut, and blanked wherever a secret may be in them. Most have none, which is told quickly."""
    looked_at = [text[:LOOKED_AT_CHARACTERS] for text in given.values()]
    whole = "\n".join(looked_at)
    if len(whole) < UNLIKE_A_NAME_CHARACTERS_MIN:
        return given
    own = order.intent.connector_token or ""
    holds_own = len(own) >= UNLIKE_A_NAME_CHARACTERS_MIN and hold_token(looked_at, own)
    blanker = order.policy.blanker
    if holds_own or "://" in whole or blanker.finds(whole, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN):
        if holds_own:
            blank_own = BodyBlanker({"connectorToken": own}, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN)
            looked_at = [blank_own(text) for text in looked_at]
        looked_at = [blanker(text, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN) for text in looked_at]
    if len(whole) > TEXT_CHARACTERS_MAX:
        # The end of a longer token may be beyond the part that was looked at.
        is_long = len(own) > _TOKEN_CHARACTERS_MAX
        looked_at = [_first(*both, token_is_long=is_long) for both in zip(given.values(), looked_at, strict=True)]
    return dict(zip(given, looked_at, strict=True))


def _first(text: str, shown: str, *, token_is_long: bool) -> str:
    """The part of a text that is kept; `shown` is what was looked at of it, blanked.

    Of a text that is longer than that, nothing is kept behind the first mask: a mask is shorter than its secret, and
    brings nearer what stood behind it, at last a secret that was looked at in part.
    """
    kept = text[:TEXT_CHARACTERS_MAX]
    if len(text) <= LOOKED_AT_CHARACTERS:
        return shown[:TEXT_CHARACTERS_MAX]
    if token_is_long:
        return MASK
    return kept if shown.startswith(kept) else (shown.partition(MASK)[0] + MASK)[:TEXT_CHARACTERS_MAX]
