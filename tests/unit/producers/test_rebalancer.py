"""The rebalancer: slots of time, weights and targets become orders; a plan is made once."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq import Unconfirmed
from signalq.producers.strategies import rebalancer
from signalq.producers.strategies.command_line import WrongInput, run
from signalq.producers.strategies.rebalancer import SlotPlan, current_weights, read_plan, read_targets, write_plan
from signalq.producers.strategies.rebalancing import PlannedOrder, Target, intent_of, plan_orders, slot_at
from signalq.testing import InMemoryOrderPublisher, Published
from tests.support.waiting import elapsed, wait_until

ASSETS = ("btc", "eth", "sol")
DAY = timedelta(days=1)
NOON = datetime(2025, 1, 8, 12, tzinfo=UTC)


def planned(weights: dict[str, Any], targets: dict[str, Any], drift: str = "1") -> list[tuple[str, str, str, str]]:
    orders = plan_orders(
        {asset: Decimal(percent) for asset, percent in weights.items()},
        {asset: Target(f"{asset}-spot", Decimal(percent)) for asset, percent in targets.items()},
        drift_min=Decimal(drift),
        settle_s=30,
    )
    return [(order.action, order.connector, order.percent, order.delay_s) for order in orders]


@pytest.mark.parametrize(
    ("weights", "targets", "expected"),
    [
        ({}, {}, []),
        ({"btc": 50}, {"btc": 50}, []),
        ({"btc": 50}, {"btc": "50.9"}, []),
        ({"btc": 50}, {}, []),
        ({"btc": 50}, {"btc": 0}, [("sell", "btc-spot", "100.00", "0")]),
        ({}, {"btc": 60}, [("buy", "btc-spot", "60.00", "30")]),
        ({}, {"btc": 60, "eth": 40}, [("buy", "btc-spot", "60.00", "30"), ("buy", "eth-spot", "100.00", "60")]),
        ({"eth": 80, "btc": 20}, {"btc": 60, "eth": 40}, [
            ("sell", "eth-spot", "50.00", "0"), ("buy", "btc-spot", "100.00", "30"),
        ]),
        # What is held of something without a target is not cash.
        ({"doge": 50}, {"btc": 60}, [("buy", "btc-spot", "100.00", "30")]),
        ({"btc": 100}, {"eth": 50}, []),
    ],
)  # fmt: skip
def test_sells_come_at_once_and_buys_after_them_out_of_the_cash_there_is(
    weights: dict[str, Any], targets: dict[str, Any], expected: list[tuple[str, str, str, str]]
) -> None:
    assert planned(weights, targets) == expected


@st.composite
def shares(draw: st.DrawFn) -> dict[str, Decimal]:
    """Weights of at most 100 together."""
    left = Decimal(100)
    found = {}
    for asset in draw(st.permutations(ASSETS)):
        found[asset] = draw(st.decimals(0, left, places=2))
        left -= found[asset]
    return found


@given(shares(), shares(), st.decimals("0.01", 5, places=2))
def test_when_filled_the_orders_bring_every_asset_to_its_target_and_never_borrow(
    weights: dict[str, Decimal], wanted: dict[str, Decimal], drift_min: Decimal
) -> None:
    targets = {asset: Target(asset, percent) for asset, percent in wanted.items()}
    orders = plan_orders(weights, targets, drift_min=drift_min, settle_s=1)
    assert [order.action for order in orders] == sorted((order.action for order in orders), reverse=True)
    assert len({order.asset for order in orders}) == len(orders)
    held, cash = dict(weights), 100 - sum(weights.values())
    for order in orders:
        intent_of(order, slot="2025-01-01T00:00:00Z", strategy="rebalancer")  # is valid
        of = held[order.asset] if order.action == "sell" else cash
        moved = of * Decimal(order.percent) / 100
        assert 0 <= moved <= of
        held[order.asset] += moved if order.action == "buy" else -moved
        cash += moved if order.action == "sell" else -moved
        # Rounded down to hundredths of a percent, never beyond the target.
        over = held[order.asset] - wanted[order.asset]
        assert over <= Decimal("1e-9") if order.action == "buy" else over >= Decimal("-1e-9")
    assert cash >= Decimal("-1e-9")
    bought = sum(order.action == "buy" for order in orders)
    for asset, percent in wanted.items():
        short = percent - held[asset]
        # A buy may find less cash than it needs: as much as the sells of others left undone, below the drift.
        assert short <= drift_min * len(ASSETS) + Decimal("0.02") * (bought + 1)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sampled_from([60, 900, 3600, 4 * 3600, 86_400, 7 * 86_400]),
    st.integers(0, 86_399),
)
def test_every_moment_lies_in_one_slot_and_all_slots_are_equally_long(
    at: datetime, every_s: int, offset_s: int
) -> None:
    now, every, offset = at.replace(tzinfo=UTC), timedelta(seconds=every_s), timedelta(seconds=offset_s)
    slot = slot_at(now, every=every, offset=offset)
    assert slot <= now < slot + every
    assert slot_at(slot, every=every, offset=offset) == slot
    assert slot_at(slot + every, every=every, offset=offset) == slot + every


def test_slots_begin_at_the_full_time_in_utc_and_those_of_a_week_on_monday() -> None:
    def slot(every: str, offset: str = "0s") -> str:
        found = slot_at(NOON, every=rebalancer.duration(every), offset=rebalancer.duration(offset))
        return f"{found:%a %d %H:%M}"

    assert [slot("15m"), slot("4h"), slot("1d"), slot("7d")] == [
        "Wed 08 12:00", "Wed 08 12:00", "Wed 08 00:00", "Mon 06 00:00",
    ]  # fmt: skip
    assert [slot("4h", "5m"), slot("1d", "13h"), slot("7d", "4d")] == ["Wed 08 08:05", "Tue 07 13:00", "Fri 03 00:00"]


def test_an_order_is_known_by_its_slot_and_asset_and_holds_nothing_of_today() -> None:
    order = PlannedOrder("btc", "btc-spot", "buy", "12.50", "30")
    message_id, intent = intent_of(order, slot="2025-01-08T00:00:00Z", strategy="weekly")
    assert message_id == "weekly/2025-01-08T00:00:00Z/btc"
    assert intent.to_message() == (
        b'{"connectorName":"btc-spot","action":"buy","percent":"12.50",'
        b'"log":"weekly 2025-01-08T00:00:00Z","delaySeconds":30}'
    )


# ---- one slot, with the twin in the publisher's place ----


class Twin(InMemoryOrderPublisher):
    """The twin, called as the publisher is; all of one test keep what was published together."""

    def __init__(self, kept: list[Published], fail_after: int | None) -> None:
        super().__init__(strategy="rebalancer")
        self.published = kept
        self._fail_after = fail_after

    async def publish(self, intent: Any, *, message_id: str | None = None) -> Any:
        if len(self.published) == self._fail_after:
            self.fail_next(Unconfirmed)
        return await super().publish(intent, message_id=message_id)


class Scene:
    """The files of a rebalancer, what it has published, and when its publisher is to fail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.published: list[Published] = []
        self.fail_after: int | None = None
        folder.joinpath("targets.toml").write_text(
            '[btc]\nconnector = "btc-spot"\npercent = 60\n[eth]\nconnector = "eth-spot"\npercent = 40.0\n', "utf-8"
        )
        self.hold(btc=20, eth=80)

    def hold(self, **weights: int) -> None:
        text = ", ".join(f'"{asset}": {percent}' for asset, percent in weights.items())
        self.folder.joinpath("weights.json").write_text(f"{{{text}}}", "utf-8")

    def publisher(self, *_: object, **__: object) -> Twin:
        return Twin(self.published, self.fail_after)

    def given(self, **flags: object) -> argparse.Namespace:
        files = {"targets": self.folder / "targets.toml", "weights": self.folder / "weights.json", "plan": self.plan}
        usual = {"drift": 1.0, "settle": 30, "strategy": "rebalancer", "token_env": None, "token_file": None}
        return argparse.Namespace(**files | usual | flags)

    async def serve(self, slot: datetime, now: datetime | None = None) -> None:
        await rebalancer.serve(slot, now or slot, self.given())

    @asynccontextmanager
    async def kept_serving(self, *, late: timedelta) -> AsyncIterator[None]:
        """Slots of 1,000 days: none begins during a test."""
        given = self.given(every=1000 * DAY, offset=timedelta(0), late=late)
        serving = asyncio.create_task(rebalancer.keep_serving(given))
        yield
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def ids(self) -> list[str]:
        return [sent.message_id for sent in self.published]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path)
    monkeypatch.setattr(rebalancer, "OrderPublisher", made.publisher)
    monkeypatch.setattr(rebalancer, "LOOK_EVERY_S", 0.001)
    return made


