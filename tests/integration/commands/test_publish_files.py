"""`signalq publish FILE` as the process that a person starts: what breaks, what stops it, and what goes on."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from signalq import OrderIntent, OrderPublisher, PublishResult
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.ops.__main__ import main
from tests.support.amqp import depth, drain
from tests.support.broker import Broker, through, written_down
from tests.support.commands import TIMEOUT_S, Ran, Signalq, ended, start
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

SUMMARY = {
    "published": 0,
    "bad": 0,
    "skipped_lines": 0,
    "duplicates": 0,
    "unconfirmed": 0,
    "through_line": 0,
    "stopped_by": None,
}


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state folder of these runs."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state" / "signalq" / "publish"


Here = Callable[..., Ran]


@pytest.fixture
def here(environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs the command in this process, where nothing dies: a process of its own takes a second to start."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["signalq", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Ran(int(left.value.code or 0), captured.out, captured.err)

    return run


def numbered(path: Path, count: int, *, start_at: int = 0) -> list[str]:
    """Append so many lines, told apart by their `log`."""
    numbers = [str(number) for number in range(start_at, start_at + count)]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f'{{"connectorName":"main","action":"buy","log":"{number}"}}\n' for number in numbers)
    return numbers


async def logs_in(url: str, queue: str) -> list[str]:
    """What lies in the queue, in its order."""
    return [json.loads(message.body)["log"] for message in await drain(url, queue)]


def summary(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.err.splitlines()[-1])
    return found


@asynccontextmanager
async def cut_once(upstream: URL, *, after_bytes: int) -> AsyncIterator[str]:
    """The URL of a way to the broker that breaks once, when so many bytes went towards it."""
    left = after_bytes
    links: set[asyncio.StreamWriter] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool) -> None:
        nonlocal left
        while data := await reader.read(4096):
            if counts and 0 < left <= len(data):
                left = 0
                break
            left -= len(data) if counts and left else 0
            writer.write(data)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(upstream.host, upstream.port)
        links.update((writer, back))
        ways = [
            asyncio.ensure_future(pump(reader, back, counts=True)),
            asyncio.ensure_future(pump(there, writer, counts=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, back):
            end.transport.abort()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    async with server:
        yield str(upstream.with_host("127.0.0.1").with_port(server.sockets[0].getsockname()[1]))
        for end in links:
            end.transport.abort()


# ---- lines and identities ----


async def test_a_bad_line_of_a_file_is_reported_with_its_number_and_the_rest_go_out_in_order(
    broker: Broker, topology: Topology, signalq: Signalq, tmp_path: Path
) -> None:
    lines = [f'{{"connectorName":"main","action":"buy","log":"{number}"}}' for number in range(600)]
    lines[2] = '{"connectorName":"main","action":"buy","percnt":1}'
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    ran = await signalq("publish", str(path), "--json")
    assert ran.status == 1
    too_many, said, summary = ran.err.splitlines()
    assert too_many.startswith("signalq: main: 298 of 599 intents would wait for longer than 60 s and be dead, expired")
    assert said == "line 3: percnt: is not a field of an intent, the nearest is percent"
    took = {"seconds": json.loads(summary)["seconds"], "rate_per_s": json.loads(summary)["rate_per_s"]}
    assert json.loads(summary) == SUMMARY | took | {"published": 599, "bad": 1, "through_line": 600}
    assert [row["line"] for row in ran.rows] == [number for number in range(1, 601) if number != 3]
    messages = await drain(broker.url, topology.names.orders)
    assert [json.loads(message.body)["log"] for message in messages] == [str(n) for n in range(600) if n != 2]
    assert [message.properties.message_id for message in messages] == [row["message_id"] for row in ran.rows]


def test_the_same_file_again_has_the_same_identities_unless_it_is_meant_again(
    topology: Topology, here: Here, tmp_path: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("connectorName,action\nmain,buy\nmain,buy\n", encoding="utf-8")
    first, second, meant = [
        [row["message_id"] for row in (here("publish", str(path), "--json", *more)).rows]
        for more in ([], [], ["--again"])
    ]
    assert first == second
    assert len({*first, *meant}) == 4


async def test_lines_from_a_pipe_go_out_before_the_pipe_ends(topology: Topology, environment: None) -> None:
    process = await start("publish", "-", "--json")
    assert process.stdin
    assert process.stdout
    process.stdin.write(b'{"connectorName":"main","action":"buy"}\n')
    async with asyncio.timeout(TIMEOUT_S):
        assert json.loads(await process.stdout.readline())["line"] == 1
        process.send_signal(2)  # SIGINT, while it waits for the next line
        _, err = await process.communicate()
    said, summary = err.decode().splitlines()
    assert process.returncode == 130
    assert re.fullmatch(
        "signalq: stopped by SIGINT: everything up to line 1 is dealt with; publish the same again from its first "
        "line with `signalq publish --batch pipe-[0-9a-f]{16} -`: what has arrived is dropped as a duplicate",
        said,
    )
    assert json.loads(summary)["stopped_by"] == "SIGINT"


# ---- what breaks ----


async def test_a_connection_that_breaks_in_mid_file_loses_nothing_and_keeps_the_order(
    broker: Broker, topology: Topology, signalq: Signalq, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbers = [str(number) for number in range(1000)]
    path.write_text("".join(f'{{"connectorName":"main","action":"buy","log":"{n}"}}\n' for n in numbers), "utf-8")
    async with cut_once(URL(broker.url), after_bytes=60_000) as url:
        monkeypatch.setenv("SIGNALQ_BROKER__URL", url)
        ran = await signalq("publish", str(path), "--json")
    assert ran.status == 0, ran.err
    assert summary(ran)["published"] == 1000
    assert [row["line"] for row in ran.rows] == list(range(1, 1001))
    messages = await drain(broker.url, topology.names.orders)
    # What was not confirmed went out again: the first of each identity is what the consumer delivers.
    first = {message.properties.message_id: json.loads(message.body)["log"] for message in reversed(messages)}
    assert sorted(first.values(), key=int) == numbers
    assert list(dict.fromkeys(json.loads(message.body)["log"] for message in messages)) == numbers


async def test_a_broker_killed_in_mid_file_and_in_mid_publish_many_has_every_confirmed_one_in_order(
    mortal_broker: PrivateRabbitMQ, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both at once: a node of its own takes 5 s to start."""
    of_file, of_sdk = Names("file"), Names("sdk")
    async with await connect(mortal_broker.url, name="signalq test") as connection:
        for names in (of_file, of_sdk):
            await Topology(names).declare(connection)
    await written_down(mortal_broker, of_file.orders, of_sdk.orders)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", mortal_broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", of_file.prefix)
    path = tmp_path / "orders.jsonl"
    numbers = numbered(path, 1000)
    told: list[PublishResult] = []

    def given() -> Iterator[OrderIntent]:
        for number in numbers:
            yield OrderIntent(connector_name="main", action="buy", log=number)

    process = await start("publish", str(path), "--json", "--rate", "500")
    assert process.stdout
    async with OrderPublisher(mortal_broker.url, prefix=of_sdk.prefix, outcomes=False) as orders:
        async with asyncio.timeout(TIMEOUT_S):
            first = await process.stdout.readline()
        publishing = asyncio.create_task(orders.publish_many(given(), on_result=told.append, in_flight_max=16))
        await wait_until(lambda: len(told) > 100, what="the first confirms")
        await asyncio.to_thread(mortal_broker.kill)
        confirmed_before = len(told)
        await asyncio.to_thread(mortal_broker.start)
        assert await publishing == 1000
        assert confirmed_before < 1000
        ran = await ended(process)
    assert ran.status == 0, ran.err
    assert [json.loads(first)["line"], *(row["line"] for row in ran.rows)] == list(range(1, 1001))
    for names in (of_file, of_sdk):
        # What was not confirmed went out again: the first of each is what the consumer delivers.
        assert list(dict.fromkeys(await logs_in(mortal_broker.url, names.orders))) == numbers


