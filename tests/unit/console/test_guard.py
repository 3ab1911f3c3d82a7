"""The door of the console: by which names it is called, from whose pages, by which methods; and whom a proxy names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.gate.guard import HEADERS, add_headers, check_request, check_site
from signalq.ops.console.gate.sender import address_of, is_forwarded, is_https, name_by_proxy
from signalq.settings.sections import Settings
from tests.support.console_requests import asked, settings

OPEN = settings(token=None)
BEHIND = {"proxies": ["10.0.0.0/8", "::1"], "user_header": "X-Forwarded-Email", "operators": ["alice@desk.example"]}
SSO = settings(**BEHIND)
PROXY = "10.1.2.3"


def refused(request: web.Request, of: Settings) -> str | None:
    """The rule that a request breaks; None if it is let in."""
    try:
        check_request(request, of)
        check_site(request, of)
    except Refused as error:
        return error.rule or f"none, but {error}"
    return None


# ---- Host ----


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8082", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8082", "localhost:65535"]
)
def test_without_a_token_this_machine_is_called_by_its_own_names(host: str) -> None:
    assert refused(asked(Host=host), OPEN) is None
    assert refused(asked(Host=host), settings()) is None


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8082", "localhost.evil.example", "127.0.0.1.evil.example", "localhost."),
        *("127.0.0.2", "0.0.0.0:80", "10.0.0.1", "[::]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "desk.example"),
    ],
)
def test_without_a_token_no_other_name_is_answered(host: str) -> None:
    """DNS rebinding: a page of evil.example asks 127.0.0.1, and the browser says `Host: evil.example`."""
    of = settings(token=None, hosts=["desk.example"], url="http://desk.example/")
    assert refused(asked(Host=host), of) == "host"


@given(host=st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), min_size=1, max_size=40))
def test_without_a_token_any_other_host_is_refused(host: str) -> None:
    expected = None if host.lower() in {"localhost", "127.0.0.1", "[::1]"} else "host"
    assert refused(asked(Host=host), OPEN) == expected


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "user@127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "[::1", "::1", "a,b"]
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    assert refused(asked(Host=host), settings()) == refused(asked(Host=host), OPEN) == "host"


def test_two_hosts_are_refused() -> None:
    twice = asked(headers=[("Host", "127.0.0.1"), ("Host", "127.0.0.1")])
    assert refused(twice, OPEN) == refused(twice, settings()) == "host"


NAMED = {"hosts": ["desk.example", "desk.example:8443"], "url": "https://signalq.example:444/console", "host": "box"}


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        *(("desk.example", None), ("DESK.example:8443", None), ("signalq.example:444", None), ("box:8082", None)),
        *(("10.0.0.1:8082", None), ("[2001:db8::1]", None), ("127.0.0.1", None)),
        *(
            ("desk.example:80", "host"),
            ("signalq.example", "host"),
            ("x.desk.example", "host"),
            ("evil.example", "host"),
        ),
    ],
)
def test_with_a_token_addresses_and_the_names_of_the_settings_are_answered(host: str, rule: str | None) -> None:
    assert refused(asked(Host=host), settings(**NAMED)) == rule


@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"),
        *("x-forwarded-email", "X_Forwarded_For", "x_real_ip", "X-Forwarded-Client-Cert"),
    ],
)
def test_without_a_token_nobody_is_let_in_by_a_proxy_on_this_machine(header: str) -> None:
    assert refused(asked(headers=[(header, "1.2.3.4")]), OPEN) == "proxy"
    assert refused(asked(headers=[(header, "1.2.3.4")]), settings()) is None


# ---- methods ----


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "PROPFIND", "X"])
def test_methods_are_allowed_by_name(method: str) -> None:
    with pytest.raises(Refused) as error:
        check_request(asked(method), settings())
    assert (error.value.status, error.value.rule) == (405, "method")
    assert error.value.headers == {"Allow": "GET, HEAD, POST"}


# ---- where a request comes from ----

Site = dict[str, str]
SAME: Site = {"Sec_Fetch_Site": "same-origin"}
ORIGIN = "http://127.0.0.1:8082"


@pytest.mark.parametrize(
    ("site", "lets_post"),
    [
        (SAME, True),
        ({**SAME, "Origin": "null"}, True),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Sec_Fetch_Site": "Same-Origin"}, False),
        ({"Sec_Fetch_Site": ""}, False),
        ({"Sec_Fetch_Site": "cross-site", "Origin": ORIGIN}, False),
        ({}, False),
        ({"Origin": ORIGIN}, True),
        ({"Origin": "HTTP://127.0.0.1:8082"}, True),
        ({"Origin": "https://127.0.0.1:8082"}, True),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://127.0.0.1"}, False),
        ({"Origin": "http://127.0.0.1:80820"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://evil.example/127.0.0.1:8082"}, False),
        ({"Origin": "127.0.0.1:8082"}, False),
        ({"Referer": f"{ORIGIN}/"}, False),
    ],
)
@pytest.mark.parametrize("of", [OPEN, settings()], ids=["without a token", "with a token"])
def test_a_change_must_come_from_a_page_of_ours(site: Site, lets_post: bool, of: Settings) -> None:
    assert refused(asked("POST", **site), of) == (None if lets_post else "origin")


def test_a_page_of_ours_may_have_another_name_than_the_proxy_gives_to_the_console() -> None:
    """On plain http, where no browser sends Sec-Fetch-Site, behind a proxy that changes the Host."""
    of = settings(url="http://desk.example/", hosts=["other.example:81"])
    for origin in ("http://desk.example", "http://other.example:81"):
        assert refused(asked("POST", Origin=origin), of) is None
    assert refused(asked("POST", Origin="http://other.example"), of) == "origin"


@given(origin=st.text(max_size=60))
def test_any_other_origin_is_refused(origin: str) -> None:
    expected = None if origin.partition("://")[2].lower() == "127.0.0.1:8082" else "origin"
    assert refused(asked("POST", Origin=origin), settings()) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("site", "lets_look"),
    [
        ({}, True),
        (SAME, True),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}, True),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, True),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "cors"}, False),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "no-cors"}, False),
        ({"Sec_Fetch_Site": "cross-site"}, False),
        ({"Origin": "null"}, True),
    ],
)
def test_a_link_from_anywhere_may_lead_here_and_a_script_from_anywhere_may_not_read(
    method: str, site: Site, lets_look: bool
) -> None:
    assert refused(asked(method, **site), settings()) == (None if lets_look else "origin")


# ---- the headers of an answer ----


def headers_for(request: web.Request, of: Settings, **own: str) -> dict[str, str]:
    response = web.Response(headers={name.replace("_", "-"): value for name, value in own.items()})
    add_headers(request, response, of)
    return dict(response.headers)


def test_every_answer_gets_the_headers_and_keeps_its_own() -> None:
    assert headers_for(asked(), settings()) == {**HEADERS, "Server": "signalq"}
    kept = headers_for(asked(), settings(), Cache_Control="public", Server="aiohttp/1")
    assert kept == {**HEADERS, "Cache-Control": "public", "Server": "signalq"}
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


HTTPS = settings(url="https://desk.example/", proxies=["10.0.0.1"])


@pytest.mark.parametrize(
    ("request_", "of", "expected"),
    [
        (asked(), settings(), False),
        (asked(X_Forwarded_Proto="https"), settings(), False),
        (asked(Host="desk.example"), HTTPS, True),
        (asked(Host="desk.example", X_Forwarded_Proto="http"), HTTPS, True),
        (asked(Host="desk.example", X_Forwarded_Proto="http", peer="10.0.0.1"), HTTPS, False),
        (asked(Host="10.0.0.2", X_Forwarded_Proto="HTTPS", peer="10.0.0.1"), settings(proxies=["10.0.0.1"]), True),
        (asked(Host="10.0.0.2", X_Forwarded_Proto="https", peer="10.0.0.3"), settings(proxies=["10.0.0.1"]), False),
        # By `kubectl port-forward`, past the proxy.
        (asked(Host="localhost:8082"), HTTPS, False),
        # By a proxy on this machine, which is not named, and changes the Host.
        (asked(Host="127.0.0.1:8082", X_Forwarded_For="1.2.3.4"), HTTPS, True),
    ],
)
def test_the_scheme_is_that_of_the_browser(request_: web.Request, of: Settings, expected: bool) -> None:
    assert is_https(request_, of) is expected
    assert ("Strict-Transport-Security" in headers_for(request_, of)) is expected


# ---- whom a proxy names ----


def named(headers: Iterable[tuple[str, str]], peer: str = PROXY, of: Settings = SSO) -> str | None:
    return name_by_proxy(asked(peer=peer, headers=headers), of.console)


def test_a_proxy_of_ours_names_a_person() -> None:
    assert named([("X-Forwarded-Email", " alice@desk.example ")]) == "alice@desk.example"
    assert named([("x-forwarded-email", "bob")], peer="::1") == "bob"
    assert named([]) is None
    assert named([("X-Forwarded-Email", "x" * 254)]) == "x" * 254


FORGED: list[tuple[Any, str]] = [
    ([("X-Forwarded-Email", "alice@desk.example")], "127.0.0.1"),
    ([("X-Forwarded-Email", "alice@desk.example")], "11.0.0.1"),
    ([("X-Forwarded-Email", "alice@desk.example")], "fe80::1%eth0"),
    ([("X-Forwarded-Email", "alice@desk.example"), ("X-Forwarded-For", PROXY)], "192.0.2.1"),
    ([("X_Forwarded_Email", "alice@desk.example")], PROXY),
    ([("X-Forwarded_Email", "alice@desk.example")], PROXY),
    ([("X-Forwarded-Email", "a"), ("X-Forwarded-Email", "b")], PROXY),
    ([("X-Forwarded-Email", "a"), ("X-Forwarded-Email", "a")], PROXY),
    ([("X-Forwarded-Email", "a"), ("X_Forwarded_Email", "a")], PROXY),
    ([("X-Forwarded-Email", "")], PROXY),
    ([("X-Forwarded-Email", "x" * 255)], PROXY),
    ([("X-Forwarded-Email", "alice\u202e")], PROXY),
]


@pytest.mark.parametrize(("headers", "peer"), FORGED)
def test_a_forged_name_is_a_bad_request(headers: list[tuple[str, str]], peer: str) -> None:
    with pytest.raises(Refused) as error:
        named(headers, peer)
    assert (error.value.status, error.value.rule) == (400, "identity")
    assert "alice" not in str(error.value)


@given(
    spelling=st.lists(st.sampled_from("-_"), min_size=2, max_size=2),
    upper=st.lists(st.booleans(), min_size=17, max_size=17),
    peer=st.ip_addresses(v=4).filter(lambda address: str(address).partition(".")[0] != "10").map(str),
)
def test_no_spelling_from_anybody_else_passes(spelling: list[str], upper: list[bool], peer: str) -> None:
    plain = f"x{spelling[0]}forwarded{spelling[1]}email"
    header = "".join(one.upper() if up else one for one, up in zip(plain, upper, strict=True))
    with pytest.raises(Refused):
        named([(header, "alice@desk.example")], peer)


def test_without_the_setting_no_header_names_anybody() -> None:
    assert named([("X-Forwarded-Email", "alice@desk.example")], of=settings()) is None


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("192.0.2.7", [], "192.0.2.7"),
        ("192.0.2.7", ["1.1.1.1"], "192.0.2.7"),
        (PROXY, ["1.1.1.1, 192.0.2.9"], "192.0.2.9"),
        (PROXY, ["1.1.1.1", "192.0.2.9, 10.9.9.9"], "192.0.2.9"),
        (PROXY, ["nonsense"], "None"),
        (PROXY, [], PROXY),
        ("::1", ["[2001:db8::5]:443"], "2001:db8::5"),
    ],
)
def test_the_address_is_the_last_hop_that_our_proxies_vouch_for(
    peer: str, forwarded_for: list[str], address: str
) -> None:
    request = asked(peer=peer, headers=[("X-Forwarded-For", value) for value in forwarded_for])
    assert str(address_of(request, SSO.console)) == address


def test_a_request_of_a_browser_is_not_forwarded() -> None:
    usual = {"Accept": "text/html", "Cookie": "a=b", "Origin": ORIGIN, "X-Requested-With": "x", "Authorization": "y"}
    assert not is_forwarded(usual)
