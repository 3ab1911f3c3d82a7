"""Every page: whether everybody can use it, whatever the window, the theme and the text of others."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from signalq.ops.console.gate.routes import find_route
from signalq.ops.console.pages.all import ROUTES
from tests.browser.tour import ABSENT, PART, Places, stops
from tests.support import planted
from tests.support.axe import violations
from tests.support.desk import SECRETS, VIEW_TOKEN, Desk
from tests.support.person import MIDDLE, NARROW, WIDE, People, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The addresses that a page's script asks by itself.
_ASKED = """() => [...document.querySelectorAll('[data-region], [data-plots]')]
    .map(one => one.dataset.region ?? one.dataset.plots)"""
_AGE = re.compile(r"\([^)]* ago\)")
_VALUE = re.compile(r' value="[^"]*"')
# What a sheet of paper has no use for: to go elsewhere, to search, to act.
_OFF_PAPER = "#head nav, .search, .person, .btn, form.filters, footer, #live, dialog"
_INK = "getComputedStyle(document.body).color"
_DARK = re.compile(r"rgb\((\d{1,2}), (\d{1,2}), (\d{1,2})\)")
# The pages that people have open: in each run of the tests they are looked at closely, and narrow as well.
MAIN = frozenset(
    {
        "/",
        "/lanes/{name}",
        "/switch back",
        "/dead with a group",
        "/jobs/{job}",
        "/orders",
        "/orders/{id} retried",
        "/schedule",
        "/check",
        "/activity",
    }
)
# The name of a person, as an attacker would choose it.
NAME = planted.IMAGE


async def walk(
    person: Person, places: Places, *, only: Collection[str] | None = None, closely: Collection[str] | None = None
) -> set[str]:
    """Go to each page, or to some `only`, and look at all of them, or at some, as `closely` as axe does; the addresses
    that their scripts ask. All that is found is told at once.
    """
    asked: set[str] = set()
    found: list[str] = []
    for name, path in stops(places).items():
        if only is not None and name not in only:
            continue
        try:
            asked |= await look(person, name, path, closely=closely is None or name in closely)
        except AssertionError as error:
            found.append(str(error))
            person.complaints.clear()
    assert not found, "\n\n".join(found)
    return asked


async def look(person: Person, name: str, path: str, *, closely: bool) -> set[str]:
    """Look at one page; the addresses that its script asks."""
    response = await person.open(path)
    assert response.status == 200, f"{name} ({path}): {response.status}"
    harmless(name, await response.text())
    assert await person.page.locator(planted.TRACES).count() == 0, f"markup became elements on {name}"
    assert await person.page.evaluate("window.planted === undefined"), f"something acts on {name}"
    await person.must_be_in_order(name, closely=closely)
    return set(await person.page.evaluate(_ASKED))


def harmless(name: str, text: str) -> None:
    """Nothing in these bytes is a secret, or is an attacker's as it was written."""
    told = html.unescape(text)
    assert not (found := [one for one in SECRETS if one in text or one in told]), f"{name} shows {found}"
    assert not (found := [one for one in planted.NEVER if one in text]), f"{name} has {found} as it is"
    # A field gives back what it was given, and nobody sees it.
    shown = _VALUE.sub("", text)
    assert not (found := [one for one in planted.UNSEEN if one in shown]), f"{name} shows {found!r}"


async def test_each_page_can_be_used_by_everybody_and_shows_no_secret(people: People, places: Places) -> None:
    """Wide and light, then the main ones narrow and dark; each region that the pages ask for, as well."""
    bob = await people(NAME, width=WIDE, color_scheme="light")
    asked = await walk(bob, places, closely=MAIN)
    for path in sorted(asked):
        harmless(path, await bob.read(path))
    parts = {route.path for route in ROUTES if route.path.startswith(PART)}
    met = {find_route(ROUTES, "GET", path.partition("?")[0])[0].path for path in asked}
    assert met == parts, "each region is one of a page, and each page asks for regions that there are"
    narrow = await people(NAME, width=NARROW, color_scheme="dark")
    await walk(narrow, places, only=MAIN, closely=())


async def test_a_page_that_is_not_there_is_a_page_of_ours(people: People, world: Desk) -> None:
    bob = await people()
    bob.expects("Failed to load resource: the server responded with a status of 40")
    met: set[int] = set()
    for path, status in ABSENT.items():
        response = await bob.open(path)
        assert response.status == status, path
        harmless(path, await response.text())
        await bob.must_be_in_order(path, closely=status not in met)
        met.add(status)
        assert await bob.page.get_by_role("link", name="Overview").count() > 0


