"""`signalq publish FILE`: what is one order and what are two, and what is told of it before anything is sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from signalq.amqp.topology import Topology
from signalq.ops.__main__ import main
from tests.support.amqp import drain
from tests.support.broker import Broker
from tests.support.commands import Ran

HEADER = "connectorName,action,fixed\n"
LINE = "alt,buy,0.07\n"


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state folder of these runs."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state" / "signalq" / "publish"


Publish = Callable[..., Ran]


@pytest.fixture
def publish(
    topology: Topology, environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Publish:
    """Runs `signalq publish` in this process; `stdin` is what it reads from a pipe."""

    def run(*arguments: str, stdin: str | None = None) -> Ran:
        monkeypatch.setattr(sys, "argv", ["signalq", "publish", *arguments])
        before = os.dup(0)
        if stdin is not None:
            reading, writing = os.pipe()
            os.write(writing, stdin.encode())
            os.close(writing)
            os.dup2(reading, 0)
            os.close(reading)
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            os.dup2(before, 0)
            os.close(before)
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


def ids_in(broker: Broker, topology: Topology) -> list[str | None]:
    return [message.properties.message_id for message in asyncio.run(drain(broker.url, topology.names.orders))]


def test_an_equal_line_is_another_order_in_another_file_and_the_same_one_in_the_same(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mon.csv", "tue.csv"):
        (tmp_path / name).write_text(HEADER + LINE + LINE, encoding="utf-8")
        ran = publish("--strategy", "m", str(tmp_path / name))
        assert (ran.status, ran.err) == (0, "")
    assert len(set(ids_in(broker, topology))) == 4
    monkeypatch.chdir(tmp_path)
    again = publish("--strategy", "m", "./tue.csv")
    assert again.status == 0
    assert again.err.startswith("signalq: ./tue.csv was published before, at 20")
    assert "up to line 3: these lines are dropped as duplicates" in again.err
    assert again.out.startswith("published 2 intents, 2 of them published before, and dropped as duplicates, in ")
    assert len(set(ids_in(broker, topology))) == 2


def test_each_pipe_holds_new_orders_unless_a_batch_names_them(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path
) -> None:
    line = '{"connectorName":"alt","action":"buy","fixed":"0.07"}\n'
    for _ in range(2):
        assert publish("-", stdin=line).status == 0
    assert len(set(ids_in(broker, topology))) == 2
    for _ in range(2):
        assert publish("--batch", "monday", "-", stdin=line + line).status == 0
    assert len(set(ids_in(broker, topology))) == 2
    # Wherever they come from, they are of that batch.
    path = tmp_path / "orders.jsonl"
    path.write_text(line, encoding="utf-8")
    publish("--batch", "monday", str(path), "--strategy", "-")
    publish("--batch", "tuesday", str(path))
    publish(str(path))
    publish("--batch", "monday", "--again", "-", stdin=line)
    monday, tuesday, file, again = ids_in(broker, topology)
    publish("--batch", "monday", "-", stdin=line)
    assert ids_in(broker, topology) == [monday]
    assert len({monday, tuesday, file, again}) == 4


def test_a_changed_file_causes_a_warning_before_anything_is_sent_and_a_grown_one_sends_the_rest(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + LINE, encoding="utf-8")
    publish(str(path))
    (first,) = ids_in(broker, topology)
    path.write_text(HEADER + LINE + LINE, encoding="utf-8")
    grown = publish(str(path), "--json")
    assert "was published before" in grown.err
    assert json.loads(grown.err.splitlines()[-1])["duplicates"] == 1
    sent = ids_in(broker, topology)
    assert (sent[0], len(set(sent))) == (first, 2)
    path.write_text(HEADER + LINE.replace("7", "8") + LINE, encoding="utf-8")
    changed = publish(str(path), "--json")
    assert changed.status == 0
    assert "has changed within its first 3 lines since: each line that is where it was and as it was" in changed.err
    assert json.loads(changed.err.splitlines()[-1])["duplicates"] is None
    new, same = ids_in(broker, topology)
    assert same == sent[1]
    assert new not in sent
    meant = publish("--again", str(path))
    assert "--again orders all of it once more" in meant.err
    assert meant.out.startswith("published 2 intents, in ")
    assert not set(ids_in(broker, topology)) & {new, same}
    back = publish(str(path))
    assert "2 of them published before" in back.out
    assert ids_in(broker, topology) == [new, same]
    (kept,) = state.glob("*.json")
    kept.write_text(json.dumps(json.loads(kept.read_text("utf-8")) | {"at": "2026-01-31T00:00:00Z"}), encoding="utf-8")
    assert "a ledger that keeps orders for 7 days may know them no more" in publish(str(path)).err


def test_duplicates_are_counted_by_any_name_of_the_file_and_after_any_run(publish: Publish, tmp_path: Path) -> None:
    """By a link, after a run of no line (an export that failed), of a batch that another file or a pipe had."""
    path, link, other = tmp_path / "orders.csv", tmp_path / "latest.csv", tmp_path / "copy.csv"
    path.write_text(HEADER + LINE, encoding="utf-8")
    link.symlink_to(path)
    other.write_text(HEADER + LINE, encoding="utf-8")
    publish(str(path))
    dropped = "1 of them published before, and dropped as duplicates"
    assert dropped in publish(str(link)).out
    path.write_text(HEADER, encoding="utf-8")
    assert publish(str(path)).status == 1
    path.write_text(HEADER + LINE, encoding="utf-8")
    assert dropped in publish(str(path)).out
    publish("--batch", "monday", str(path))
    same = publish("--batch", "monday", str(other))
    assert same.err.startswith("signalq: the batch monday was published before, at 20")
    assert dropped in same.out
    line = '{"connectorName":"alt","action":"buy","fixed":"0.07"}\n'
    assert publish("--batch", "tuesday", "-", stdin=line).err == ""
    piped = publish("--batch", "tuesday", "-", stdin=line)
    assert piped.err.startswith("signalq: the batch tuesday was published before, at 20")
    assert "each line that is where it was and as it was is dropped as a duplicate" in piped.err
    assert publish("--batch", "tuesday", "--again", "-", stdin=line).err == ""


def test_lines_that_an_earlier_version_published_are_not_ordered_once_more(
    broker: Broker, topology: Topology, publish: Publish, tmp_path: Path, state: Path
) -> None:
    """Its identities were of the bytes alone: nobody would know the lines again."""
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + LINE, encoding="utf-8")
    publish(str(path))
    (kept,) = state.glob("*.json")
    now = json.loads(kept.read_text("utf-8"))
    old = {name: now[name] for name in ("file", "broker", "prefix", "strategy", "lines", "digest", "salt")}
    assert len(ids_in(broker, topology)) == 1
    for more in ([], ["--resume"]):
        kept.write_text(json.dumps(old | {"version": 1}), encoding="utf-8")
        ran = publish(*more, str(path))
        assert (ran.status, ran.out) == (1, "")
        assert "was published up to line 2 by an earlier version of signalq, under other identities" in ran.err
    assert ids_in(broker, topology) == []
    assert publish("--again", str(path)).status == 0
    # A file that is another by now is none of that version's.
    kept.write_text(json.dumps(old | {"version": 1}), encoding="utf-8")
    path.write_text(HEADER + LINE.replace("7", "8"), encoding="utf-8")
    changed = publish(str(path))
    assert changed.status == 0
    assert "published before, by an earlier version of signalq: all its lines are new orders" in changed.err
    assert len(set(ids_in(broker, topology))) == 2


@pytest.mark.parametrize("name", ["empty.csv", "header.csv", "empty.jsonl", "blank.jsonl"])
def test_a_file_without_an_intent_is_reported_and_is_no_success(publish: Publish, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text({"header": HEADER, "blank": "\n\n"}.get(path.stem, ""), encoding="utf-8")
    ran = publish(str(path))
    assert ran.status == 1
    assert ran.err == "signalq: the input holds no intent: nothing was published\n"


def test_a_resumed_run_counts_neither_the_header_nor_bad_lines_as_confirmed(publish: Publish, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + LINE + "alt,buy\n" + LINE, encoding="utf-8")
    assert publish(str(path)).status == 1
    resumed = publish("--resume", str(path))
    assert (resumed.status, resumed.err) == (0, "")
    assert resumed.out == "published 0 intents, 2 intents skipped: confirmed before\n"


def test_late_orders_and_misspelt_connectors_cause_warnings_first(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "signalq.toml"
    config.write_text("[connectors.main]\n", encoding="utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(config))
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "mian,buy,1\n" * 400, encoding="utf-8")
    ran = publish(str(path))
    assert ran.status == 0
    assert ran.err.splitlines() == [
        "signalq: no setting names the connector mian, the nearest is main: it counts as another connector",
        "signalq: mian: 99 of 400 intents would wait for longer than 60 s and be dead, expired, "
        "if 5 a second are POSTed, as is assumed here: --rate 5 spreads them, and --wait holds them back",
    ]
    one = publish("--connector", "Main", "--action", "buy", "--fixed", "1")
    assert "the nearest is main" in one.err
