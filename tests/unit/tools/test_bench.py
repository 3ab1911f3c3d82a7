"""What ./run bench and ./run bench-growth count with and draw: a figure that is wrong would be believed."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, create_engine

from benchmarks import __main__ as bench
from benchmarks import contenders, svg
from benchmarks.contender import Failed, cpu_seconds
from benchmarks.figures import Figures, medians, ratios
from benchmarks.growth import __main__ as growth
from benchmarks.growth.dimensions import DIMENSIONS
from benchmarks.growth.rows import fill
from benchmarks.load import Load
from benchmarks.phases import deliveries
from benchmarks.plots import LONGEST, plot_of
from benchmarks.publishing.phases import Lines, Sdk
from benchmarks.results import Results
from signalq.consumer.ledger.tables import events, intents, metadata

LOAD = Load("burst", orders=6, connectors=2)
SVG = "{http://www.w3.org/2000/svg}"


# ---- the account of the orders ----


def logs(*numbers: int) -> list[str]:
    return ["warm-up 0", *(LOAD.log(number) for number in numbers)]


def test_orders_that_all_came_once_and_in_order_are_in_order() -> None:
    account = LOAD.account(logs(1, 0, 3, 2, 4, 5))
    assert (account.lost, account.repeated, account.out_of_order) == (0, 0, 0)
    account.must_hold("anybody", keeps_order=True)


@pytest.mark.parametrize(
    ("came", "sentence"),
    [
        ((0, 1, 2, 3, 5), "1 of 6 orders never came"),
        ((0, 1, 2, 3, 4, 5, 5), "1 came again"),
        ((0, 1, 4, 2, 3, 5), "1 came out of order"),
        ((4, 0, 2), "3 of 6 orders never came, 2 came out of order"),
    ],
)
def test_an_order_that_is_lost_repeated_or_misplaced_fails_the_benchmark(came: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(Failed, match=f"signalq: {sentence}"):
        LOAD.account(logs(*came)).must_hold("signalq", keeps_order=True)


def test_a_peer_may_break_the_order_and_no_more() -> None:
    LOAD.account(logs(0, 1, 4, 2, 3, 5)).must_hold("naive", keeps_order=False)
    with pytest.raises(Failed, match="never came"):
        LOAD.account(logs(0, 1, 4, 2, 3)).must_hold("naive", keeps_order=False)


def test_the_first_orders_of_a_backlog_may_be_all_but_not_come_twice() -> None:
    LOAD.account(logs(0, 1)).must_hold("signalq", keeps_order=True, whole=False)
    with pytest.raises(Failed, match="came again"):
        LOAD.account(logs(0, 1, 0)).must_hold("signalq", keeps_order=True, whole=False)


def test_each_order_of_a_load_is_for_its_connector_and_known_by_its_log() -> None:
    found = [(intent.connector_name, intent.log) for intent in LOAD.intents()]
    assert found == [(f"connector-{number % 2}", f"burst {number}") for number in range(6)]
    (parked,) = Load("parked", 1, delay_s=3600.0).intents()
    assert parked.delay_seconds == 3600


# ---- figures ----


def test_the_cpu_time_of_a_process_is_that_of_all_its_threads_also_of_those_that_ended() -> None:
    thread = threading.Thread(target=lambda: sum(range(300_000)))
    thread.start()
    thread.join()
    before_s = time.process_time()
    found_s = cpu_seconds(os.getpid())
    assert before_s <= found_s <= time.process_time()


def test_medians_leave_out_what_a_phase_does_not_measure() -> None:
    rounds = [Figures(1.0, 10.0, p50_ms=3.0), Figures(5.0, 30.0, p50_ms=1.0), Figures(2.0, 20.0, p50_ms=2.0)]
    assert medians(rounds) == Figures(2.0, 20.0, p50_ms=2.0)


def test_ratios_are_of_what_both_have() -> None:
    ours = Figures(30.0, 5.0, rss_mb=80.0, p50_ms=2.0, out_of_order=0)
    assert ratios(ours, Figures(10.0, 10.0, rss_mb=40.0, out_of_order=7)) == {
        "cpu_us": 3.0,
        "per_s": 0.5,
        "rss_mb": 2.0,
    }


@pytest.fixture
def results() -> Results:
    """Two rounds of one phase."""
    found = Results({"burst": "some orders"})
    for cpu_us in (300.0, 500.0):
        found.add("burst", "signalq", Figures(cpu_us, 1000.0))
        found.add("burst", "naive", Figures(cpu_us / 2, 2000.0))
        found.add("burst", "node", Figures(cpu_us * 10, 2000.0))
    return found


def test_results_are_told_as_medians_ratios_and_rounds(results: Results) -> None:
    assert [(one.contender, one.median.cpu_us, one.ratio["cpu_us"]) for one in results.of("burst")] == [
        ("signalq", 400.0, 2.0),
        ("naive", 200.0, 1.0),
        ("node", 4000.0, 20.0),
    ]
    first = results.table().splitlines()[2].split()
    assert first == ["signalq", "400", "x2.00", "1,000", "x0.50"]
    (phase,) = results.told().values()
    assert isinstance(phase, dict)
    assert [one["cpu_us"] for one in phase["contenders"]["signalq"]["rounds"]] == [300.0, 500.0]


def test_without_the_baseline_there_are_no_ratios() -> None:
    found = Results({"burst": "some orders"})
    found.add("burst", "signalq", Figures(300.0, 1000.0))
    assert [one.ratio for one in found.of("burst")] == [{}]
    assert "x" not in found.table().splitlines()[2]


# ---- phases and contenders ----


def test_the_phases_of_the_command_line_are_those_that_are_there() -> None:
    named = [phase.name for phase in (*deliveries(100, 2), Sdk(LOAD), Lines(LOAD))]
    assert named == bench.PHASES
    for name in (*bench.PHASES, *contenders.CONTENDERS):
        assert f"    {name} " in (bench.__doc__ or "")
    for name in DIMENSIONS:
        assert f"    {name} " in (growth.__doc__ or "")


def test_a_contender_that_is_not_installed_is_left_out_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda _name: None)
    assert contenders.present(["signalq", "faststream"]) == ["signalq"]
    assert capsys.readouterr().err == ("faststream is left out: it is not installed (pip install 'signalq[bench]').\n")


# ---- plots ----


def test_a_bar_is_as_long_as_its_ratio_and_cut_where_it_is_longest(results: Results) -> None:
    drawn = ET.fromstring(plot_of(results))  # noqa: S314 - our own
    bars = {bar.get("fill"): float(bar.get("width") or 0) for bar in drawn.iter(f"{SVG}rect") if bar.get("y") != "16"}
    assert bars[svg.COLORS[0]] == pytest.approx(2.0 / LONGEST * svg.BAR_WIDTH)
    assert bars[svg.COLORS[1]] == svg.BAR_WIDTH
    assert {"2.00", "20.00", "burst"} <= {text.text for text in drawn.iter(f"{SVG}text")}


def test_the_points_of_a_line_stand_by_their_logarithm_and_their_height() -> None:
    panel = svg.Lines("a < b", [(0, 50.0), (10, 100.0), (1000, 0.0)])
    drawn = ET.fromstring(svg.lines([[panel]]))  # noqa: S314 - our own
    (line,) = drawn.iter(f"{SVG}polyline")
    (x0, y0), (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in (line.get("points") or "").split())
    assert (x1 - x0) * 2 == pytest.approx(x2 - x1, abs=0.2)
    assert y2 - y1 == pytest.approx((y2 - y0) * 2, abs=0.2)
    assert "a < b" in {text.text for text in drawn.iter(f"{SVG}text")}


@pytest.mark.parametrize(("value", "limit"), [(1, 1), (1.5, 2), (350, 400), (4100, 6000), (9000, 10000), (0, 1)])
def test_an_axis_ends_at_a_round_number(value: float, limit: float) -> None:
    ((_, drawn),) = [(0, svg.lines([[svg.Lines("t", [(1, value)])]]))]
    assert f">{limit:,g}<" in drawn


# ---- a ledger made large ----


def test_a_ledger_is_filled_with_copies_that_have_identities_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    metadata.create_all(engine := create_engine(f"sqlite:///{file}"))
    row = {column.name: of_type(column.type) for column in intents.columns if column.name != "number"}
    step = {column.name: of_type(column.type) for column in events.columns if column.name != "number"}
    with engine.begin() as connection:
        connection.execute(intents.insert().values(row | {"status": "delivered"}))
        connection.execute(events.insert().values(step | {"intent": 1}))
    engine.dispose()
    fill(file, 100)
    fill(file, 50)
    with closing(sqlite3.connect(file)) as ledger:
        found = ledger.execute("SELECT count(*), count(DISTINCT intent_id), count(DISTINCT digest) FROM intents")
        assert found.fetchone() == (100, 100, 100)
        assert ledger.execute("SELECT count(*), count(DISTINCT intent) FROM steps").fetchone() == (100, 100)


def of_type(column: object) -> object:
    """A value that a column takes."""
    if isinstance(column, LargeBinary):
        return b"0" * 16
    return 1 if isinstance(column, (BigInteger, Integer, Boolean)) else "text"
