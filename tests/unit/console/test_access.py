"""Access: who asks, in which role, and why somebody may not act."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from signalq.ops.console.gate import access
from signalq.ops.console.gate.access import FAILURES_PER_MINUTE, OPEN_THE_LINK, PROGRAM, READ_ONLY, Access, Viewer
from signalq.ops.console.gate.errors import NotAllowed, Refused
from signalq.ops.console.gate.sessions import COOKIE, Role
from signalq.ops.terminal import escaping
from signalq.settings.sections import Settings
from tests.support.console_requests import TOKEN, VIEW_TOKEN, asked, settings

BEHIND = {"proxies": ["10.0.0.0/8"], "user_header": "X-User", "operators": ["alice@desk.example"]}
PROXY = "10.1.2.3"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a wrong token does not wait."""
    monkeypatch.setattr(access, "FAILURE_S", 0.0)


def of(found: Settings) -> Access:
    return Access(lambda: found)


async def viewer(found: Settings, *, session: Role | None = None, peer: str = "127.0.0.1", **headers: str) -> Viewer:
    ours = of(found)
    if session is not None:
        headers["Cookie"] = f"{COOKIE}_8082={ours.session('carol', session)}"
    return await ours.viewer_of(asked(peer=peer, **headers))


# ---- roles ----


async def test_a_stranger_is_nobody_where_there_is_a_token_and_looks_where_there_is_none() -> None:
    stranger = await viewer(settings())
    assert (stranger.name, stranger.role, stranger.may_act) == (None, "nobody", False)
    local = await viewer(settings(token=None))
    assert (local.name, local.role, local.may_act, local.why_not) == (None, "view", False, OPEN_THE_LINK)


async def test_a_session_says_who_it_is_in_which_role_and_for_how_long() -> None:
    carol = await viewer(settings(), session="operate")
    assert (carol.name, carol.role, carol.address, carol.may_act) == ("carol", "operate", "127.0.0.1", True)
    assert carol.actor().name == "carol"
    assert (carol.actor().via, carol.actor().address) == ("console", "127.0.0.1")
    assert carol.ends_s is not None
    assert not carol.ends_soon
    looking = await viewer(settings(), session="view")
    assert (looking.name, looking.role, looking.may_act) == ("carol", "view", False)
    assert "view only" in str(looking.why_not)


@pytest.mark.parametrize("cookie", ["x", f"{COOKIE}_8082=x", f"{COOKIE}_8082=", f"{COOKIE}_8082=a.b", ";;=;"])
async def test_a_bad_cookie_is_simply_no_session(cookie: str) -> None:
    assert (await viewer(settings(), Cookie=cookie)).role == "nobody"


@pytest.mark.parametrize(("token", "role"), [(TOKEN, "operate"), (VIEW_TOKEN, "view")])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_program_has_the_role_of_its_token(token: str, role: Role, scheme: str) -> None:
    program = await viewer(settings(), Authorization=f"{scheme} {token}")
    assert (program.name, program.role, program.is_program) == (PROGRAM, role, True)
    assert program.may_act is (role == "operate")


@pytest.mark.parametrize("authorization", ["Bearer wrong", "Bearer", "Bearer  ", f"Bearer {TOKEN}x", "Bearer ü"])
async def test_a_program_with_a_wrong_token_is_told_so(authorization: str) -> None:
    with capture_logs() as logs, pytest.raises(Refused) as error:
        await viewer(settings(), Authorization=authorization)
    assert error.value.status == 401
    assert error.value.headers["WWW-Authenticate"].startswith("Bearer")
    assert [line["event"] for line in logs] == ["console.sign_in_failed"]
    assert TOKEN not in str(logs)


async def test_the_login_of_a_proxy_in_front_of_us_is_not_taken_for_a_programs() -> None:
    assert (await viewer(settings(), Authorization="Basic YWxpY2U6eA==")).role == "nobody"
    assert (await viewer(settings(), session="operate", Authorization="Bearer of-somebody")).name == "carol"
    assert (await viewer(settings(token=None), Authorization="Bearer x")).role == "view"


async def test_a_token_beside_a_cookie_makes_no_program() -> None:
    """A browser has cookies: its requests must come from a page of ours."""
    stranger = await viewer(settings(), Authorization=f"Bearer {TOKEN}", Cookie="theme=dark")
    assert (stranger.role, stranger.is_program) == ("nobody", False)


