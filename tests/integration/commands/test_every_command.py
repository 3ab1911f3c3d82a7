"""Every command by the table of tests/support/every_command.py: its help, one right use, three wrong ones."""

from __future__ import annotations

import asyncio
import importlib
import json
import shlex
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from signalq import OrderIntent, OrderPublisher
from signalq.local import Installation
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.commands import Ran, ended, run, run_here, start
from tests.support.commands_page import every_help
from tests.support.consumer import Consumer, ledger_url
from tests.support.every_command import FILES, NOWHERE, SECRET, TABLE, Elsewhere, Right, Wrong
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.webhook import Answer, Webhook

HELPS = {path.removeprefix("signalq").strip(): text for path, text in every_help()}
GROUPS = [path for path, row in TABLE.items() if path and row.right is None]
TOKEN = "a-token-of-this-table"
CONFIG = f'[connectors.main]\ntoken = "{TOKEN}"\n[connectors.refused]\ntoken = "{TOKEN}"\n'
LETTERS = ("shown-letter", "replayed-letter", "discarded-letter")
DEMO_TIMEOUT_S = 240.0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that are named in the table; no other file is found by a command."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return tmp_path


# ---- the table, and the helps ----


def test_the_table_has_every_command_and_no_other() -> None:
    assert sorted(TABLE) == sorted(HELPS)