async def test_a_slot_is_served_once_and_the_next_one_again(scene: Scene) -> None:
    await scene.serve(NOON)
    assert scene.ids == ["rebalancer/2025-01-08T12:00:00Z/eth", "rebalancer/2025-01-08T12:00:00Z/btc"]
    scene.hold(btc=90, eth=5)
    await scene.serve(NOON)
    assert len(scene.ids) == 2
    await scene.serve(NOON + DAY)
    assert scene.ids[2:] == ["rebalancer/2025-01-09T12:00:00Z/btc", "rebalancer/2025-01-09T12:00:00Z/eth"]


async def test_stopped_half_way_it_goes_on_with_the_plan_it_made_though_the_weights_have_changed(scene: Scene) -> None:
    scene.fail_after = 1
    with pytest.raises(Unconfirmed):
        await scene.serve(NOON)
    scene.hold(btc=20, eth=40)
    scene.fail_after = None
    await scene.serve(NOON, NOON + timedelta(hours=1))
    first, again, rest = scene.published
    assert (first.message_id, first.body) == (again.message_id, again.body)
    assert rest.intent.percent == "100.00"


async def test_a_plan_that_was_left_half_published_long_ago_is_for_a_person_to_judge(scene: Scene) -> None:
    scene.fail_after = 1
    with pytest.raises(Unconfirmed):
        await scene.serve(NOON)
    with pytest.raises(WrongInput, match="published in part long ago"):
        await scene.serve(NOON, NOON + timedelta(days=1, seconds=1))
    assert len(scene.ids) == 1