async def test_a_name_of_the_proxy_may_look_and_an_operator_may_act() -> None:
    found = settings(**BEHIND)
    alice = await viewer(found, peer=PROXY, X_User="alice@desk.example")
    assert (alice.name, alice.role, alice.may_act, alice.ends_s) == ("alice@desk.example", "operate", True, None)
    bob = await viewer(found, peer=PROXY, X_User="bob@desk.example", X_Forwarded_For="192.0.2.4")
    assert (bob.name, bob.role, bob.may_act, bob.address) == ("bob@desk.example", "view", False, "192.0.2.4")
    assert "console.operators" in str(bob.why_not)


@given(
    name=st.one_of(
        st.sampled_from(["Alice@desk.example", "alice@desk.example.evil", "xalice@desk.example", "alice@desk_example"]),
        st.text(min_size=1, max_size=60).filter(lambda name: name.isprintable() and name.strip() == name),
    )
)
def test_the_names_of_operators_are_compared_whole(name: str) -> None:
    found = asyncio.run(viewer(settings(**BEHIND), peer=PROXY, X_User=name))
    assert found.may_act is (name == "alice@desk.example")


async def test_the_proxys_name_goes_before_a_session_and_a_token_and_a_forged_one_before_everything() -> None:
    found = settings(**BEHIND)
    assert (await viewer(found, peer=PROXY, session="operate", X_User="bob")).name == "bob"
    assert (await viewer(found, peer=PROXY, Authorization="Bearer x", X_User="bob")).name == "bob"
    for more in ({"session": "operate"}, {"Authorization": f"Bearer {TOKEN}"}):
        with pytest.raises(Refused) as error:
            await viewer(found, X_User="alice@desk.example", **more)  # type: ignore[arg-type]
        assert error.value.status == 400


async def test_without_the_proxys_header_the_token_signs_in() -> None:
    assert (await viewer(settings(**BEHIND), peer=PROXY, session="operate")).may_act


async def test_a_read_only_console_lets_nobody_act() -> None:
    found = settings(read_only=True, **BEHIND)
    for one in (
        await viewer(found, session="operate"),
        await viewer(found, Authorization=f"Bearer {TOKEN}"),
        await viewer(found, peer=PROXY, X_User="alice@desk.example"),
        await viewer(settings(token=None, read_only=True)),
    ):
        assert (one.role, one.may_act, one.why_not) == ("view", False, READ_ONLY)
    assert (await viewer(found)).role == "nobody"


def test_all_viewers_of_a_part_are_one() -> None:
    found = Viewer("alice", "operate", "10.0.0.1", None, 100).unnamed()
    assert found == Viewer("bob", "operate", "10.0.0.2", None, 200).unnamed()
    assert (found.name, found.address, found.ends_s) == (None, "", None)
    assert found != Viewer("bob", "view", "10.0.0.2", "why").unnamed()


# ---- signing in ----


async def test_each_token_signs_in_with_its_role() -> None:
    ours = of(settings())
    for token, role in ((TOKEN, "operate"), (VIEW_TOKEN, "view")):
        with capture_logs() as logs:
            session = await ours.sign_in(asked(), "alice", token)
        assert (session.name, session.role) == ("alice", role)
        (line,) = logs
        assert (line["event"], line["who"], line["role"], line["by"]) == ("console.signed_in", "alice", role, "token")


@pytest.mark.parametrize("token", ["", "x", TOKEN.upper(), f"{TOKEN} ", TOKEN[:-1], "\ud800", "ü"])
async def test_every_wrong_token_has_the_same_answer(token: str) -> None:
    with capture_logs() as logs, pytest.raises(Refused) as error:
        await of(settings()).sign_in(asked(), "alice", token)
    assert (error.value.status, str(error.value)) == (401, "that token is not right")
    assert [(line["event"], line["address"]) for line in logs] == [("console.sign_in_failed", "127.0.0.1")]
    assert "alice" not in str(logs)


@given(token=st.text(max_size=80))
def test_no_other_token_has_a_role(token: str) -> None:
    assert of(settings()).role_of(token) == {TOKEN: "operate", VIEW_TOKEN: "view"}.get(token, "nobody")
    assert of(settings(token=None)).role_of(token) == "nobody"


@pytest.mark.parametrize("name", ["", "x" * 65, "a\u202eb", "a\nb"])
async def test_a_name_that_is_none_is_refused_before_the_token_is_looked_at(name: str) -> None:
    for token in (TOKEN, "wrong"):
        with capture_logs() as logs, pytest.raises(Refused, match="1 to 64") as error:
            await of(settings()).sign_in(asked(), name, token)
        assert error.value.status == 400
        assert logs == []


