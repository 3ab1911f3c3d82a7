"""The demo: the main job on one machine, for a person to read. Everything in it is real; nothing of it stays.

Three strategies publish to a private RabbitMQ, `signalq consume` runs in a process of its own, the sandbox takes the
orders. One order is delayed, one is invalid, one is refused.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signalq import OrderIntent, OrderPublisher, Receipt
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.local import PrivateBrokerError, PrivateRabbitMQ, ensure_installed
from signalq.message.envelope import publish_properties
from signalq.message.identity import new_message_id
from signalq.names import Names
from signalq.ops.dead_letters.letter import DeadLetter
from signalq.ops.dead_letters.reader import DeadLetters
from signalq.ops.sandbox.behaviour import Behaviour
from signalq.ops.sandbox.server import Sandbox, SandboxOrder
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.render import Column, console, print_json, print_rows
from signalq.settings.sections import Broker, Settings

START_TIMEOUT_S = 30.0
DRAIN_TIMEOUT_S = 30.0
LETTERS_TIMEOUT_S = 10.0
DELAY_S = 3.0
REFUSED_CONNECTOR = "closed-account"
DEMO_TOKEN = "demo-token"  # noqa: S105 - the sandbox takes any
LOG_LINES_SHOWN = 10

ORDER_COLUMNS = [
    Column("at", "came after"),
    Column("connector", "connector", style="cyan"),
    Column("order", "order"),
    Column("answer", "answered"),
    Column("note", "", style="dim"),
]
LETTER_COLUMNS = [
    Column("reason", "reason", style="bold red"),
    Column("connector", "connector", style="cyan"),
    Column("strategy", "strategy"),
    Column("detail", "why"),
]


@dataclass(frozen=True, slots=True)
class Delayed:
    """The delayed order, and when it is due."""

    receipt: Receipt

    @property
    def due_ms(self) -> int:
        """ms since the epoch."""
        return self.receipt.created_ms + round(DELAY_S * 1000)


class Story:
    """Tells the demo: for people, or as JSON lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = console()
        self._step = 0

    def step(self, text: str) -> None:
        """A new chapter."""
        self._step += 1
        if self._as_json:
            print_json({"step": self._step, "text": text})
        else:
            self._out.print(f"\n{self._step}  {text}", style="bold")

    def tell(self, text: str) -> None:
        """A line within a chapter."""
        if not self._as_json:
            self._out.print(f"   {text}", style="dim")

    def table(self, columns: list[Column], rows: list[dict[str, object]]) -> None:
        """Rows within a chapter."""
        print_rows(columns, rows, as_json=self._as_json)

    def check(self, text: str, *, holds: bool) -> bool:
        """One thing that should hold."""
        if self._as_json:
            print_json({"check": text, "holds": holds})
        else:
            self._out.print(f"   {'ok' if holds else 'NO'}  {text}", style="green" if holds else "bold red")
        return holds


def run_demo(*, as_json: bool = False) -> int:
    """Run it; returns 0 where everything held, else 1. Takes about 15 s once RabbitMQ is installed."""
    story = Story(as_json=as_json)
    story.step("A private RabbitMQ, beside any other on this machine")
    try:
        with PrivateRabbitMQ(ensure_installed(story.tell)) as broker:
            story.tell(f"answers on 127.0.0.1:{broker.port}")
            holds = asyncio.run(_tell(story, broker.url))
    except PrivateBrokerError as error:
        raise CommandFailed(str(error)) from error
    story.step("RabbitMQ is stopped, and nothing is left behind")
    return 0 if holds else 1


async def _tell(story: Story, broker_url: str) -> bool:
    async with Sandbox() as sandbox:
        sandbox.behave(Behaviour(mode="refuse", connector=REFUSED_CONNECTOR))
        story.step("A sandbox in the platform's place, and `signalq consume` between the two")
        story.tell(f"orders are POSTed to {sandbox.url}")
        async with _consumer(broker_url, sandbox.url):
            story.step("Three strategies publish: momentum, rebalancer, and a desk by plain AMQP")
            began = datetime.now(UTC)
            delayed = await _publish(broker_url)
            story.tell(f"7 confirmed; one of them waits {DELAY_S:g} s, one is misspelt, one goes to a closed account")
            came = await sandbox.received(6, timeout_s=START_TIMEOUT_S)
            letters = await _letters(broker_url, 2)
        story.tell("consume got SIGTERM, finished what it had, and left with 0")
    story.step("What came to the platform, in order for each connector")
    story.table(ORDER_COLUMNS, [_order_row(order, began, delayed) for order in came])
    story.step("What did not go through is in the dead-letter queue, with its reason")
    story.table(LETTER_COLUMNS, [letter.row() for letter in letters])
    return _verdict(story, came, letters, delayed)


