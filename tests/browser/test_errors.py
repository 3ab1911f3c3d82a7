"""What a page says while something is broken: the broker, the ledger, the consumers, the console itself."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from sqlite3 import connect

import pytest
import pytest_asyncio
from playwright.async_api import expect
from sqlalchemy.engine import make_url
from yarl import URL

from signalq.local import PrivatePostgres
from tests.support import prefixes, set_clock
from tests.support.axe import violations
from tests.support.broker import Broker, through
from tests.support.console import Console
from tests.support.desk import SETTINGS, Desk, Plan, desk, main_order
from tests.support.person import People, Person
from tests.support.postgres import execute, fresh_database
from tests.support.proxy import Proxy
from tests.support.stores import ledger_at
from tests.support.waiting import elapsed, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# What a browser says of a server that is not there, or that answers with an error.
NETWORK = "Failed to load resource|net::ERR_"
HOST = socket.gethostname()
REFUSED = "/dead?by=reason&reason=rejected"
AN_HOUR_AHEAD = re.compile(r"3[56]\d\d\.\d s ahead of the ledger's")


@dataclass(frozen=True, slots=True)
class Far:
    """A world of its own on PostgreSQL; the console has a way to the broker and one to the ledger, that can be cut."""

    postgres: PrivatePostgres
    world: Desk
    console: Console
    broker: Proxy
    ledger: Proxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def far(broker: Broker, postgres: PrivatePostgres) -> AsyncIterator[Far]:
    """Made once: each test heals what it has cut."""
    prefix = await prefixes.lend(broker.url)
    async with (
        fresh_database(postgres) as url,
        Proxy(URL(broker.url).port or 5672) as to_broker,
        Proxy(make_url(url).port or 5432) as to_ledger,
        desk(broker.url, prefix, settings={**SETTINGS, "ledger.url": url}) as world,
    ):
        way = make_url(url).set(host="127.0.0.1", port=to_ledger.port).render_as_string(hide_password=False)
        console = world.new_console(ledger__url=way, console__broker_url=through(to_broker, broker.url))
        async with console:
            await console.started()
            await world.publish(*(main_order() for _ in range(3)))
            await world.hook.received(3)
            yield Far(postgres, world, console, to_broker, to_ledger)
    await prefixes.give_back(broker.url, prefix, [])


@pytest_asyncio.fixture(loop_scope="session")
async def alice(people: People, far: Far) -> Person:
    """A person at the console whose ways can be cut."""
    alice = await people("alice", url=far.console.url)
    await alice.open("/")
    await expect(alice.page.locator("#lanes")).to_contain_text("main")
    return alice


@asynccontextmanager
async def cut(proxy: Proxy) -> AsyncIterator[None]:
    """The way is not there while the block runs."""
    await proxy.cut(refuse=True)
    try:
        yield
    finally:
        proxy.heal()


async def pause_all(person: Person) -> None:
    """With the button of every page, and Enter."""
    await person.page.get_by_role("link", name="Pause all…").click()
    await expect(person.dialog.get_by_role("button", name="Pause all")).to_be_focused()
    await person.page.keyboard.press("Enter")


async def test_the_broker_is_away(alice: Person, far: Far) -> None:
    """It is told with its cause and since when; the switch, orders and schedule work; letters can't be acted on."""
    head = alice.page.locator("#head")
    row = alice.page.get_by_role("row").filter(has=alice.page.get_by_role("rowheader", name="main", exact=True))
    async with cut(far.broker):
        await expect(head).to_contain_text(re.compile("broker.*away.*since", re.DOTALL))
        await expect(row.get_by_role("cell").nth(1)).to_have_text("—")
        await alice.must_be_in_order("the broker is away")
        await pause_all(alice)
        await expect(alice.dialog).to_contain_text("acts by it")
        await alice.page.keyboard.press("Escape")
        for path in ("/orders", "/schedule", "/activity"):
            assert (await alice.open(path)).status == 200
        await alice.open("/dead")
        await expect(alice.page.get_by_role("main")).to_contain_text("the broker is away")
        await alice.must_be_in_order("letters, and the broker is away")
    await far.world.switch("", "open")
    await alice.open("/")
    await expect(head).not_to_contain_text(re.compile("away|PAUSED"))
    await expect(row.get_by_role("cell").nth(1)).to_have_text("0")