async def test_a_token_in_the_place_of_the_name_reaches_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    known = escaping.Secrets()
    known.learn(settings().secret_values())
    monkeypatch.setattr(escaping, "secrets", known)
    with capture_logs() as logs, pytest.raises(Refused, match="must not hold a token"):
        await of(settings()).sign_in(asked(), TOKEN, TOKEN)
    assert logs == []


async def fails(ours: Access, peer: str = "192.0.2.1", **headers: str) -> int:
    """The status of a wrong token from this address."""
    with capture_logs(), pytest.raises(Refused) as error:
        await ours.sign_in(asked(peer=peer, **headers), "alice", "wrong")
    return error.value.status


async def test_an_address_fails_five_times_in_a_minute_and_nobody_else_notices() -> None:
    ours = of(settings())
    assert [await fails(ours) for _ in range(FAILURES_PER_MINUTE + 2)] == [401] * FAILURES_PER_MINUTE + [429] * 2
    with pytest.raises(Refused) as error:
        await ours.sign_in(asked(peer="192.0.2.1"), "alice", TOKEN)
    assert error.value.status == 429
    assert 0 < int(error.value.headers["Retry-After"]) <= 60
    # Another address signs in; a session and a program of the same one go on.
    with capture_logs():
        assert (await ours.sign_in(asked(peer="192.0.2.2"), "alice", TOKEN)).role == "operate"
    cookie = f"{COOKIE}_8082={ours.session('bob', 'operate')}"
    assert (await ours.viewer_of(asked(peer="192.0.2.1", Cookie=cookie))).may_act
    assert (await ours.viewer_of(asked(peer="192.0.2.1", Authorization=f"Bearer {TOKEN}"))).may_act


async def test_many_that_try_at_once_are_not_more() -> None:
    ours = of(settings())
    statuses = await asyncio.gather(*(fails(ours) for _ in range(20)))
    assert sorted(statuses) == [401] * FAILURES_PER_MINUTE + [429] * (20 - FAILURES_PER_MINUTE)


async def test_a_sender_behind_our_proxy_is_counted_by_its_own_address_and_ipv6_by_its_network() -> None:
    ours = of(settings(proxies=["10.0.0.0/8"]))
    for number in range(FAILURES_PER_MINUTE + 1):
        assert await fails(ours, PROXY, X_Forwarded_For=f"6.6.6.{number}, 192.0.2.8") == (
            401 if number < FAILURES_PER_MINUTE else 429
        )
    assert await fails(ours, PROXY, X_Forwarded_For="192.0.2.9") == 401
    for number in range(FAILURES_PER_MINUTE):
        assert await fails(ours, f"2001:db8::{number + 1}") == 401
    assert await fails(ours, "2001:db8::ffff") == 429
    assert await fails(ours, "2001:db8:0:1::1") == 401


# ---- the one-time link ----


async def test_the_link_is_spent_by_the_first_person_with_a_name() -> None:
    ours = Access(lambda: settings(token=None), link="the-secret")
    assert ours.one_time_link() == "the-secret"
    with pytest.raises(Refused, match="1 to 64"):
        ours.open_link(asked(), "the-secret", "")
    with capture_logs() as logs:
        session = ours.open_link(asked(), "the-secret", "alice")
    assert (session.name, session.role) == ("alice", "operate")
    assert [(line["event"], line["by"]) for line in logs] == [("console.signed_in", "link")]
    assert "the-secret" not in str(logs)
    assert ours.one_time_link() is None
    with pytest.raises(NotAllowed, match="restart the console"):
        ours.open_link(asked(), "the-secret", "bob")


@pytest.mark.parametrize("secret", ["", "the-secre", "the-secret ", "THE-SECRET", "\ud800"])
async def test_a_wrong_link_opens_nothing_and_spends_nothing(secret: str) -> None:
    ours = Access(lambda: settings(token=None), link="the-secret")
    with pytest.raises(NotAllowed) as error:
        ours.open_link(asked(), secret, "eve")
    assert error.value.rule == "link"
    assert ours.one_time_link() == "the-secret"


def test_with_a_token_there_is_no_link() -> None:
    ours = Access(settings, link="the-secret")
    assert ours.one_time_link() is None
    with pytest.raises(NotAllowed):
        ours.open_link(asked(), "the-secret", "eve")


def test_each_start_has_a_link_of_its_own() -> None:
    links = {Access(lambda: settings(token=None)).one_time_link() for _ in range(20)}
    assert len(links) == 20
    assert all(link is not None and len(link) >= 32 for link in links)
