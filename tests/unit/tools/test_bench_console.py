"""What ./run bench-console writes and counts with: a figure that is wrong would be believed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from pamqp import commands, frame
from sqlalchemy import create_engine

from benchmarks.console import __main__ as bench
from benchmarks.console.cost import MOUNTED, OWN, WITHOUT
from benchmarks.console.many_lanes import Asked
from benchmarks.console.pages import Answers, spread
from benchmarks.console.past import Past, write
from benchmarks.console.questions import DECLARE, Relay
from benchmarks.console.viewers import _REGION
from benchmarks.figures import Figures
from signalq.consumer.ledger.tables import metadata

NOW_MS = 1_790_000_000_000
HEADER = b"AMQP\x00\x00\x09\x01"


def test_a_past_is_so_many_orders_of_which_so_many_are_dead_each_with_its_letter(tmp_path: Path) -> None:
    file = tmp_path / "past.db"
    engine = create_engine(f"sqlite:///{file}")
    metadata.create_all(engine)
    engine.dispose()
    asyncio.run(write(f"sqlite+aiosqlite:///{file}", Past(5_000, 100, ["a", "b"], NOW_MS)))
    with closing(sqlite3.connect(file)) as ledger:

        def one(query: str) -> object:
            return ledger.execute(query).fetchone()[0]

        assert one("SELECT count(*) FROM intents") == 5_000
        assert one("SELECT count(*) FROM intents WHERE status = 'dead' AND reason IS NOT NULL") == 100
        same = "letters.strategy = intents.strategy AND letters.intent_id = intents.intent_id"
        assert one(f"SELECT count(*) FROM letters JOIN intents ON {same} WHERE intents.status = 'dead'") == 100  # noqa: S608
        assert one("SELECT count(DISTINCT mark) FROM letters") == 100
        assert one(f"SELECT count(*) FROM intents WHERE ended_ms > {NOW_MS}") == 0  # noqa: S608
        assert one("SELECT count(*) FROM steps WHERE intent NOT IN (SELECT number FROM intents)") == 0
        groups = Counter(dict(ledger.execute("SELECT detail, count(*) FROM letters GROUP BY 1").fetchall()))
        assert groups.most_common(1)[0][0] == "the webhook refused it: HTTP 401"


def test_two_pasts_are_alike() -> None:
    assert list(Past(50, 5, ["a"], NOW_MS).rows()) == list(Past(50, 5, ["a"], NOW_MS).rows())


async def test_the_relay_passes_everything_on_and_counts_the_methods_of_the_client() -> None:
    declare = frame.marshal(commands.Queue.Declare(queue="a", passive=True), 1)
    heartbeat = b"\x08\x00\x00\x00\x00\x00\x00\xce"
    sent = HEADER + declare + heartbeat + declare + frame.marshal(commands.Channel.Open(), 2)
    received = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(received) < len(sent):
            received.extend(await reader.read(1_000))
        writer.write(declare)  # an answer counts for nothing
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Relay(f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/") as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(relay.url.rpartition(":")[2].strip("/")))
        writer.write(sent)
        assert await reader.readexactly(len(declare)) == declare
        writer.close()
        await writer.wait_closed()
    assert bytes(received) == sent
    assert relay.asked == {DECLARE: 2, (20, 10): 1}


def test_a_bound_that_is_missed_is_told() -> None:
    slow, quick = Answers(1, 201, 300), Answers(1, 199, 300)
    found = bench.Found(
        pages={"sqlite": {"overview": slow, "orders": quick}},
        cost={WITHOUT: Figures(1, 1_000), OWN: Figures(1, 969), MOUNTED: Figures(1, 971)},
        lanes=Asked(51, 60, 5, quick),
    )
    assert found.missed == [
        "overview takes 201 ms on sqlite, of which 200 are allowed",
        "with the console (signalq console) the consumer has 0.969 of its throughput, and 0.97 are due",
        "the console asks 51 times a second, not 50",
    ]
    assert found.throughput == {OWN: 0.969, MOUNTED: 0.971}
    assert bench.Found().missed == []


def test_the_percentiles_are_those_of_the_times() -> None:
    assert spread([float(number) for number in range(101)]) == Answers(50, 95, 100)


def test_a_viewer_finds_the_regions_of_a_page_and_what_each_follows() -> None:
    page = (
        '<div id="head" data-region="/parts/head?a=1&amp;b=2" data-on="status">\n'
        '<section id="x" data-region="/y"\n  data-on="lanes jobs">'
    )
    assert _REGION.findall(page) == [("/parts/head?a=1&amp;b=2", "status"), ("/y", "lanes jobs")]


@pytest.mark.parametrize("wrong", [["--requests", "3"], ["--lanes", "0"], ["--letters", "0"], ["--part", "speed"]])
def test_wrong_arguments_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        bench.arguments(wrong)
    assert left.value.code == 2
    assert "bench-console: error:" in capsys.readouterr().err
