"""No secret, whole or in part, in anything that is shown, logged, counted, told or kept (contract 1, 3 and 5)."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from signalq import names as headers
from signalq.amqp.connection import connect, open_channel
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.ops.dead_letters.letter import Letter, read_letter
from signalq.ops.dead_letters.report import show
from signalq.ops.terminal import escaping
from tests.support.amqp import plain_channel, wait_until
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer, ledger_file
from tests.support.secrets_table import CONFIGURED, ROWS, SECRET, found_in
from tests.support.webhook import Answer, Webhook

CONFIG = f'[connectors.main]\ntoken = "{CONFIGURED}"\n'
OURS = (
    headers.REASON,
    headers.DETAIL,
    headers.INTENT_ID,
    headers.CONNECTOR,
    headers.STRATEGY,
    headers.ORIGIN_USER,
    headers.ANSWER,
)


@dataclass
class Seen:
    """Everything that came of the table: what each place says."""

    places: dict[str, str]
    letters: list[Letter]


@pytest_asyncio.fixture
async def seen(
    broker: PrivateRabbitMQ | ExternalBroker,
    names: Names,
    webhook: Webhook,
    signalq: Signalq,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> AsyncIterator[Seen]:
    """One consumer takes every row; then every command looks once."""
    settings = {"log.level": "debug"}
    answers = {row.body: row.answer for row in ROWS if row.answer is not None}
    webhook.behave(lambda order: answers.get(order.body, Answer()))
    places: dict[str, str] = {}
    async with Consumer(broker.url, names.prefix, webhook.url, settings, config=CONFIG) as consumer:
        await consumer.started()
        async with plain_channel(broker.url) as channel:
            events = (await channel.queue_declare(exclusive=True)).queue or ""
            await channel.queue_bind(events, names.outcomes, "#")
            for row in ROWS:
                body, properties = row.message()
                await channel.basic_publish(
                    body, exchange=names.orders, routing_key=row.routing_key, properties=properties
                )
            ended = len(ROWS)
            await wait_until(lambda: len(consumer.events("intent.settled")) >= ended, what="an end of each row")
            places["events"] = "".join(
                [f"{one.routing_key} {one.body!r}" for one in await _taken(channel, events, ended)]
            )
        places["metrics"] = (await consumer.get("/metrics"))[1]
        places["readyz"] = (await consumer.get("/readyz"))[1]
        config = tmp_path / "signalq.toml"
        config.write_text(CONFIG, "utf-8")
        monkeypatch.setenv("SIGNALQ_CONFIG", str(config))
        for command in (
            *(
                "dead list",
                "dead list --json",
                "dead list --queue",
                "orders list --all",
                "orders list --all --json",
                "lanes list --json",
            ),
            *("check", "scheduled list --json", "topology show", "notify --dry-run"),
        ):
            ran = await signalq(*command.split())
            places[command] = ran.out + ran.err
        letters = [read_letter(message) for message in await _letters(broker.url, names.dead)]
        monkeypatch.setattr(escaping.secrets, "_blanker", None)  # and back to it at the end
        escaping.secrets.learn([CONFIGURED])
        capsys.readouterr()
        for letter in letters:
            show(letter, raw=False, as_json=False)
            show(letter, raw=False, as_json=True)
        places["dead show"] = capsys.readouterr().out
        flags = ("--connector", "desk", "--action", "cancelAll", "--token", SECRET, "--message-id", SECRET)
        ran = await signalq("publish", *flags)
        places["publish"] = ran.out + ran.err
        await wait_until(
            lambda: len(consumer.events("intent.settled")) > ended, 10, what="the end of what was published"
        )
        places["log"] = consumer.log
        files = sorted(ledger_file(names.prefix).parent.glob(f"{names.prefix}.db*"))
        assert len(files) >= 2
        places["ledger"] = "".join(file.read_bytes().decode("latin-1") for file in files)
    yield Seen(places, letters)


async def _taken(channel: Any, queue: str, count: int) -> list[Any]:
    taken: list[Any] = []

    async def take(message: Any) -> None:
        taken.append(message)

    await channel.basic_consume(queue, take, no_ack=True)
    await wait_until(lambda: len(taken) >= count, what="an event of each row")
    return taken


async def _letters(url: str, queue: str) -> list[Any]:
    """All letters, as they were delivered; they stay."""
    connection = await connect(url, name="signalq test")
    async with connection:
        channel = await open_channel(connection, prefetch=1000)
        wanted = (await channel.queue_declare(queue, passive=True)).message_count or 0
        taken: list[Any] = []

        async def take(message: Any) -> None:
            taken.append(message)

        await channel.basic_consume(queue, take)
        await wait_until(lambda: len(taken) >= wanted, what="the letters")
        await channel.close()
        return taken


def test_the_table_is_large_enough_and_its_rows_hold_what_is_looked_for() -> None:
    assert len(ROWS) >= 40
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert found_in(f"x{SECRET[3:12]}y")
    assert found_in(SECRET.encode().hex())
    assert not found_in("connectorToken")


async def test_no_token_is_anywhere_however_it_was_misspelt_misplaced_or_encoded(names: Names, seen: Seen) -> None:
    told = {place: parts for place, text in seen.places.items() if (parts := found_in(text))}
    assert not told
    for letter in seen.letters:
        ours = {name: str((letter.properties.headers or {}).get(name)) for name in OURS}
        assert not found_in(json.dumps(ours)), ours
    dead = [row for row in ROWS if not row.is_order]
    assert len(seen.letters) == len(dead), "each row has its letter, and each letter its body"
    assert sorted(letter.body for letter in seen.letters) == sorted(row.body for row in dead)
    others = stat.S_IRWXG | stat.S_IRWXO
    assert not [
        file for file in ledger_file(names.prefix).parent.glob(f"{names.prefix}.db*") if file.stat().st_mode & others
    ]