async def test_the_ledger_is_away(alice: Person, far: Far) -> None:
    """A band says since when, of which moment the figures are, and what stops everything all the same."""
    alice.expects(NETWORK)
    head = alice.page.locator("#head")
    async with cut(far.ledger):
        await expect(head).to_contain_text("The ledger can't be read")
        await expect(head).to_contain_text("stop the consumers, that stops everything")
        await expect(head).to_contain_text(f"kill {far.world.consumer.pid}")
        await alice.must_be_in_order("the ledger is away")
        await pause_all(alice)
        await expect(alice.dialog).to_contain_text("The switch could not be changed")
        await expect(alice.dialog).to_contain_text("Stop the consumers: that stops everything")
        assert not await violations(alice.page)
        await alice.page.keyboard.press("Escape")
        for path in ("/dead", "/orders", "/schedule"):
            answer = await alice.open(path)
            assert answer.status in {200, 503}
            await expect(alice.page.locator("body")).to_contain_text(re.compile("ledger", re.IGNORECASE))
            await alice.must_be_in_order(f"{path}, and the ledger is away")
    await alice.open("/")
    await expect(head).not_to_contain_text("can't be read")


async def test_the_ledger_can_be_read_and_not_written(alice: Person, far: Far) -> None:
    """Everything is shown, and a dry run works; what would change something says that it was not done."""
    alice.expects("the server responded with a status of 503")
    await far.world.publish(main_order("refused"))
    await alice.open(REFUSED)
    choose = alice.page.get_by_role("checkbox", name="Choose all letters of this group")
    await expect(choose).to_be_visible()
    async with read_only(far):
        await alice.open("/")
        await expect(alice.page.locator("#lanes")).to_contain_text("main")
        await pause_all(alice)
        await expect(alice.dialog).to_contain_text("The switch could not be changed")
        await expect(alice.dialog).to_contain_text("read-only")
        await expect(alice.dialog).to_contain_text("Stop the consumers: that stops everything")
        assert not await violations(alice.page)
        await alice.page.keyboard.press("Escape")
        await alice.open(REFUSED)
        await choose.check()
        await alice.page.get_by_role("button", name="Check a replay…").click()
        main = alice.page.get_by_role("main")
        await expect(main).to_contain_text("1 would be replayed")
        await main.get_by_role("button", name="Replay 1").click()
        await expect(main).to_contain_text("read-only")
        await alice.must_be_in_order("a replay, and the ledger is read-only")
    posts = [order for order in far.world.hook.orders if order.json["log"] == "refused"]
    assert len(posts) == 1, "it was replayed, and the ledger can't know"