def kinds() -> Iterator[Any]:
    """Each width with each theme, and forced colours."""
    for width in (WIDE, MIDDLE, NARROW):
        for theme in ("light", "dark"):
            yield pytest.param({"width": width, "color_scheme": theme}, id=f"{width}-{theme}")
    yield pytest.param({"width": WIDE, "forced_colors": "active"}, id="forced-colours")
    yield pytest.param({"width": NARROW, "forced_colors": "active", "color_scheme": "dark"}, id="forced-colours-narrow")
    yield pytest.param({"width": WIDE, "reduced_motion": "reduce", "locale": "de-DE"}, id="reduced-motion")


@pytest.mark.browser
@pytest.mark.parametrize("options", list(kinds()))
async def test_each_page_can_be_used_in_each_window(people: People, places: Places, options: dict[str, Any]) -> None:
    await walk(await people(NAME, **options), places)


@pytest.mark.browser
async def test_each_page_can_be_used_without_script(people: People, places: Places) -> None:
    await walk(await people(NAME, java_script_enabled=False), places, closely=())


@pytest.mark.browser
async def test_each_page_can_be_looked_at_by_one_who_may_not_act(people: People, places: Places) -> None:
    eve = await people("eve", token=VIEW_TOKEN)
    eve.expects("the server responded with a status of 403")
    for name, path in stops(places).items():
        response = await eve.open(path)
        assert response.status == (403 if path == "/notes/new" else 200), name
        await eve.must_be_in_order(name)


@pytest.mark.browser
async def test_a_page_of_the_consumers_own_console_is_the_same(people: People, places: Places, world: Desk) -> None:
    """It takes its time: the consumer renders few pages a second."""
    apart, mounted = await people(), await people(url=world.mounted_url)
    for path in ("/schedule", f"/orders/{places.delivered}", "/keys"):
        await apart.open(path)
        await mounted.open(path)
        texts = [await one.page.locator("main").inner_text() for one in (mounted, apart)]
        theirs, ours = [_AGE.sub("", text) for text in texts]
        assert theirs == ours, path


async def test_the_proof_itself_finds_what_is_wrong(people: People) -> None:
    """The tools of these tests: axe, the collected complaints, the width, the policy of the page."""
    bob = await people()
    await bob.open("/keys")
    await bob.page.evaluate("document.querySelector('main').innerHTML = '<img id=wide src=\"/favicon.png\"><i>a</i>'")
    assert any(found.startswith("image-alt") for found in await violations(bob.page))
    await bob.page.evaluate("document.querySelector('#wide').width = 4000")
    with pytest.raises(AssertionError):
        await bob.must_be_in_order("a page that is broken")
    await bob.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.planted=1\">')"
    )
    with pytest.raises(Exception, match="script"):
        await bob.page.add_script_tag(content="window.planted = 1")
    assert await bob.page.evaluate("window.planted === undefined")
    assert any("Content Security Policy" in complaint for complaint in bob.complaints), bob.complaints
    bob.complaints.clear()


@pytest.mark.browser
async def test_a_page_is_printed_with_all_that_it_says_and_nothing_to_press(people: People, places: Places) -> None:
    """In dark ink, also of one who has chosen the dark theme; the charts are those that were drawn."""
    bob = await people(color_scheme="dark")
    await bob.open("/")
    await bob.page.evaluate("localStorage.setItem('signalq.theme', 'dark')")
    for path in ("/", "/lanes/main", "/dead", f"/orders/{places.retried}", "/schedule", "/activity"):
        await bob.open(path)
        words = await bob.page.get_by_role("main").locator("h1, h2, th, bdi, figcaption").all_inner_texts()
        await bob.page.emulate_media(media="print")
        for one in await bob.page.locator(_OFF_PAPER).all():
            assert not await one.is_visible(), f"{path}: {await one.evaluate('one => one.outerHTML.slice(0, 120)')}"
        printed = await bob.page.get_by_role("main").inner_text()
        missing = [one for one in words if one.strip() and one.split()[0] not in printed]
        assert not missing, f"{path} is printed without {missing}"
        ink = await bob.page.evaluate(_INK)
        assert _DARK.fullmatch(ink), f"{path} is printed in {ink}"
        for chart in await bob.page.locator("svg.chart").all():
            assert await chart.is_visible(), f"{path} is printed without a chart"
        await bob.page.emulate_media(media="screen")
