"""The head of every page: the band, the title, the places, and the sentences on what is away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signalq.consumer.orders.switch import ALL, State, Switch
from signalq.kinds import Kind
from signalq.ops.console.moment.snapshot import Letters, Snapshot
from signalq.ops.console.rendering import frame
from tests.support.console_snapshots import calm, change, desk_of, ledger_away, shown, snapshot_of, with_all


def switched(**states: State) -> Snapshot:
    """A calm moment with these connectors switched; `everything` is ALL."""
    named = {ALL if name == "everything" else name: state for name, state in states.items()}
    changes = {name: change(number, name, state) for number, (name, state) in enumerate(named.items())}
    return replace(calm(), switch=Switch(9, named), changes=changes)


def test_there_is_no_band_while_everything_is_open() -> None:
    assert frame.bands(calm()) == []
    assert frame.title(calm(), "prod") == "signalq prod"


def test_a_paused_connector_is_named_with_its_change() -> None:
    (band,) = frame.bands(switched(alpha="paused"))
    assert (band.state, band.names, band.more, band.connector, band.is_one) == ("paused", ["alpha"], 0, "alpha", True)
    assert band.change is not None


def test_of_several_the_first_are_named_and_the_rest_counted_and_no_single_resume_is_offered() -> None:
    (band,) = frame.bands(switched(a="paused", b="paused", c="paused", d="paused"))
    assert (band.names, band.more, band.connector, band.is_one, band.change) == (["a", "b"], 2, None, False, None)


def test_while_all_are_paused_there_is_one_band_and_it_is_about_all() -> None:
    (band,) = frame.bands(switched(everything="paused", a="paused", b="close-only"))
    assert (band.state, band.names, band.is_one, band.connector) == ("paused", (), True, None)


def test_the_stricter_band_comes_first() -> None:
    found = frame.bands(switched(everything="close-only", a="paused", b="close-only"))
    assert [(band.state, list(band.names)) for band in found] == [("paused", ["a"]), ("close-only", [])]


@pytest.mark.parametrize(
    ("snapshot", "title"),
    [
        (switched(everything="paused"), "■ signalq prod"),
        (switched(everything="close-only"), "◧ signalq prod"),
        (switched(a="paused"), "◧ signalq prod"),
        (replace(switched(everything="paused"), letters=Letters(212)), "■ (212) signalq prod"),
    ],
)
def test_the_title_begins_with_the_state_and_the_number_of_dead_letters(snapshot: Snapshot, title: str) -> None:
    assert frame.title(snapshot, "prod") == title


def test_the_icon_says_that_nobody_knows_while_the_ledger_is_away() -> None:
    assert frame.icon(ledger_away(calm())) != frame.icon(calm())
    assert frame.icon(with_all(calm(), "paused")) != frame.icon(calm())


@pytest.mark.parametrize(
    ("path", "place"),
    [
        *(("/", "/"), ("/lanes/main", "/"), ("/switch/7", "/"), ("/jobs/3", "/dead"), ("/orders/x", "/orders")),
        *(("", "/"), ("/keys", "none"), ("/nothing", "none"), ("x", "/")),
    ],
)
def test_every_page_belongs_to_a_place_or_to_none(path: str, place: str) -> None:
    assert frame.place_of(path) == place


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("host-a:411", ("kill 411", "host-a")),
        ("fe80::1:92", ("kill 92", "fe80::1")),
        ("host", None),
        ("host:abc", None),
        ("host:٣", None),
        (":7", None),
    ],
)
def test_the_command_that_ends_a_consumer_is_told_where_its_name_tells_it(name: str, told: object) -> None:
    assert frame.how_to_end(name) == told


async def test_the_ledger_that_cannot_be_read_is_told_with_what_stops_everything() -> None:
    page = await shown(desk_of(ledger_away(calm())), "/")
    assert "The ledger can't be read" in page
    assert "stop the consumers, that stops everything" in page
    assert "<code>kill 411</code> on <bdi>host-a</bdi>" in page


async def test_a_ledger_of_another_version_leaves_nothing_else_to_see() -> None:
    page = await shown(desk_of(ledger_away(calm(), Kind.LEDGER_VERSION)), "/")
    main = page.partition("<main")[2].partition("</main>")[0]
    assert "database is locked" in main
    assert "<table" not in main


async def test_the_head_says_since_when_the_broker_is_away_and_that_the_clocks_disagree() -> None:
    page = await shown(desk_of(snapshot_of()), "/parts/head")
    assert "connection refused by main" in page
    assert "3.2 s ahead of the ledger" in page
    assert "belong to another ledger" in page


async def test_the_head_of_a_page_is_the_region_that_its_script_fetches() -> None:
    desk = desk_of(snapshot_of())
    page = await shown(desk, "/?state=paused")
    region = await shown(desk, "/parts/head?place=%2F")
    assert region in page
    assert 'data-region="/parts/head?place=%2F"' in page


async def test_the_one_button_of_the_head_pauses_or_resumes_everything() -> None:
    assert "■ Pause all…" in await shown(desk_of(calm()), "/keys")
    paused = await shown(desk_of(with_all(calm(), "paused")), "/keys")
    assert "▶ Resume all…" in paused
    assert "Pause all…" not in paused
    assert "<strong>PAUSED</strong>: all connectors" in paused
