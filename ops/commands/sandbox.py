"""`signalq sandbox`."""

import asyncio
import sys
from collections.abc import Callable, Mapping

import click
from rich.text import Text

from signalq.message.strict_json import JsonNumber
from signalq.ops.sandbox.behaviour import Behaviour
from signalq.ops.sandbox.server import Sandbox, SandboxOrder
from signalq.ops.terminal.invocation import NearChoice, SignalqCommand, utf8
from signalq.ops.terminal.render import console, print_json, shown, sized
from signalq.ops.terminal.stopping import stop_event
from signalq.times import iso_utc

DEFAULT_PORT = 8090
CONNECTOR_COLUMNS = 16
ACTION_COLUMNS = 10
SIZE_COLUMNS = 14


@click.command(
    cls=SignalqCommand, example="signalq sandbox --port 8090 --throttle 5\nsignalq sandbox --fail 503 --json"
)
@click.option(
    "--host", type=utf8, metavar="TEXT", default="127.0.0.1", show_default=True, help="The address to listen on."
)
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one.")
@click.option("--fail", "status", type=click.IntRange(300, 599), metavar="STATUS", help="Answer all orders with it.")
@click.option("--hang", "seconds", type=click.FloatRange(0, 86_400), metavar="SECONDS", help="Answer ok after SECONDS.")
@click.option(
    "--cut",
    "moment",
    type=NearChoice(["before", "during", "after"]),
    help="Cut the connection before an order is taken, during its answer, or after it was taken.",
)
@click.option(
    "--throttle",
    "rate_per_s",
    type=click.FloatRange(0, 100_000, min_open=True),
    metavar="RATE",
    help="Answer 429 with Retry-After beyond RATE orders a second.",
)
@click.option(
    "--refuse", "refused", type=utf8, multiple=True, metavar="CONNECTOR", help="Answer 400 to it; may be repeated."
)
@click.option(
    "--allow-field",
    "extra_fields",
    type=utf8,
    multiple=True,
    metavar="NAME",
    help="Take this field, too; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: at, connector, action, answer, body.")
def command(
    *,
    host: str,
    port: int,
    refused: tuple[str, ...],
    extra_fields: tuple[str, ...],
    as_json: bool,
    **modes: float | str | None,
) -> None:
    """Run a stand-in for the platform's webhook: it checks orders as documented and answers ok.

    Set webhook.url (SIGNALQ_WEBHOOK__URL) to the URL it prints. GET /orders lists the orders that came
    (?connector= for one connector), tokens masked; DELETE /orders forgets them. PUT /behaviour makes it
    misbehave, for instance {"mode": "fail", "status": 503, "connector": "main", "times": 3}; modes: ok,
    fail, hang, cut, throttle, refuse. DELETE /behaviour ends that. SIGTERM or Ctrl-C ends the sandbox.
    """
    given = {name: value for name, value in modes.items() if value is not None}
    if len(given) > 1:
        raise click.UsageError("of --fail, --hang, --cut and --throttle give at most one")
    kinds = {"status": "fail", "seconds": "hang", "moment": "cut", "rate_per_s": "throttle"}
    sandbox = Sandbox(host=host, port=port, extra_fields=extra_fields, on_order=_printer(as_json=as_json))
    for connector in refused:
        sandbox.behave(Behaviour(mode="refuse", connector=connector))
    for name, value in given.items():
        sandbox.behave(Behaviour.model_validate({"mode": kinds[name], name: value}))
    asyncio.run(_run(sandbox, as_json=as_json))


async def _run(sandbox: Sandbox, *, as_json: bool) -> None:
    asked_to_stop = stop_event()
    async with sandbox:
        if as_json:
            print_json({"url": sandbox.url, "orders": f"{sandbox.base_url}/orders"})
        else:
            console().print(Text.assemble("sandbox ready, POST orders to ", (sandbox.url, "bold")))
            sys.stdout.flush()
        await asked_to_stop.wait()


def _printer(*, as_json: bool) -> Callable[[SandboxOrder], None]:
    """A function that shows an order as soon as its answer is decided."""
    if as_json:
        return lambda order: print_json(order.row())
    out = console()

    def show(order: SandboxOrder) -> None:
        out.print(_line(order))
        sys.stdout.flush()

    return show


def _line(order: SandboxOrder) -> Text:
    return Text.assemble(
        (iso_utc(order.at), "dim"),
        "  ",
        sized(shown(order.connector), CONNECTOR_COLUMNS),
        "  ",
        (sized(shown(order.action), ACTION_COLUMNS), "bold"),
        "  ",
        sized(_size(order.body or {}), SIZE_COLUMNS),
        "  ",
        (shown(order.answer), "green" if order.answer == "200 ok" else "yellow" if order.taken else "red"),
    )


def _size(body: Mapping[str, object]) -> str:
    """The size that takes effect: `50 %`, `0.5`."""
    for name, unit in (("fixed", ""), ("percent", " %")):
        value = body.get(name)
        if value is not None:
            return shown(value.text if isinstance(value, JsonNumber) else value) + unit
    return ""