@pytest.mark.parametrize("path", TABLE, ids=lambda path: path or "signalq")
def test_a_help_begins_with_the_usage_and_ends_with_an_example_of_the_command(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = run_here(monkeypatch, capsys, *path.split(), "--help")
    assert (ran.status, ran.err) == (0, "")
    command = f"signalq {path}".strip()
    assert ran.out.startswith(f"Usage: {command} ")
    examples = ran.out.partition("Example:\n")[2].splitlines()
    # An option of all commands may stand before the name.
    assert any(path in line and "signalq" in line for line in examples), examples
    assert all(len(line) <= 80 for line in ran.out.partition("Example:\n")[0].splitlines())


@pytest.mark.parametrize("path", GROUPS)
def test_a_group_alone_shows_its_commands_and_is_wrong_usage(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(monkeypatch, capsys, *path.split())
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"Usage: signalq {path} ")
    assert "Commands:" in ran.err


# ---- wrong uses ----


@pytest.mark.parametrize("path", TABLE, ids=lambda path: path or "signalq")
def test_a_wrong_use_is_one_sentence_with_its_exit_status(
    path: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value.format(tmp=folder))
    for wrong in TABLE[path].wrong:
        assert wrong.words.startswith((path, "--config")), "it is a use of another command"
        ran = run_here(monkeypatch, capsys, *shlex.split(wrong.words.format(tmp=folder)))
        check_wrong(wrong, ran, folder)
    assert list(folder.rglob("*.db")) == [], "a command made a ledger"


def check_wrong(wrong: Wrong, ran: Ran, folder: Path) -> None:
    said = ran.err.removeprefix("signalq: ")
    assert said.startswith(wrong.says.format(tmp=folder)), f"signalq {wrong.words}: {ran.err}"
    assert (ran.status, ran.out) == (wrong.status, ""), f"signalq {wrong.words}"
    assert ran.err.count("\n") == 1, "it is one line"
    assert all(word not in ran.err for word in ("Traceback", "unexpected", "Error:", SECRET))


# ---- right uses ----


@pytest_asyncio.fixture
async def world(
    broker: Broker, names: Names, webhook: Webhook, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mapping[str, str]]:
    """A consumer, three dead letters and a delayed order; the words in braces of the table."""
    webhook.behave(lambda order: Answer(status=400) if order.connector == "refused" else Answer())
    (folder / "signalq.toml").write_text(CONFIG, encoding="utf-8")
    settings = {
        "SIGNALQ_CONFIG": str(folder / "signalq.toml"),
        "SIGNALQ_BROKER__URL": broker.url,
        "SIGNALQ_BROKER__PREFIX": names.prefix,
        "SIGNALQ_LEDGER__URL": ledger_url(names.prefix),
        "SIGNALQ_WEBHOOK__URL": webhook.url,
        "SIGNALQ_OPS__PORT": "0",
        "SIGNALQ_GATEWAY__PORT": "0",
        "SIGNALQ_CONSOLE__PORT": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    async with Consumer(broker.url, names.prefix, webhook.url, config=CONFIG) as consumer:
        await consumer.started()
        async with OrderPublisher(broker.url, strategy="table", prefix=names.prefix) as orders:
            for letter in LETTERS:
                await orders.publish(intent("refused"), message_id=letter)
            await orders.publish(intent("main", delay_seconds=600), message_id="waiting")
        await wait_until(lambda: len(consumer.events("intent.settled")) >= len(LETTERS), what="the dead letters")
        await wait_until(lambda: consumer.events("intent.scheduled"), what="the delayed order")
        yield {"prefix": names.prefix, "ops_port": str(consumer.ops_port), "tmp": str(folder)}


def intent(connector: str, **fields: object) -> OrderIntent:
    return OrderIntent(connector_name=connector, connector_token=TOKEN, action="buy", fixed="1", **fields)


async def test_the_right_use_of_each_command_does_what_its_help_says(world: Mapping[str, str]) -> None:
    for path, row in TABLE.items():
        if not isinstance(row.right, Right):
            continue
        words, shows = shlex.split(row.right.words.format(**world)), row.right.shows.format(**world)
        begun_s = time.monotonic()
        ran = await (stopped(words, shows) if row.right.ends_on_sigterm else run(*words, timeout_s=PATIENCE_S))
        told = f"signalq {shlex.join(words)} ({time.monotonic() - begun_s:.1f} s): {ran}"
        assert path in shlex.join(words)
        assert ran.status == 0, told
        assert shows in ran.out + ran.err, told
        assert TOKEN not in ran.out + ran.err, told


async def stopped(words: list[str], shows: str) -> Ran:
    """Start a command that goes on, wait until it shows this, and ask it to end."""
    process = await start(*words)
    told = ""
    async with asyncio.timeout(PATIENCE_S):
        reading = [asyncio.create_task(stream.readline()) for stream in (process.stdout, process.stderr)]
        while shows not in told:
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                at = reading.index(task)
                line = task.result().decode()
                told += line
                assert line, f"it ended: {told}"
                reading[at] = asyncio.create_task((process.stdout, process.stderr)[at].readline())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    process.terminate()
    ran = await ended(process, timeout_s=PATIENCE_S)
    return Ran(ran.status, told + ran.out, ran.err)


async def test_the_demo_shows_orders_and_ends_by_itself(installation: Installation, folder: Path) -> None:
    del installation
    process = await start("demo", "--json")
    async with asyncio.timeout(DEMO_TIMEOUT_S):
        told = b""
        while b'"console"' not in told:
            told = await process.stdout.readline()
            assert told, await process.stderr.read()
        # The story holds still, and its consumer goes on, with the console.
        process.send_signal(signal.SIGSTOP)
        try:
            await the_link_leads_to_its_console(json.loads(told)["console"])
        finally:
            process.send_signal(signal.SIGCONT)
    ran = await ended(process, timeout_s=DEMO_TIMEOUT_S)
    assert ran.status == 0, ran.err
    held = [row["holds"] for row in ran.rows if "holds" in row]
    assert len(held) >= 4
    assert all(held), ran.rows


async def the_link_leads_to_its_console(link: str) -> None:
    """It asks for a name; the same address with another secret is refused."""
    async with aiohttp.ClientSession() as session:
        for address, status in ((link, 200), (f"{link}x", 403)):
            async with session.get(address) as answer:
                assert answer.status == status


@pytest.mark.parametrize("path", [path for path, row in TABLE.items() if isinstance(row.right, Elsewhere)])
def test_a_right_use_that_is_elsewhere_is_a_test_that_is_there(path: str) -> None:
    right = TABLE[path].right
    assert isinstance(right, Elsewhere)
    file, _, name = right.test.partition("::")
    assert hasattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    assert f'"{path}"' in Path(file).read_text("utf-8")
