"""Sessions: who can sign one, when it ends, how it is renewed, and what a browser keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.cookies import Morsel

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from signalq.ops.console.gate.sessions import (
    COOKIE,
    LONGEST_S,
    RENEWED_AFTER_S,
    SESSION_S,
    Role,
    Session,
    Sessions,
    is_name,
)
from signalq.settings.sections import Settings
from tests.support.console_requests import asked, settings

NOW_S = 1_800_000_000
MINUTE_S, DAY_S = 60, 86_400
SEEN = f"{COOKIE}_8082"


class Clock:
    """The time, as it is told."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sessions(clock: Clock, of: Settings | None = None) -> Sessions:
    found = of or settings()
    return Sessions(lambda: found, clock)


def test_a_session_is_read_as_it_was_signed_by_every_replica(clock: Clock) -> None:
    value = sessions(clock).signed(sessions(clock).new("alice", "operate"))
    assert sessions(clock).read(value) == Session("alice", "operate", NOW_S, NOW_S)


@pytest.mark.parametrize("role", ["operate", "view"])
def test_a_session_ends_after_its_last_use(role: Role, clock: Clock) -> None:
    ours = sessions(clock)
    value = ours.signed(ours.new("alice", role))
    clock.now_s += SESSION_S - 1
    assert ours.read(value) is not None
    clock.now_s += 1
    assert ours.read(value) is None


@pytest.mark.parametrize(("role", "days"), [("operate", 7), ("view", 30)])
def test_a_session_that_is_used_ends_after_its_longest(role: Role, days: int, clock: Clock) -> None:
    ours = sessions(clock)
    session = ours.new("alice", role)
    while (left_s := ours.left_s(session)) > 0:
        clock.now_s += left_s - 1
        session = Session(session.name, session.role, session.began_s, clock.now_s)
        clock.now_s += 1
    assert clock.now_s == NOW_S + days * DAY_S == NOW_S + LONGEST_S[role]
    assert ours.read(ours.signed(session)) is None


def test_a_new_token_ends_the_sessions_of_the_old_one_and_no_others(clock: Clock) -> None:
    of = settings()
    ours = Sessions(lambda: of, clock)
    by_role = {role: ours.signed(ours.new("alice", role)) for role in LONGEST_S}
    of = settings(token="another-token")
    assert [role for role, value in by_role.items() if ours.read(value)] == ["view"]
    of = settings(view_token="another-view-token")
    assert [role for role, value in by_role.items() if ours.read(value)] == ["operate"]
    of = settings(view_token=None)
    assert [role for role, value in by_role.items() if ours.read(value)] == ["operate"]


def test_without_a_token_a_session_is_good_in_this_process_alone(clock: Clock) -> None:
    ours = sessions(clock, settings(token=None))
    value = ours.signed(ours.new("alice", "operate"))
    assert ours.read(value) is not None
    assert sessions(clock, settings(token=None)).read(value) is None
    with pytest.raises(ValueError, match="nobody has the role view"):
        ours.signed(ours.new("alice", "view"))


def test_a_view_token_signs_nothing_that_may_act(clock: Clock) -> None:
    """Its holder knows the key of that role, and can sign whatever is liked."""
    ours = sessions(clock)
    signer = ours._signer("view")
    for value in (
        {"name": "eve", "role": "operate", "began": NOW_S, "used": NOW_S},
        {"name": "eve", "began": NOW_S, "used": NOW_S, "may_act": True},
    ):
        found = ours.read(str(signer.dumps(value)))
        assert found is not None
        assert found.role == "view"


STRANGE = [
    *(None, 1, [], {}, {"name": "eve"}, {"name": 7, "began": NOW_S, "used": NOW_S}),
    *({"name": "eve", "began": "x", "used": NOW_S}, {"name": "eve", "began": None, "used": NOW_S}),
    *({"name": "\u202e", "began": NOW_S, "used": NOW_S}, {"name": "x" * 65, "began": NOW_S, "used": NOW_S}),
    {"name": "eve", "began": float("inf"), "used": NOW_S},
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: json.dumps(value)[:40])
def test_anything_that_the_holder_of_a_token_signs_is_a_session_or_nothing(value: object, clock: Clock) -> None:
    ours = sessions(clock)
    for role in LONGEST_S:
        assert ours.read(str(ours._signer(role).dumps(value))) is None


@given(value=st.text(max_size=300))
def test_any_other_cookie_is_no_session(value: str) -> None:
    assert sessions(Clock()).read(value) is None