async def test_when_the_clock_was_set_back_an_earlier_slot_is_not_served(scene: Scene) -> None:
    await scene.serve(NOON)
    await scene.serve(NOON - DAY)
    assert len(scene.ids) == 2


async def test_on_schedule_a_slot_is_served_once_through_failures_which_are_printed(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.fail_after = 1
    async with scene.kept_serving(late=1000 * DAY):
        await wait_until(lambda: "a failure that the test asked for" in capsys.readouterr().err)
        scene.fail_after = None
        await wait_until(lambda: "2 orders" in capsys.readouterr().out)
    assert scene.ids[0] == scene.ids[-2]
    assert len(set(scene.ids)) == 2


async def test_on_schedule_a_slot_that_began_too_long_ago_is_missed_and_one_line_says_so(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    async with scene.kept_serving(late=timedelta(0)):
        await elapsed(0.1)
    told = capsys.readouterr().out
    assert told.count("missed, --once would serve it now; the next is") == 1
    assert scene.ids == []


async def test_a_plan_holds_no_token_and_comes_back_as_it_was_written(scene: Scene) -> None:
    plan = SlotPlan(
        "2025-01-08T12:00:00Z", "2025-01-08T12:00:01Z", (PlannedOrder("btc", "btc-spot", "buy", "5.00", "30"),)
    )
    write_plan(scene.plan, plan)
    assert read_plan(scene.plan) == plan
    assert "token" not in scene.plan.read_text("utf-8").lower()
    assert [file.name for file in scene.folder.glob("plan*")] == ["plan.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"slot": "x"}', '{"orders": [1]}'])
def test_a_file_that_holds_no_plan_is_named_and_left_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text, "utf-8")
    with pytest.raises(WrongInput, match=r"plan\.json holds no plan"):
        read_plan(file)
    assert file.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (current_weights, "nonsense"),
        (current_weights, "[1]"),
        (current_weights, '{"btc": "50"}'),
        (current_weights, '{"btc": NaN}'),
        (current_weights, '{"btc": -1}'),
        (current_weights, '{"btc": 60, "eth": 40.01}'),
        (read_targets, "nonsense"),
        (read_targets, "btc = 60"),
        (read_targets, "[btc]\npercent = 60"),
        (read_targets, '[btc]\nconnector = "a"\npercent = "x"'),
        (read_targets, '[btc]\nconnector = "a"\npercent = nan'),
        (read_targets, '[btc]\nconnector = ""\npercent = 1'),
        (read_targets, "[btc]\nconnector = 5\npercent = 1"),
        (read_targets, '[btc]\nconnector = "a"\npercent = 101'),
        (read_targets, '[btc]\nconnector = "a"\npercent = 1\n[eth]\nconnector = "a"\npercent = 1'),
    ],
)
def test_weights_that_cannot_be_are_refused_by_file(read: Callable[[Path], object], text: str, tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text(text, "utf-8")
    with pytest.raises(WrongInput, match="given"):
        read(file)


@pytest.mark.parametrize(
    "flags", [["--every", "0s"], ["--drift", "0"], ["--drift", "nan"], ["--settle", "-1"], ["--late", "2d"]]
)
def test_flags_that_make_no_sense_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--targets", "t", "--weights", "w", "--plan", "p"]
    assert run(rebalancer.main, [*files, "--once", *flags]) == 2
    assert capsys.readouterr().err.startswith("--every and --drift must be above 0")
