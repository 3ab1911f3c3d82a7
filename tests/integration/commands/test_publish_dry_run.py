"""`signalq publish --dry-run` checks all of it, and sends and keeps nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signalq.amqp.topology import Topology
from signalq.message import intent
from signalq.ops.__main__ import main
from signalq.ops.publish import file_run, source
from tests.support.amqp import depth, drain
from tests.support.broker import Broker
from tests.support.commands import Ran

LINE = '{"connectorName":"main","action":"buy"}\n'
BAD = '{"connectorName":"main","action":"bye"}\n'
Publish = Callable[..., Ran]


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state folder of these runs."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def publish(environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Publish:
    """Runs `signalq publish` in this process."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["signalq", "publish", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


def test_a_file_is_checked_as_a_whole_and_nothing_of_it_is_sent_or_kept(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(LINE * 400 + BAD + LINE, encoding="utf-8")
    ran = publish("--dry-run", str(path))
    assert ran.status == 1
    assert ran.out == "would publish 401 intents (main 401), 1 line is bad\n"
    bad, late, could = ran.err.splitlines()
    assert bad.startswith("line 401: action: must be one of buy")
    assert late.startswith("signalq: main: 100 of 401 intents would wait for longer than 60 s")
    assert could.endswith(" could take them; nothing was sent")
    assert asyncio.run(depth(broker.url, topology.names.orders)) == 0
    assert not state.exists()


def test_the_identities_are_those_that_the_publish_then_has(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("connectorName,action\nmain,buy\nmain,sell\n", encoding="utf-8")
    checked = publish("--dry-run", "--json", str(path))
    assert checked.status == 0
    done = publish("--json", str(path))
    assert [row["message_id"] for row in checked.rows] == [row["message_id"] for row in done.rows]
    assert json.loads(checked.err.splitlines()[-1]) == {
        "would_publish": 2,
        "bad": 0,
        "skipped_lines": 0,
        "duplicates": 0,
        "connectors": {"main": 2},
        "broker": "ok",
    }
    again = publish("--dry-run", "--wait", str(path))
    assert "was published before" in again.err
    assert "2 of them published before, and dropped as duplicates" in again.out
    assert again.err.endswith("could take them, and outcomes can be heard of; nothing was sent\n")
    resumed = publish("--dry-run", "--resume", str(path))
    assert (resumed.status, resumed.out) == (0, "would publish 0 intents, 2 intents skipped: confirmed before\n")
    assert len(asyncio.run(drain(broker.url, topology.names.orders, 2))) == 2


def test_one_intent_says_when_it_would_be_due_and_a_real_one_when_it_is(
    broker: Broker, topology: Topology, publish: Publish
) -> None:
    flags = ("--connector", "main", "--action", "buy", "--delay-seconds", "90")
    checked = publish("--dry-run", *flags)
    assert checked.status == 0
    assert checked.out.startswith("would publish buy for main, due at 20")
    assert asyncio.run(depth(broker.url, topology.names.orders)) == 0
    done = publish(*flags)
    _, due = done.out.splitlines()
    assert due.startswith("due at 20")
    assert due.endswith("Z, in 90 s")
    assert publish("--json", *flags).rows[0]["due_at"].startswith("20")


def test_a_broker_that_could_not_take_them_fails_the_check(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text(LINE, encoding="utf-8")
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://user:topsecret@127.0.0.1:1/")
    ran = publish("--dry-run", str(path))
    assert (ran.status, ran.out) == (1, "would publish 1 intent (main 1)\n")
    assert ran.err.startswith("signalq: no connection to RabbitMQ at amqp://user:***@127.0.0.1:1/ (connection refused")


@pytest.mark.bare_prefix
def test_a_broker_without_the_exchange_fails_the_check_and_says_what_to_do(publish: Publish, tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    path.write_text("\n", encoding="utf-8")
    ran = publish("--dry-run", str(path))
    assert ran.status == 1
    empty, missing = ran.err.splitlines()
    assert empty == "signalq: the input holds no intent: nothing would be published"
    assert missing.startswith("signalq: there is no exchange ")
    assert missing.endswith("start the consumer once, or run `signalq topology apply`")


@pytest.mark.parametrize(("bytes_max", "times"), [(file_run.KEPT_FILE_BYTES_MAX, 1), (0, 2)])
def test_a_small_file_is_judged_once_and_a_large_one_twice_and_both_are_published_alike(
    broker: Broker,
    topology: Topology,
    publish: Publish,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bytes_max: int,
    times: int,
) -> None:
    judged: list[object] = []

    def judge(fields: Any, **options: Any) -> intent.OrderIntent:
        judged.append(fields)
        return intent.intent_from_fields(fields, **options)

    monkeypatch.setattr(source, "intent_from_fields", judge)
    monkeypatch.setattr(file_run, "KEPT_FILE_BYTES_MAX", bytes_max)
    path = tmp_path / "orders.jsonl"
    path.write_text(LINE * 3 + BAD + LINE, encoding="utf-8")
    ran = publish("--json", str(path))
    assert (ran.status, [row["line"] for row in ran.rows]) == (1, [1, 2, 3, 5])
    assert len(judged) == 5 * times
    path.write_text(LINE * 3 + BAD + LINE * 2, encoding="utf-8")
    assert [row["line"] for row in publish("--resume", "--json", str(path)).rows] == [6]
    assert len(asyncio.run(drain(broker.url, topology.names.orders, 5))) == 5
