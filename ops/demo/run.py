"""The demo's course: three strategies publish to a private RabbitMQ, `signalq consume` takes the orders to the sandbox.

One order is delayed, one is invalid, one is refused.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from signalq.kinds import Kind
from signalq.local import PrivateBrokerError, PrivateRabbitMQ, ensure_installed
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.reader import open_letters
from signalq.ops.demo.consumer import START_TIMEOUT_S, running_consumer
from signalq.ops.demo.strategies import DELAY_S, DEMO_TOKEN, REFUSED_CONNECTOR, publish_orders
from signalq.ops.sandbox.behaviour import Behaviour
from signalq.ops.sandbox.server import Sandbox, SandboxOrder
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.render import Column, console, print_json, print_rows
from signalq.settings.connections import Broker
from signalq.settings.sections import Settings

LETTERS_TIMEOUT_S = 10.0

ORDER_COLUMNS = [
    Column("at", "came after"),
    Column("connector", "connector", style="cyan"),
    Column("order", "order"),
    Column("answer", "answered"),
    Column("note", "", style="dim", least=20, rank=1),
]
LETTER_COLUMNS = [
    Column("reason", "reason", style="bold red"),
    Column("connector", "connector", style="cyan"),
    Column("strategy", "strategy", rank=1),
    Column("detail", "why", least=40),
]


def run_demo(*, as_json: bool = False) -> int:
    """Run the demo; returns 0 if everything held, else 1. Takes about 15 s once RabbitMQ is installed."""
    story = Story(as_json=as_json)
    story.step("A private RabbitMQ, beside any other on this machine")
    try:
        with PrivateRabbitMQ(ensure_installed(story.line)) as broker:
            story.line(f"answers on 127.0.0.1:{broker.port}")
            holds = asyncio.run(_run(story, broker.url))
    except PrivateBrokerError as error:
        raise CommandFailed(str(error), kind=Kind.PRIVATE_SERVER) from error
    story.step("RabbitMQ is stopped, and nothing is left behind")
    return 0 if holds else 1


async def _run(story: Story, broker_url: str) -> bool:
    async with Sandbox() as sandbox:
        sandbox.behave(Behaviour(mode="refuse", connector=REFUSED_CONNECTOR))
        story.step("A sandbox in the platform's place, and `signalq consume` between the two")
        story.line(f"orders are POSTed to {sandbox.url}")
        async with running_consumer(broker_url, sandbox.url) as link:
            story.link("its console, while this runs", link)
            story.step("Three strategies publish: momentum, rebalancer, and a desk by plain AMQP")
            began = datetime.now(UTC)
            due_ms = await publish_orders(broker_url)
            story.line(f"7 confirmed; one of them waits {DELAY_S:g} s, one is misspelt, one goes to a closed account")
            came = await sandbox.received(6, timeout_s=START_TIMEOUT_S)
            letters = await _letters(broker_url, 2)
        story.line("consume got SIGTERM, finished what it had, and left with 0")
    story.step("What came to the platform, in order for each connector")
    story.table(ORDER_COLUMNS, [_order_row(order, began, due_ms) for order in came])
    story.step("What did not go through is in the dead-letter queue, with its reason")
    story.table(LETTER_COLUMNS, [letter.row() for letter in letters])
    return _verdict(story, came, letters, due_ms)


async def _letters(broker_url: str, wanted: int) -> list[Letter]:
    """The dead letters, read as `signalq dead list` reads them, once there are as many as wanted."""
    settings = Settings(broker=Broker.model_validate({"url": broker_url}))
    async with asyncio.timeout(LETTERS_TIMEOUT_S):
        while True:
            async with open_letters(settings, on_wait=lambda _text: None) as letters:
                found = [letter async for letter in letters]
            if len(found) >= wanted:
                return found


def _order_row(order: SandboxOrder, began: datetime, due_ms: int) -> dict[str, object]:
    body = order.body or {}
    amount = f"{body['percent']} %" if "percent" in body else body.get("fixed", "")
    late_ms = _late_ms(order, due_ms)
    return {
        "at": f"{(order.at - began).total_seconds():.3f} s",
        "connector": order.connector,
        "order": f"{order.action} {amount}",
        "answer": order.answer,
        "note": f"due {DELAY_S:g} s after its creation, {late_ms} ms late" if late_ms is not None else "",
    }


def _late_ms(order: SandboxOrder, due_ms: int) -> int | None:
    """The lateness of the delayed order; None for any other."""
    is_delayed = order.connector == "spot-main" and order.action == "buy"
    return int(order.at.timestamp() * 1000) - due_ms if is_delayed else None


def _verdict(story: Story, came: list[SandboxOrder], letters: list[Letter], due_ms: int) -> bool:
    story.step("So")
    percents = [order.body["percent"] for order in came if order.connector == "futures-main" and order.body]
    late = [late_ms for order in came if (late_ms := _late_ms(order, due_ms)) is not None]
    return all(
        [
            story.check("every order came once, momentum's three in order", holds=percents == ["50", "25", "100"]),
            story.check("the delayed one came at its time, not before", holds=len(late) == 1 and late[0] >= 0),
            story.check(
                "the misspelt and the refused one are dead letters, each with its reason",
                holds=sorted(letter.reason or "" for letter in letters) == ["invalid", "rejected"],
            ),
            story.check("no token is in any of this", holds=all(DEMO_TOKEN not in str(order.body) for order in came)),
        ]
    )


class Story:
    """Shows the demo as it goes on: chapters with lines, tables and checks, or the same as JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = console()
        self._step = 0

    def step(self, text: str) -> None:
        """Begin a new chapter."""
        self._step += 1
        if self._as_json:
            print_json({"step": self._step, "text": text})
        else:
            self._out.print()
            self._print(f"{self._step}  ", text, "bold")

    def line(self, text: str) -> None:
        """Show a line within a chapter."""
        if not self._as_json:
            self._print("   ", text, "dim")

    def link(self, text: str, link: str) -> None:
        """Show a link within a chapter, as it is."""
        if self._as_json:
            print_json({"console": link})
        else:
            self._out.print(f"   {text}: {link}", style="dim", soft_wrap=True)

    def table(self, columns: list[Column], rows: list[dict[str, object]]) -> None:
        """Show rows within a chapter."""
        print_rows(columns, rows, as_json=self._as_json)

    def check(self, text: str, *, holds: bool) -> bool:
        """Show one thing that should hold, and return whether it does."""
        if self._as_json:
            print_json({"check": text, "holds": holds})
        else:
            self._print(f"   {'ok' if holds else 'NO'}  ", text, "green" if holds else "bold red")
        return holds

    def _print(self, before: str, text: str, style: str) -> None:
        """Show a line; a terminal that is narrower goes on below, at a word."""
        if not self._out.is_terminal:
            self._out.print(before + text)
            return
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(Text(before, style), Text(text, style))
        self._out.print(grid, soft_wrap=False)