@asynccontextmanager
async def read_only(far: Far) -> AsyncIterator[None]:
    """The ledger takes nothing from those who connect to it while the block runs: the console, after a cut."""
    database = make_url(far.world.ledger_url).database
    await execute(far.postgres.url, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with cut(far.ledger):
        pass
    try:
        yield
    finally:
        await execute(far.postgres.url, f"ALTER DATABASE {database} RESET ALL")
        async with cut(far.ledger):
            pass


async def test_clocks_disagree(people: People, far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The console's machine is an hour ahead of the ledger's: that is told, and all times are the ledger's."""
    ahead = tmp_path / "ahead_s"
    ahead.write_text("3600", "ascii")
    monkeypatch.setenv(set_clock.FILE, str(ahead))
    world = far.world
    later = main_order(delay_s=7_200, client_order_id="co-clocks")
    await world.publish(later)
    console = Console(
        world.broker_url,
        world.names.prefix,
        world.hook.url,
        world.settings,
        config=world.config,
        command=("-m", "tests.support.set_clock", "console"),
    )
    async with console:
        await console.started()
        eve = await people("eve", url=console.url)
        eve.expects("/events")  # which the end of the console cuts
        await eve.open("/")
        await expect(eve.page.locator("#head")).to_contain_text(AN_HOUR_AHEAD)
        await expect(eve.page.locator("#attention")).to_contain_text(AN_HOUR_AHEAD)
        await eve.must_be_in_order("clocks disagree")
        await eve.open("/schedule")
        row = eve.page.get_by_role("main").get_by_role("row").filter(has_text="co-clocks")
        await expect(row.locator("time[data-show=in]")).to_have_text(re.compile(r"1 h 5\d min|2 h 0 min"))


async def test_no_consumer_lives(alice: Person, far: Far) -> None:
    """It stands still, as a machine does that was suspended; then it goes on."""
    consumer = far.world.consumer
    consumer.freeze()
    try:
        await expect(alice.page.locator("#head")).to_contain_text("no consumer")
        await expect(alice.page.locator("#attention")).to_contain_text("no consumer runs")
        await expect(alice.page.locator("#consumers")).to_contain_text(f"{HOST}:{consumer.pid}")
        await alice.must_be_in_order("no consumer lives")
    finally:
        consumer.thaw()
    await expect(alice.page.locator("#head")).to_contain_text("1 consumer")


async def test_one_that_acts_by_an_older_change_is_named(bob: Person, world: Desk) -> None:
    """It stands still, and lives by the ledger for a moment more, in which the switch is changed; then it is silent."""
    second = world.new_consumer()
    second.start()
    try:
        await second.started()
        await bob.open("/")
        rows = bob.page.locator("#consumers").get_by_role("row")
        row, other = (rows.filter(has_text=f"{HOST}:{one.pid}") for one in (second, world.consumer))
        await expect(row).to_contain_text("✓")
        await world.freeze(second)
        await world.switch("kappa", "paused", who="carol", why="odd fills")
        await expect(row).to_contain_text("acts by an older change")
        await expect(row).to_contain_text(f"kill {second.pid}")
        await expect(row).to_contain_text("silent")
        await expect(row).to_contain_text("it can begin nothing")
        await expect(other).to_contain_text("✓")
        await expect(bob.page.locator("#attention")).to_contain_text(str(second.pid))
        await bob.must_be_in_order("a consumer is silent")
        second.thaw()
        await expect(row).to_contain_text("✓")
        await expect(bob.page.locator("#attention")).not_to_contain_text(str(second.pid))
        await second.end()
    finally:
        second.close()
        await world.switch("kappa", "open", who="carol")


async def test_the_console_ends_and_comes_back(people: People, world: Desk) -> None:
    """The page says since when it is not live, dims its figures, strikes them after a minute, and catches up."""
    port = _free_port()
    console = world.new_console(console__port=port)
    console.start()
    await console.started()
    eve = await people("eve", url=console.url)
    eve.expects(NETWORK)
    await eve.page.clock.install()
    await eve.open("/")
    await expect(eve.page.locator("#live")).to_have_text("● live")
    console.kill()
    console.close()
    await eve.page.clock.run_for(6_000)
    await expect(eve.page.locator("#live")).to_contain_text("not live since")
    await eve.must_be_in_order("not live")
    await eve.page.clock.run_for(60_000)
    await expect(eve.page.locator("#live")).to_contain_text("old")
    await eve.must_be_in_order("old")
    await eve.page.get_by_role("link", name="Pause all…").click(no_wait_after=True)
    again = world.new_console(console__port=port)
    async with again:
        await again.started()
        eve.page.set_default_navigation_timeout(10_000)
        await eve.open("/")
        await eve.page.clock.run_for(6_000)
        await expect(eve.page.locator("#live")).to_have_text("● live")


def _free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def test_a_consumer_that_is_busy_with_orders_says_so_and_still_lets_everything_be_paused(
    people: People, world: Desk
) -> None:
    """It has orders, and its event loop is late, twice in a second: as if it had stood still for a moment."""
    eve = await people("eve", url=world.mounted_url)
    eve.expects("the server responded with a status of 503")
    await eve.open("/keys")
    plans: list[Plan] = []

    async def is_late(times: Iterable[int]) -> None:
        for _ in times:
            world.consumer.freeze()
            try:
                await elapsed(0.1)
            finally:
                world.consumer.thaw()
            await elapsed(0.1)

    async def is_busy() -> bool:
        plans.append(Plan("kappa", "slow"))
        await world.publish(plans[-1])
        await wait_until(lambda: world.hook.in_flight, what="an order on the wire")
        await is_late(range(2))
        return (await eve.open("/orders")).status == 503

    await wait_until(is_busy, what="a consumer that is busy")
    await expect(eve.page.locator("body")).to_contain_text("The consumer is busy with orders")
    assert not await violations(eve.page)
    plans += [Plan("kappa", "slow") for _ in range(5)]
    await world.publish(*plans[-5:])
    async with asyncio.TaskGroup() as meanwhile:
        late = meanwhile.create_task(is_late(count()))
        await eve.open("/switch?to=paused")
        await eve.page.get_by_role("button", name="Pause all").click()
        await expect(eve.page.get_by_role("main")).to_contain_text("All connectors are paused")
        assert (await eve.open("/orders")).status == 503, "it was busy all the while"
        late.cancel()
    await world.switch("", "open")
    await world.switch("delta", "close-only", who="bob", why="only exits until the fix")
    await world.settled(*plans)
    await wait_until(lambda: _answers(eve, "/orders"), what="the pages, once the orders have gone")


async def _answers(person: Person, path: str) -> bool:
    return (await person.open(path)).status == 200


async def test_a_ledger_of_another_version_is_told_and_nothing_else_is_shown(
    people: People, world: Desk, tmp_path: Path
) -> None:
    url = await _ledger(tmp_path)
    with closing(connect(make_url(url).database or "")) as ledger:
        ledger.execute("ALTER TABLE replicas DROP COLUMN lanes")
    async with _console(world, url) as console:
        eve = await people("eve", url=console.url)
        eve.expects(NETWORK)
        await eve.open("/")
        await expect(eve.page.get_by_role("main")).to_contain_text("signalq ledger upgrade")
        await eve.must_be_in_order("a ledger of another version")


async def test_a_ledger_that_the_lanes_do_not_belong_to_is_for_looking_alone(
    people: People, world: Desk, tmp_path: Path
) -> None:
    async with _console(world, await _ledger(tmp_path)) as console:
        eve = await people("eve", url=console.url)
        eve.expects(NETWORK)
        await eve.open("/")
        await expect(eve.page.locator("#head")).to_contain_text("The broker's lanes belong to another ledger")
        await eve.open("/dead")
        await expect(eve.page.get_by_role("main")).to_contain_text("belong to another ledger")
        await eve.must_be_in_order("another ledger")


async def _ledger(folder: Path) -> str:
    """A new ledger."""
    url = f"sqlite+aiosqlite:///{folder}/other.db"
    async with ledger_at(url):
        pass
    return url


@asynccontextmanager
async def _console(world: Desk, ledger_url: str) -> AsyncIterator[Console]:
    async with world.new_console(ledger__url=ledger_url) as console:
        await console.started()
        yield console


MANY = 1_900


async def test_nineteen_hundred_lanes_are_a_page_of_a_hundred(people: People, world: Desk) -> None:
    """Those that have something to do come first; the quiet ones are folded away, and shown when they are asked for."""
    config = world.config + "".join(f"[connectors.lane-{number}]\n" for number in range(MANY - 4))
    console = Console(world.broker_url, world.names.prefix, world.hook.url, world.settings, config=config)
    async with console:
        await console.started()
        eve = await people("eve", url=console.url)
        eve.expects(NETWORK)
        await eve.open("/")
        rows = eve.page.locator("#lane-rows tbody tr:not(.sub)")
        assert 1 <= await rows.count() <= 100
        await eve.page.get_by_role("link", name=re.compile(r"quiet: show")).click()
        await expect(eve.page.locator("#lanes")).to_contain_text("100 of")
        await expect(rows).to_have_count(100)
        await eve.must_be_in_order("1,900 lanes")
        await eve.page.get_by_label("Find").fill("lane-1234")
        await eve.page.get_by_role("button", name="Show").first.click()
        await expect(rows).to_have_count(1)
