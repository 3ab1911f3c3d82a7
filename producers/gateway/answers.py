"""The gateway's answers: its path, each status with its meaning, and the form of a refusal.

The one source of the OpenAPI document and, by a test, of the table in docs/gateway.md.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from signalq.errors import Problem

# TradingView gives up after 3 s, and never repeats such a request: the answer has to be there by then.
ANSWER_S = 2.5
# The platform's own path.
WEBHOOK_PATH = "/trading-signal/webhook"
# Beside an `ok`: the intent_id of each order, in their order, separated by commas.
INTENT_ID_HEADER = "Signalq-Intent-Id"

# The statuses of POSTs to the path. An answer with another status needs a line here, or the schemathesis test fails.
STATUSES: dict[int, str] = {
    200: "RabbitMQ has confirmed the order, of an array all orders; the body is `ok`.",
    400: "It is no valid order: each bad field is named, and which order of an array. Or it is no proper HTTP.",
    401: "The token is missing, or is not the connector's.",
    403: "This address may not call.",
    404: "There is nothing at this path, or the path secret is wrong.",
    405: "There is no such method here.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The body is compressed.",
    417: "What the Expect header asks for can't be met.",
    429: "More orders a second than this connector may send, or too many refused requests of this address; "
    "Retry-After says when to try again.",
    500: "A fault of the gateway itself, which its log tells.",
    503: "RabbitMQ did not confirm in time, or too much came at once: send it again after Retry-After.",
}


def problem_details(status: int, problems: Sequence[Problem], order: int | None = None) -> dict[str, Any]:
    """The problems as application/problem+json (RFC 9457); no value of the body is quoted.

    `order` is the place, from 1, of the bad order in an array.
    """
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": placed("; ".join(map(str, problems)), order),
        "fields": [{"field": problem.field, "problem": problem.message} for problem in problems],
        **({} if order is None else {"order": order}),
    }


def placed(sentence: str, order: int | None) -> str:
    """The sentence, with the place of the order that it is about."""
    return sentence if order is None else f"order {order}: {sentence}"