async def test_a_broker_that_does_not_come_back_ends_the_run_with_the_command_to_run_next(
    broker: Broker, topology: Topology, signalq: Signalq, link: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "my orders.jsonl"
    numbers = numbered(path, 200)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    process = await start("publish", str(path), "--json", "--rate", "100", "--strategy", "momentum")
    assert process.stdout
    async with asyncio.timeout(TIMEOUT_S):
        await process.stdout.readline()
    link.stall()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)  # a second one: nothing can be waited for
    stopped = await ended(process)
    assert stopped.status == 130
    sentence = stopped.err.splitlines()[0]
    assert sentence.startswith("signalq: stopped by SIG")
    assert sentence.endswith(f"go on with `signalq publish --resume --strategy momentum --rate 100 '{path}'`")
    link.heal()
    resumed = await signalq("publish", "--resume", "--strategy", "momentum", str(path), "--json")
    assert resumed.status == 0, resumed.err
    assert summary(resumed)["skipped_lines"] == summary(stopped)["through_line"]
    assert summary(resumed)["skipped_lines"] + summary(resumed)["published"] == 200
    assert list(dict.fromkeys(await logs_in(broker.url, topology.names.orders))) == numbers


# ---- going on ----


async def test_a_killed_run_is_resumed_behind_the_last_confirmed_line_and_the_file_may_grow(
    broker: Broker, topology: Topology, signalq: Signalq, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbers = numbered(path, 400)
    process = await start("publish", str(path), "--json", "--rate", "200")
    assert process.stdout
    async with asyncio.timeout(TIMEOUT_S):
        await process.stdout.readline()
    await wait_until(lambda: kept_lines(state) > 20, what="some progress on disk")
    process.kill()
    await ended(process)
    kept = kept_lines(state)
    resumed = await signalq("publish", "--resume", str(path), "--json")
    assert resumed.status == 0, resumed.err
    assert [row["line"] for row in resumed.rows] == list(range(kept + 1, 401))
    assert summary(resumed)["skipped_lines"] == kept
    assert list(dict.fromkeys(await logs_in(broker.url, topology.names.orders))) == numbers
    more = numbered(path, 2, start_at=400)
    grown = await signalq("publish", "--resume", str(path))
    assert grown.out.startswith("published 2 intents, 400 intents skipped: confirmed before, in ")
    assert await logs_in(broker.url, topology.names.orders) == more


def kept_in(state: Path) -> list[Path]:
    return list(state.glob("*.json"))


def kept_lines(state: Path) -> int:
    files = kept_in(state)
    return json.loads(files[0].read_text("utf-8"))["lines"] if files else 0


def test_going_on_after_again_keeps_the_identities_of_that_run(
    broker: Broker, topology: Topology, here: Here, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("connectorName,action\nmain,buy\nmain,buy\n", encoding="utf-8")
    meant = here("publish", "--again", str(path), "--json")
    (file,) = kept_in(state)
    # As if it had been killed before the confirm of the second.
    progress = json.loads(file.read_text("utf-8"))
    one = tmp_path / "one.csv"
    one.write_text("connectorName,action\nmain,buy\n", encoding="utf-8")
    here("publish", str(one))
    (of_one,) = (other for other in kept_in(state) if other != file)
    digest = json.loads(of_one.read_text("utf-8"))["digest"]
    file.write_text(json.dumps(progress | {"lines": 2, "digest": digest}), encoding="utf-8")
    resumed = here("publish", "--resume", str(path), "--json")
    assert [row["message_id"] for row in resumed.rows] == [meant.rows[1]["message_id"]]


def test_a_file_that_has_changed_before_that_line_is_refused_and_nothing_goes_out(
    broker: Broker, topology: Topology, here: Here, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbered(path, 3)
    here("publish", str(path))
    asyncio.run(drain(broker.url, topology.names.orders, 3))
    path.write_text(path.read_text("utf-8").replace('"0"', '"x"') + path.read_text("utf-8"), encoding="utf-8")
    ran = here("publish", "--resume", str(path))
    assert (ran.status, ran.out) == (1, "")
    (kept,) = kept_in(state)
    assert ran.err == (
        f"signalq: {path} can't be resumed, the first 3 lines are no longer those that were published "
        f"(kept in {kept}): publish it without --resume, the consumer drops the lines that are where they were and "
        "as they were, or put them back; see `signalq help file-changed`\n"
    )
    assert asyncio.run(depth(broker.url, topology.names.orders)) == 0


def test_without_a_run_before_there_is_nothing_to_resume(
    topology: Topology, here: Here, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbered(path, 1)
    ran = here("publish", "--resume", str(path))
    assert ran.status == 1
    assert ran.err.startswith("signalq: there is nothing to resume: no progress of this file, with this broker")
    assert str(state) in ran.err


def test_a_state_folder_that_cannot_be_written_stops_no_order(
    topology: Topology, here: Here, tmp_path: Path, state: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbered(path, 1)
    state.parents[1].write_text("a file where the folder should be", encoding="utf-8")
    ran = here("publish", str(path))
    assert ran.status == 0
    assert ran.out.startswith("published 1 intent, in ")
    assert ran.err.startswith("signalq: --resume will not know how far it came: ")


def test_a_pace_spreads_the_lines_and_a_pipe_cannot_be_resumed(
    broker: Broker, topology: Topology, here: Here, tmp_path: Path
) -> None:
    path = tmp_path / "orders.jsonl"
    numbered(path, 4)
    paced = here("publish", "--rate", "10", str(path), "--json")
    created_ms = [
        message.headers["signalq-created-ms"] for message in asyncio.run(drain(broker.url, topology.names.orders))
    ]
    # Never too fast; how much too slow is up to the machine. What is late is caught up by 50 ms at most.
    assert created_ms[-1] - created_ms[0] >= 240
    assert summary(paced)["published"] == 4
    refused = here("publish", "--resume", "-")
    assert refused.status == 2
    assert "--resume needs a file that can be read again from its beginning, not a pipe" in refused.err
