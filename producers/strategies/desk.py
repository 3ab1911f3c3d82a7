"""The desk: a person's order, shown before it goes out and followed to its end.

One order a command, or none for a prompt that takes one after the other. An order is

  ACTION CONNECTOR [SIZE] [at PRICE] [profit PRICE] [loss PRICE] [id ORDER] [in SECONDS]

ACTION is one of the platform's: buy, sell, openLong, closeLong, openShort, closeShort, cancel, cancelAll.
SIZE is a share (25%) or an amount (0.5). The exit status is 0 where the order was delivered, or not wanted
after all.
"""

import argparse
import difflib
import sys
import uuid
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import get_args

from signalq import InvalidIntent, OrderIntent, OutcomeError, SignalQError, SyncOrderPublisher, Unconfirmed
from signalq.message.field_rules import Action
from signalq.producers.strategies.command_line import WrongInput, broker, parser, run, token

EXAMPLES = """\
  python -m producers.strategies.desk buy main 25%
  python -m producers.strategies.desk --yes openLong main 0.5 at 64000 profit 71000 loss 61500
  python -m producers.strategies.desk cancel main id entry-7
  python -m producers.strategies.desk --token-env MAIN_TOKEN"""
FORM = "ACTION CONNECTOR [SIZE] [at PRICE] [profit PRICE] [loss PRICE] [id ORDER] [in SECONDS]"
ACTIONS = {action.lower(): action for action in get_args(Action)}
WORDS = {"at": "limit", "profit": "profit", "loss": "loss", "id": "client_order_id", "in": "delay_seconds"}

Confirm = Callable[[str], bool]
SEND = "send it?"


# ---- the decision: a person's words become an order, or a sentence about their mistake ----


def intent_of(words: Sequence[str], *, token: str | None = None) -> OrderIntent:
    """The order that the words say. Raises WrongInput with a sentence for the person who wrote them."""
    if len(words) < 2:
        raise WrongInput(f"an order needs an action and a connector, as in buy main 25%: {FORM}")
    action = ACTIONS.get(words[0].lower())
    if action is None:
        near = difflib.get_close_matches(words[0].lower(), ACTIONS, n=1)
        meant = f"did you mean {ACTIONS[near[0]]}?" if near else f"it is one of {', '.join(ACTIONS.values())}"
        raise WrongInput(f"{words[0]} is no action; {meant}")
    fields: dict[str, object] = {"connector_name": words[1], "action": action, "connector_token": token}
    rest = list(words[2:])
    if not action.startswith("cancel"):
        if not rest or rest[0].lower() in WORDS:
            raise WrongInput(f"{action} needs a size after the connector, as in 25% or 0.5")
        size = rest.pop(0)
        fields |= {"percent": size[:-1]} if size.endswith("%") else {"fixed": size}
    for word, value in zip_longest(rest[::2], rest[1::2]):
        field = WORDS.get(word.lower())
        if field is None or value is None or field in fields:
            raise WrongInput(f"{word}: what may follow is {', '.join(WORDS)}, each once and with its value behind it")
        fields[field] = value
    try:
        return OrderIntent.model_validate(fields)
    except InvalidIntent as error:
        raise WrongInput(str(error)) from None


# ---- effects ----


def trade(orders: SyncOrderPublisher, intent: OrderIntent, confirm: Confirm, *, message_id: str, wait_s: float) -> bool:
    """Show the order, ask, publish it, wait for its outcome. Returns False if it was sent and not delivered.

    Without a confirm, the broker may have it or not: the same identity again is safe, a new one would not be.
    """
    print(intent.model_copy(update={"connector_token": intent.connector_token and "***"}).to_message().decode())
    if not confirm(SEND):
        print("not sent")
        return True
    while True:
        try:
            receipt = orders.publish(intent, message_id=message_id)
            break
        except Unconfirmed as error:
            print(f"{error}; its message_id is {message_id}", file=sys.stderr)
            if not confirm("repeat it, with the same identity?"):
                return False
    print(f"RabbitMQ has it, message_id {message_id}; waiting for its outcome", flush=True)
    try:
        outcome = receipt.outcome(timeout_s=wait_s + intent.delay_ms / 1000)
    except OutcomeError as error:
        print(error, file=sys.stderr)
        return False
    reason = f" ({outcome.reason})" if outcome.reason else ""
    answer = f", the webhook answered {outcome.http_status}" if outcome.http_status else ""
    print(f"{outcome.status}{reason}, attempts: {outcome.attempts}{answer}")
    if outcome.status == "dead":
        print(f"`signalq dead show {outcome.intent_id}` says more", file=sys.stderr)
    return outcome.status == "delivered"


def _converse(orders: SyncOrderPublisher, secret: str | None, wait_s: float) -> None:
    """Take one order after the other, until quit or the end of the input."""
    print(f"{FORM}; or quit")
    while (words := _ask("desk> ").split()) != ["quit"]:
        try:
            if words:
                trade(orders, intent_of(words, token=secret), _agreed, message_id=uuid.uuid4().hex, wait_s=wait_s)
        except (WrongInput, SignalQError) as error:
            print(error, file=sys.stderr)


def _agreed(question: str) -> bool:
    return _ask(f"{question} [y/N] ").lower() in {"y", "yes"}


def _ask(question: str) -> str:
    """The typed line; at the end of the input, quit."""
    try:
        return input(question).strip()
    except EOFError:
        print()
        return "quit"


def main(arguments: Sequence[str]) -> int:
    """The command."""
    given = read_flags(arguments)
    if (given.yes or given.message_id) and not given.order:
        raise WrongInput("--yes and --message-id go with an order")
    secret, to = token(given), broker()
    # Read before there is a connection: to find a mistake, none is needed.
    intent = intent_of(given.order, token=secret) if given.order else None
    with SyncOrderPublisher(to.url, strategy=given.strategy, prefix=to.prefix) as orders:
        if intent is None:
            _converse(orders, secret, given.wait)
            return 0
        message_id = given.message_id or uuid.uuid4().hex
        confirm = (lambda question: question == SEND) if given.yes else _agreed
        return 0 if trade(orders, intent, confirm, message_id=message_id, wait_s=given.wait) else 1


def read_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; wrong usage ends the program."""
    flags = parser("desk", __doc__ or "", examples=EXAMPLES, strategy="desk")
    flags.add_argument("--yes", action="store_true", help="send without asking")
    flags.add_argument("--message-id", help="repeat an order that was not confirmed under its identity")
    flags.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="for the outcome (default: 30)")
    flags.add_argument("order", nargs="*", metavar="WORD", help="the order; without one there is a prompt")
    return flags.parse_intermixed_args(arguments)


if __name__ == "__main__":
    sys.exit(run(main))
