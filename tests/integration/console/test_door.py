"""The door of a console that listens: hosts, proxies, methods, bodies, and what an answer shows of a failure."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict
from structlog.testing import capture_logs

from signalq.ops.console import site as site_module
from signalq.ops.console.gate.guard import HEADERS
from signalq.ops.console.gate.query import FIELDS_MAX, VALUE_CHARACTERS_MAX
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.view import FORM_BYTES_MAX, View
from tests.support.console_site import HTML, NOBODY, TOKEN, Answer, Browser, OpenConsole, open_console

MARKUP = "<script>alert(1)</script>"
SECRETS = (TOKEN, "topsecret-b7")


def check_headers(answer: Answer) -> None:
    """Every answer has all headers, and none of them twice."""
    headers = CIMultiDict(answer.headers)
    for name, value in HEADERS.items():
        assert headers.getall(name) == [value], name
    assert headers.getall("Server") == ["signalq"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Strict-Transport-Security" not in headers


@pytest_asyncio.fixture
async def local(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenConsole]:
    """A console without a token."""
    folder = tmp_path_factory.mktemp("local")
    async with open_console(folder, ops={"token": None, "view_token": None}) as opened:
        yield opened


# ---- who is called, and through whom ----

UNDERSCORED = b"GET / HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\nX_Forwarded_Email: alice\r\n\r\n"


async def test_a_name_that_is_let_point_here_reads_nothing(local: OpenConsole) -> None:
    """DNS rebinding: no token is needed to read, so the Host must be this machine."""
    browser = await local.browser()
    assert (await browser.get("/")).status == 200
    with capture_logs() as logs:
        for _ in range(3):
            page = await browser.get("/", status=403, Host=f"evil.example:{local.port}")
            assert "localhost and 127.0.0.1 alone" in page.text
            check_headers(page)
    assert [(line["event"], line["rule"], line["address"]) for line in logs] == [
        ("console.refused", "host", "127.0.0.1")
    ], "once a minute"


async def test_a_proxy_on_this_machine_does_not_let_everybody_in(local: OpenConsole) -> None:
    browser = await local.browser()
    for header in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"):
        answer = await browser.ask("GET", "/", status=403, headers={header: "192.0.2.1"})
        assert "set one" in answer.text


async def test_a_forged_identity_is_a_bad_request_whoever_sends_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    behind = {"proxies": ["10.0.0.0/8"], "user_header": "X-Forwarded-Email", "operators": ["alice@desk.example"]}
    async with open_console(tmp_path_factory.mktemp("sso"), console=behind) as console:
        for browser in (await console.browser(), await console.browser("carol")):
            for header in ("X-Forwarded-Email", "x-forwarded-email"):
                answer = await browser.ask("GET", "/", status=400, headers={header: "alice@desk.example"})
                assert "none of console.proxies" in answer.text
            # An underscore in a header's name; the client would make it a hyphen of ours.
            raw = await exchange(console, UNDERSCORED)
            assert raw.startswith(b"HTTP/1.1 400 ")


async def test_behind_a_proxy_that_signs_people_in_names_come_from_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    behind = {"proxies": ["127.0.0.1"], "user_header": "X-Forwarded-Email", "operators": ["alice@desk.example"]}
    async with open_console(tmp_path_factory.mktemp("sso"), console=behind) as console:
        browser = await console.browser()
        page = await browser.get("/sign-in", X_Forwarded_Email="bob@desk.example")
        assert "signed in as <bdi>bob@desk.example</bdi>" in page.text
        assert "console.operators" in page.text
        assert 'name="token"' not in page.text
        assert (
            "You may look, and not act"
            not in (await browser.get("/sign-in", X_Forwarded_Email="alice@desk.example")).text
        )
        await browser.get("/", X_Forwarded_Email="bob@desk.example")
        twice = [("X-Forwarded-Email", "alice@desk.example"), ("X-Forwarded-Email", "bob@desk.example")]
        async with browser.session.get(f"{console.url}/", headers=CIMultiDict(twice)) as got:
            assert got.status == 400
        assert "sign in first" in (await browser.get("/", status=401, Accept="*/*")).text


# ---- methods and other oddities ----


async def exchange(console: OpenConsole, request: bytes) -> bytes:
    """All that is answered to these bytes, after which the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
    writer.write(request)
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
async def test_no_other_method_is_taken(method: str, alice: Browser) -> None:
    for accept in (HTML, "*/*"):
        answer = await alice.ask(method, "/", status=405, headers={"Accept": accept})
        assert answer.headers["Allow"] == "GET, HEAD, POST"
        check_headers(answer)


