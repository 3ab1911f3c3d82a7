"""Signing in and out, the one-time link, sessions that are renewed, and a console below a path."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from yarl import URL

from signalq.ops.console.gate.access import FAILURES_PER_MINUTE, WARNED_S
from signalq.ops.console.gate.sessions import LONGEST_S, SESSION_S, Session
from signalq.ops.console.pages.sign_in import PATH
from signalq.ops.console.rendering.render import static_path
from tests.support.console_site import TOKEN, VIEW_TOKEN, Browser, OpenConsole, open_console

NO_TOKEN = {"token": None, "view_token": None}
SIGNED_IN = "You are signed in as"


def cookies(browser: Browser) -> dict[str, str]:
    return {cookie.key: cookie.value for cookie in browser.session.cookie_jar}


def keep(browser: Browser, console: OpenConsole, session: Session) -> None:
    """Let the browser have the cookie of a session."""
    value = console.desk.access.sessions.signed(session)
    browser.session.cookie_jar.update_cookies({console.cookie: value}, URL(console.url))


# ---- by a token ----


async def test_a_person_signs_in_and_comes_to_where_the_link_led(console: OpenConsole) -> None:
    browser = await console.browser()
    form = await browser.get("/?")
    assert form.path == "/sign-in"
    led = await browser.get("/sign-out?", follow=False)
    assert "You are not signed in" in led.text
    with capture_logs() as logs:
        page = await browser.post("/sign-in", name=" bob ", token=TOKEN, next="/sign-in?next=%2Fdead")
    assert page.path == "/sign-in?next=/dead"
    assert f"{SIGNED_IN} <bdi>bob</bdi>" in page.text
    (line,) = (line for line in logs if line["event"].startswith("console."))
    assert (line["event"], line["who"], line["role"], line["by"]) == ("console.signed_in", "bob", "operate", "token")
    assert (await browser.get("/")).path == "/"
    (name,) = cookies(browser)
    assert name == console.cookie
    assert TOKEN not in str(cookies(browser))


async def test_the_cookie_is_for_this_console_and_no_script(console: OpenConsole) -> None:
    browser = await console.browser()
    answer = await browser.post("/sign-in", name="bob", token=TOKEN, status=303, follow=False)
    assert re.fullmatch(
        rf"{console.cookie}=[\w.-]+; HttpOnly; Max-Age={SESSION_S}; Path=/; SameSite=Lax", answer.headers["Set-Cookie"]
    )


async def test_a_view_token_signs_in_to_look(console: OpenConsole) -> None:
    browser = await console.browser()
    await browser.post("/sign-in", name="wall", token=VIEW_TOKEN)
    page = await browser.get("/sign-in")
    assert "You may look, and not act" in page.text


async def test_a_wrong_token_shows_the_form_again_with_the_name_and_without_the_token(console: OpenConsole) -> None:
    browser = await console.browser()
    page = await browser.post("/sign-in", name="bob", token="a-wrong-token", next="/dead", status=401)
    assert "Not signed in: <bdi>that token is not right</bdi>" in page.text
    assert 'value="bob"' in page.text
    assert '<input type="hidden" name="next" value="/dead">' in page.text
    assert "a-wrong-token" not in page.text
    assert cookies(browser) == {}


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\u202eb", TOKEN, f"bob {VIEW_TOKEN}"])
async def test_a_name_that_is_none_or_holds_a_token_is_refused_and_not_shown(name: str, console: OpenConsole) -> None:
    browser = await console.browser()
    with capture_logs() as logs:
        page = await browser.post("/sign-in", name=name, token=TOKEN, status=400)
    assert "Not signed in" in page.text
    assert not any(token in page.text + str(logs) for token in (TOKEN, VIEW_TOKEN))
    assert cookies(browser) == {}


async def test_many_wrong_tokens_are_told_to_wait_and_who_is_signed_in_notices_nothing(
    console: OpenConsole, alice: Browser
) -> None:
    browser = await console.browser()
    tries = FAILURES_PER_MINUTE + 3
    answers = await asyncio.gather(
        *(browser.post("/sign-in", name="eve", token=f"try-{number}", status=None) for number in range(tries))  # type: ignore[arg-type]
    )
    assert sorted(answer.status for answer in answers) == [401] * FAILURES_PER_MINUTE + [429] * 3
    page = await browser.post("/sign-in", name="eve", token=TOKEN, status=429)
    assert 0 < int(page.headers["Retry-After"]) <= 60
    assert "too many wrong tokens" in page.text
    await alice.get("/")
    await alice.post("/sign-out", status=303, follow=False)


async def test_signing_out_ends_the_session_in_this_browser(console: OpenConsole, alice: Browser) -> None:
    question = await alice.get("/sign-out")
    assert "<bdi>alice</bdi> is signed in here" in question.text
    page = await alice.post("/sign-out")
    assert page.path == "/sign-in"
    assert cookies(alice) == {}
    await alice.get("/", status=401, Accept="*/*")


# ---- where it leads ----


@pytest.mark.parametrize(
    "there", ["//evil.example", "https://evil.example/", "/\\evil.example", "\\\\evil", "evil", "/\t/evil", "/ x", "/é"]
)
async def test_signing_in_leads_to_no_other_site(there: str, console: OpenConsole) -> None:
    browser = await console.browser()
    answer = await browser.post("/sign-in", name="bob", token=TOKEN, next=there, status=400, follow=False)
    assert "Location" not in answer.headers
    assert cookies(browser) == {}


@given(there=st.from_regex(PATH, fullmatch=True))
def test_every_path_that_is_followed_is_of_this_site(there: str) -> None:
    assert URL("http://desk.example/sign-in").join(URL(there, encoded=True)).host == "desk.example"
    assert "\\" not in there
    assert there[:2] != "//"


# ---- sessions ----


async def test_a_session_is_renewed_by_use_but_not_by_a_file_that_others_may_keep(console: OpenConsole) -> None:
    browser = await console.browser()
    hour_ago_s = int(time.time()) - 3_600
    keep(browser, console, Session("bob", "operate", hour_ago_s, hour_ago_s))
    assert "Set-Cookie" not in (await browser.get(static_path("console.css"))).headers
    before = cookies(browser)
    answer = await browser.get("/")
    assert f"Max-Age={SESSION_S}" in answer.headers["Set-Cookie"]
    assert cookies(browser) != before
    assert "Set-Cookie" not in (await browser.get("/")).headers


async def test_a_session_that_is_over_is_none(console: OpenConsole) -> None:
    browser = await console.browser()
    long_ago_s = int(time.time()) - SESSION_S
    keep(browser, console, Session("bob", "operate", long_ago_s, long_ago_s))
    assert (await browser.get("/")).path == "/sign-in"


async def test_the_head_tells_before_a_session_ends(console: OpenConsole) -> None:
    now_s = int(time.time())
    for left_s, is_told in ((WARNED_S - 60, True), (WARNED_S + 60, False)):
        browser = await console.browser()
        keep(browser, console, Session("bob", "operate", now_s + left_s - LONGEST_S["operate"], now_s))
        page = await browser.get("/")
        assert ("Your session ends in" in page.text) is is_told
        assert ('id="session-ends"' in page.text) is is_told
        part = await browser.get("/parts/head?place=%2Fdead")
        assert ("/sign-in?next=%2Fdead" in part.text) is is_told


# ---- the one-time link ----


async def test_the_link_asks_for_a_name_and_lets_one_person_act(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_console(tmp_path_factory.mktemp("link"), ops=NO_TOKEN) as console:
        link = f"/link/{console.desk.access.one_time_link()}"
        browser, other = await console.browser(), await console.browser()
        assert (await browser.get("/")).path == "/", "reading takes nothing"
        assert "its start printed a link" in (await browser.get("/sign-in")).text
        await browser.post("/sign-in", name="bob", token="x", status=400)
        for _ in range(2):  # a messenger that looks at links spends none
            assert 'name="name"' in (await other.get(link)).text
            await other.ask("HEAD", link)
        page = await browser.post(link, name="\u202e", status=400)
        assert "1 to 64" in page.text
        with capture_logs() as logs:
            assert (await browser.post(link, name="bob")).path == "/"
        assert link.removeprefix("/link/") not in str(logs)
        assert f"{SIGNED_IN} <bdi>bob</bdi>" in (await browser.get("/sign-in")).text
        for method in ("GET", "POST"):
            page = await other.ask(method, link, status=403, data={"name": "eve"} if method == "POST" else None)
            assert "restart the console, which prints a new one" in page.text
        assert (await browser.post("/sign-out")).path == "/"


async def test_two_that_open_the_link_at_once_are_one_and_a_refusal(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with open_console(tmp_path_factory.mktemp("link"), ops=NO_TOKEN) as console:
        link = f"/link/{console.desk.access.one_time_link()}"
        browsers = [await console.browser() for _ in range(5)]
        answers = await asyncio.gather(
            *(one.ask("POST", link, status=None, follow=False, data={"name": "bob"}) for one in browsers)
        )
        assert sorted(answer.status for answer in answers) == [303] + [403] * 4


async def test_with_a_token_no_link_leads_anywhere(console: OpenConsole) -> None:
    browser = await console.browser()
    await browser.get("/link/x", status=404)
    await browser.post("/link/x", name="eve", status=404)


# ---- below a path ----


async def test_a_console_below_a_path_stays_below_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whether its proxy takes the path off, or not."""
    url = {"url": "https://desk.example/signalq/", "proxies": ["127.0.0.1"]}
    browsers_own = {"Host": "desk.example", "X-Forwarded-Proto": "https"}
    async with open_console(tmp_path_factory.mktemp("below"), console=url) as console:
        browser = await console.browser()
        for prefix in ("", "/signalq"):
            answer = await browser.ask("GET", f"{prefix}/", status=303, follow=False, headers=browsers_own)
            assert answer.headers["Location"] == "/signalq/sign-in"
            page = await browser.ask("GET", f"{prefix}/sign-in", headers=browsers_own)
            links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
            assert links
            assert all(link.startswith("/signalq/") for link in links)
            form = {"name": "bob", "token": TOKEN, "next": "/sign-out"}
            answer = await browser.ask(
                "POST", f"{prefix}/sign-in", status=303, follow=False, headers=browsers_own, data=form
            )
            assert answer.headers["Location"] == "/signalq/sign-out"
            assert answer.headers["Set-Cookie"].startswith("signalq_session=")
            assert "; Path=/signalq; SameSite=Lax; Secure" in answer.headers["Set-Cookie"]
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            await browser.ask("GET", f"{prefix}{static_path('console.css')}", headers=browsers_own)
        await browser.get("/signalqueue", status=404)