def changed(value: str) -> Iterator[str]:
    """A value with one character changed, each in its turn; the last one of base 64 may stand for the same bytes."""
    for place, character in enumerate(value[:-1]):
        yield value[:place] + ("A" if character != "A" else "B") + value[place + 1 :]
    for cut in range(1, len(value)):
        yield value[:cut]


def test_a_session_with_one_other_character_is_none(clock: Clock) -> None:
    ours = sessions(clock)
    value = ours.signed(ours.new("alice", "view"))
    assert [one for one in changed(value) if ours.read(one) is not None] == []


# ---- the cookie ----


def kept(response: web.StreamResponse) -> Morsel[str]:
    ((_, cookie),) = response.cookies.items()
    return cookie


def put(request: web.Request, of: Settings) -> Morsel[str]:
    response = web.Response()
    ours = Sessions(lambda: of, Clock())
    ours.put(request, response, ours.new("alice", "operate"))
    return kept(response)


def test_a_browser_keeps_a_session_for_this_console_alone() -> None:
    cookie = put(asked(), settings())
    assert (cookie.key, cookie["path"], cookie["max-age"]) == (SEEN, "/", str(SESSION_S))
    assert (cookie["httponly"], cookie["samesite"], bool(cookie["secure"]), cookie["domain"]) == (
        True,
        "Lax",
        False,
        "",
    )


@pytest.mark.parametrize(
    ("url", "host", "name", "path"),
    [
        ("https://desk.example/", "desk.example", f"__Host-{COOKIE}", "/"),
        ("https://desk.example:8443/", "desk.example:8443", f"__Host-{COOKIE}_8443", "/"),
        ("https://desk.example/signalq/", "desk.example", COOKIE, "/signalq"),
    ],
)
def test_behind_https_a_cookie_is_for_https_alone(url: str, host: str, name: str, path: str) -> None:
    cookie = put(asked(Host=host), settings(url=url))
    assert (cookie.key, cookie["path"], cookie["secure"]) == (name, path, True)


def test_a_session_is_read_from_the_cookie_in_which_it_was_put(clock: Clock) -> None:
    of = settings(url="https://desk.example/")
    ours = sessions(clock, of)
    session = ours.new("alice", "operate")
    for host, name in (("desk.example", f"__Host-{COOKIE}"), ("127.0.0.1:8082", SEEN)):
        for cookie in (f"__Host-{COOKIE}", SEEN, COOKIE):
            found = ours.of(asked(Host=host, Cookie=f"{cookie}={ours.signed(session)}"))
            assert (found == session) is (cookie == name)


def test_a_session_is_renewed_by_use_now_and_then(clock: Clock) -> None:
    ours = sessions(clock)
    session = ours.new("alice", "operate")
    clock.now_s += RENEWED_AFTER_S - 1
    response = web.Response()
    ours.renew(asked(), response, session)
    assert not response.cookies
    clock.now_s += 1
    ours.renew(asked(), response, session)
    renewed = ours.read(kept(response).value)
    assert renewed == Session("alice", "operate", NOW_S, clock.now_s)
    assert kept(response)["max-age"] == str(SESSION_S)


def test_near_its_longest_a_session_is_renewed_for_the_rest(clock: Clock) -> None:
    ours = sessions(clock)
    clock.now_s += LONGEST_S["operate"] - MINUTE_S
    response = web.Response()
    ours.renew(asked(), response, Session("alice", "operate", NOW_S, clock.now_s - SESSION_S // 2))
    assert kept(response)["max-age"] == str(MINUTE_S)


def test_signing_out_is_not_undone_by_a_renewal(clock: Clock) -> None:
    ours = sessions(clock)
    session = ours.new("alice", "operate")
    clock.now_s += RENEWED_AFTER_S
    response = web.Response()
    ours.remove(asked(), response)
    ours.renew(asked(), response, session)
    cookie = kept(response)
    assert (cookie.key, cookie.value, cookie["max-age"], cookie["path"]) == (SEEN, "", "0", "/")


@pytest.mark.parametrize("name", ["a", "alice", "Ålice Ünd", "王小明", "x" * 64, "o'neil & <b>"])
def test_a_name_is_anything_that_can_be_printed(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "x" * 65, "a\tb", "a\nb", "a\u202eb", "a\u200bb", "a\x00b", "\ud800"]
)
def test_nothing_else_is_a_name(name: str) -> None:
    assert not is_name(name)