async def test_head_is_answered_as_get_without_the_page(alice: Browser) -> None:
    page = await alice.get("/")
    head = await alice.ask("HEAD", "/")
    assert head.text == ""
    assert head.headers["ETag"] == page.headers["ETag"]
    assert head.headers["Content-Length"] == str(len(page.text.encode()))
    check_headers(head)


async def test_a_page_that_the_browser_has_is_not_sent_again(alice: Browser) -> None:
    etag = (await alice.get("/")).headers["ETag"]
    for known in (etag, f"W/{etag}", f'"x", {etag}'):
        answer = await alice.ask("GET", "/", status=304, headers={"If-None-Match": known})
        assert (answer.text, answer.headers["ETag"]) == ("", etag)
        check_headers(answer)
    assert (await alice.ask("GET", "/", headers={"If-None-Match": '"x"'})).text


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 " + TOKEN.encode() + b"\r\n\r\n",
        b"GET /" + TOKEN.encode() + b" HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n" + TOKEN.encode(),
        b"GET / HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_bytes_that_are_no_request_are_answered_as_one_is_and_not_repeated(
    request_: bytes, console: OpenConsole
) -> None:
    head, _, body = (await exchange(console, request_)).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    for name, value in HEADERS.items():
        assert f"\r\n{name}: {value}\r\n".encode() in head + b"\r\n"
    assert TOKEN.encode() not in head + body
    assert b"aiohttp" not in head


async def test_a_wrong_path_is_a_page_for_a_person_and_a_sentence_for_a_program(
    alice: Browser, console: OpenConsole
) -> None:
    stranger = await console.browser()
    for browser in (alice, stranger):
        page = await browser.get("/nothing/here", status=404)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "data-dialog-body" in page.text
        check_headers(page)
        sentence = await browser.get("/nothing/here", status=404, Accept="application/json")
        assert (sentence.text, sentence.headers["Content-Type"]) == (
            "there is no such page\n",
            "text/plain; charset=utf-8",
        )
        check_headers(sentence)


async def test_a_stranger_is_shown_nothing_of_what_goes_on(console: OpenConsole) -> None:
    """Neither the head with its figures, nor the script that would ask for more."""
    stranger = await console.browser()
    for path, status in (("/", 200), ("/sign-in", 200), ("/nothing", 404)):
        page = await stranger.get(path, status=status)
        assert "data-region" not in page.text
        assert "<script" not in page.text
        assert "<header" not in page.text


async def test_only_a_person_who_goes_to_a_page_is_led_to_the_sign_in(console: OpenConsole) -> None:
    stranger = await console.browser()
    there = await stranger.get("/?a=b", status=303, follow=False)
    assert there.headers["Location"] == "/sign-in?next=%2F%3Fa%3Db"
    assert (await stranger.get("/", status=303, follow=False)).headers["Location"] == "/sign-in"
    for headers in ({"Accept": "*/*"}, {"Sec_Fetch_Dest": "empty"}):
        answer = await stranger.ask("GET", "/", status=401, follow=False, headers=headers)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await stranger.ask("GET", "/parts/head?page=%2F", status=None, follow=False)).status in {401, 404}


# ---- parameters and bodies ----