async def _publish(broker_url: str) -> Delayed:
    """Seven intents by three strategies at the same time; returns the delayed one."""
    _, _, delayed = await asyncio.gather(_momentum(broker_url), _desk(broker_url), _rebalancer(broker_url))
    return delayed


async def _momentum(broker_url: str) -> None:
    async with OrderPublisher(broker_url, strategy="momentum") as orders:
        for action, percent in (("openLong", "50"), ("openLong", "25"), ("closeLong", "100")):
            await orders.publish(_intent("futures-main", action, percent=percent))


async def _rebalancer(broker_url: str) -> Delayed:
    async with OrderPublisher(broker_url, strategy="rebalancer") as orders:
        await orders.publish(_intent("spot-main", "sell", percent="10"))
        later = _intent("spot-main", "buy", percent="10", delay_seconds=DELAY_S)
        delayed = Delayed(await orders.publish(later))
        await orders.publish(_intent(REFUSED_CONNECTOR, "buy", fixed="0.5"))
        return delayed


async def _desk(broker_url: str) -> None:
    """The SDK would not let this one out, so it goes as any AMQP client would send it."""
    publisher = ConfirmedPublisher(broker_url, name="signalq demo desk")
    body = b'{"connectorName":"spot-main","connectorToken":"demo-token","action":"by","percent":"500"}'
    properties = publish_properties(
        message_id=new_message_id(), strategy_name="desk", created_ms=time.time_ns() // 1_000_000
    )
    await publisher.publish(Names().orders, "spot-main", body, properties)
    await publisher.close()


def _intent(connector: str, action: str, **fields: object) -> OrderIntent:
    return OrderIntent.model_validate(
        {"connector_name": connector, "connector_token": DEMO_TOKEN, "action": action, **fields}
    )


async def _letters(broker_url: str, wanted: int) -> list[DeadLetter]:
    """The dead letters, read as `signalq dead list` reads them, once there are as many as wanted."""
    settings = Settings(broker=Broker.model_validate({"url": broker_url}))
    async with asyncio.timeout(LETTERS_TIMEOUT_S):
        while True:
            async with DeadLetters(settings, on_wait=lambda _text: None) as letters:
                found = [letter async for letter in letters]
            if len(found) >= wanted:
                return found


def _order_row(order: SandboxOrder, began: datetime, delayed: Delayed) -> dict[str, object]:
    body = order.body or {}
    amount = f"{body['percent']} %" if "percent" in body else body.get("fixed", "")
    is_delayed = order.connector == "spot-main" and order.action == "buy"
    return {
        "at": f"{(order.at - began).total_seconds():.3f} s",
        "connector": order.connector,
        "order": f"{order.action} {amount}",
        "answer": order.answer,
        "note": f"due {DELAY_S:g} s after its creation, {_late_ms(order, delayed)} ms late" if is_delayed else "",
    }


def _late_ms(order: SandboxOrder, delayed: Delayed) -> int:
    return int(order.at.timestamp() * 1000) - delayed.due_ms


def _verdict(story: Story, came: list[SandboxOrder], letters: list[DeadLetter], delayed: Delayed) -> bool:
    story.step("So")
    percents = [order.body["percent"] for order in came if order.connector == "futures-main" and order.body]
    late = [_late_ms(order, delayed) for order in came if order.connector == "spot-main" and order.action == "buy"]
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


@asynccontextmanager
async def _consumer(broker_url: str, webhook_url: str) -> AsyncIterator[None]:
    """`signalq consume` in a process of its own, from ready to drained. Raises CommandFailed where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("SIGNALQ_")}
    environment |= {
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_WEBHOOK__URL": webhook_url,
        "SIGNALQ_OPS__PORT": "0",
        "SIGNALQ_LOG__FORMAT": "json",
    }
    with _log_file() as log, _running(environment | _own_ledger(log.parent), log) as process:
        async with asyncio.timeout(START_TIMEOUT_S):
            # Another process's log is all there is to wait for.
            while "service.started" not in log.read_text("utf-8"):
                if process.poll() is not None:
                    break
                await asyncio.sleep(0.05)
        if process.poll() is None:
            yield
            process.terminate()
        status = await asyncio.to_thread(process.wait, DRAIN_TIMEOUT_S)
        if status != 0:
            last = "\n".join(log.read_text("utf-8").splitlines()[-LOG_LINES_SHOWN:])
            raise CommandFailed(f"signalq consume ended with {status}; the end of its log:\n{last}")


def _own_ledger(folder: Path) -> dict[str, str]:
    """The demo's orders are nobody's history."""
    return {"SIGNALQ_LEDGER__URL": f"sqlite+aiosqlite:///{folder}/ledger.db"}


@contextmanager
def _running(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "signalq", "consume"], env=environment, stdin=subprocess.DEVNULL, stderr=sink
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def _log_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="signalq-demo-") as folder:
        log = Path(folder) / "consume.log"
        log.touch()
        yield log