@pytest.mark.parametrize(
    "query",
    [f"x={MARKUP}", "next=/&next=/", "next=%00", f"next=/{'y' * VALUE_CHARACTERS_MAX}", "%ff=1", "&=&;=", "next[]=/"],
)
async def test_a_parameter_that_is_not_known_is_refused_and_not_shown(query: str, alice: Browser) -> None:
    answer = await alice.get(f"/sign-in?{query}", status=400)
    assert MARKUP not in answer.text
    assert "alert(1)" not in answer.text
    check_headers(answer)


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length nobody has told."""
    for _ in range(size // 65_536 + 1):
        yield b"x" * 65_536


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"name=" + b"x" * FORM_BYTES_MAX, {"Content-Type": FORM}, 413),
        (None, {"Content-Type": FORM}, 413),
        (b"&".join(b"n%d=1" % number for number in range(FIELDS_MAX + 1)), {"Content-Type": FORM}, 413),
        (gzip.compress(b"name=eve&token=x", mtime=0), {"Content-Type": FORM, "Content-Encoding": "gzip"}, 415),
        (b'{"name": "eve"}', {"Content-Type": "application/json"}, 415),
        (b"name=eve", {"Content-Type": "text/plain"}, 415),
        (b"name=eve", {"Content-Type": f"{FORM}; charset=nonsense"}, 400),
        (b"name=\xff\xfe", {"Content-Type": FORM}, 400),
        (b"name=eve&name=eve", {"Content-Type": FORM}, 400),
        (b"name=eve&more=1", {"Content-Type": FORM}, 400),
        (b"name=eve&token=%00", {"Content-Type": FORM}, 400),
        (b"no multipart", {"Content-Type": "multipart/form-data; boundary=b"}, 400),
        (b"no multipart", {"Content-Type": "multipart/form-data"}, 400),
        (b'--b\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n--b--\r\n', None, 400),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", None, 400),
        (b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n", None, 400),
    ],
)
async def test_a_form_is_bounded_and_of_its_kind(
    body: bytes | None, headers: Mapping[str, str] | None, status: int, console: OpenConsole
) -> None:
    browser = await console.browser()
    data: Any = body if body is not None else chunks(FORM_BYTES_MAX)
    given = headers or {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await browser.ask("POST", "/sign-in", status=status, headers=given, data=data)
    check_headers(answer)
    assert "Set-Cookie" not in answer.headers


async def test_a_form_of_a_script_is_taken_as_one_of_a_page_is(console: OpenConsole) -> None:
    form = aiohttp.FormData({"name": "alice", "token": TOKEN})
    form._is_multipart = True  # as a browser's FormData is sent
    browser = await console.browser()
    answer = await browser.ask("POST", "/sign-in", status=303, follow=False, data=form)
    assert console.cookie in answer.headers["Set-Cookie"]


# ---- failures ----


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that fail as nobody foresaw."""

    async def fails(_view: View) -> aiohttp.web.StreamResponse:
        raise RuntimeError(f"{MARKUP} {TOKEN}")

    async def reads(view: View) -> aiohttp.web.StreamResponse:
        await view.desk.ledger.read(lambda _connection: None)
        raise AssertionError("there is a ledger")

    further = (Route("GET", "/fails", fails), Route("POST", "/fails", fails), Route("GET", "/reads", reads))
    monkeypatch.setattr(site_module, "ROUTES", (*ROUTES, *further))


@pytest.mark.usefixtures("failing")
async def test_a_failure_shows_a_number_that_the_log_has_and_nothing_of_its_cause(alice: Browser) -> None:
    for method, accept in (("GET", HTML), ("POST", HTML), ("GET", "*/*")):
        with capture_logs() as logs:
            answer = await alice.ask(method, "/fails", status=500, headers={"Accept": accept})
        (line,) = logs
        assert (line["event"], line["log_level"], line["exc_info"]) == ("console.failed", "error", True)
        assert line["number"] in answer.text
        assert not any(word in answer.text for word in (TOKEN, "alert(1)", "Traceback", "RuntimeError"))
        check_headers(answer)


@pytest.mark.usefixtures("failing")
async def test_a_ledger_that_is_not_there_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    ledger = {"url": "sqlite+aiosqlite:////nowhere/at-all.db"}
    async with open_console(tmp_path_factory.mktemp("none"), ledger=ledger) as console:
        alice = await console.browser("alice")
        for accept in (HTML, "*/*"):
            answer = await alice.get("/reads", status=503, Accept=accept)
            assert "/nowhere/at-all.db" in answer.text
            check_headers(answer)


async def test_no_secret_is_in_any_byte_and_no_markup_acts(tmp_path_factory: pytest.TempPathFactory) -> None:
    named = {"name": f"{MARKUP} {TOKEN}"}
    async with open_console(tmp_path_factory.mktemp("planted"), console=named, broker=NOBODY) as console:
        for browser in (await console.browser(), await console.browser(f"{MARKUP}'\"&")):
            for path in ("/", "/sign-in", "/sign-out", "/nothing", "/link/x"):
                page = await browser.ask("GET", path, status=None)
                assert not any(secret in page.text for secret in SECRETS), path
                assert MARKUP not in page.text, path
