"""Who a message is from, and what they may do: by table, and against a small oracle (contract 3, fan-in)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.decisions import DeadLetter, Deliver, Drop, Forward, Park
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, RowIdentity, Unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.orders.rights import NOT_NAMED, Rights, is_wrong_token
from signalq.consumer.orders.rules import before
from signalq.consumer.orders.state import IntentState
from signalq.settings.reload import change
from signalq.settings.sections import Settings
from tests.support.orders import altered

NOW_MS = 1_700_000_000_000
SETTINGS = Settings(
    connectors={"tokened": {"token": "configured-token"}},
    strategies={
        "momentum": {"user": "momentum-user", "connectors": ["main"], "actions": ["openLong", "cancelAll"]},
        "carry": {"user": "carry-user"},
        "labelled": {"connectors": ["main"]},
    },
)


def receive(
    settings: Settings = SETTINGS,
    *,
    user: str | None = None,
    app_id: str | None = None,
    headers: dict[str, Any] | None = None,
    message_id: str | None = "id",
    redelivered: bool = False,
    **fields: Any,
) -> Order:
    """An intent that has just come in."""
    found = receive_any(
        settings, user=user, app_id=app_id, headers=headers, message_id=message_id, redelivered=redelivered, **fields
    )
    assert isinstance(found, Order), found
    return found


def receive_any(settings: Settings = SETTINGS, **given_: Any) -> Order | Unreadable:
    user, app_id, headers = given_.pop("user", None), given_.pop("app_id", None), given_.pop("headers", None)
    message_id, redelivered = given_.pop("message_id", "id"), given_.pop("redelivered", False)
    body = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "5"} | given_
    properties = Basic.Properties(
        message_id=message_id,
        user_id=user,
        app_id=app_id,
        headers={"signalq-created-ms": NOW_MS} | (headers or {}),
    )
    return read(Message(json.dumps(body).encode(), properties, "main", redelivered), settings, NOW_MS)


def judged(of: Order, **known: Any) -> object:
    return before(of, IntentState(of.intent_id, of.identity.digest, **known), NOW_MS)


def reason(found: object) -> str:
    return found.reason if isinstance(found, DeadLetter) else type(found).__name__


# --- who it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "app_id", "header", "strategy", "allowed"),
    [
        ("momentum-user", None, None, "momentum", True),
        ("momentum-user", "carry", "labelled", "momentum", True),
        ("carry-user", "momentum", "momentum", "carry", True),
        ("stranger", None, None, "stranger", False),
        ("stranger", "momentum", None, "momentum", False),
        ("stranger", "labelled", None, "labelled", True),
        (None, "labelled", None, "labelled", True),
        (None, "momentum", "labelled", "labelled", True),
        (None, "labelled", "momentum", "momentum", False),
        (None, "momentum", None, "momentum", False),
        (None, "unknown", None, "unknown", False),
        (None, None, None, "-", False),
    ],
)
def test_a_strategy_with_a_user_is_known_by_that_alone_and_one_without_by_its_label(
    user: str | None, app_id: str | None, header: str | None, strategy: str, allowed: bool
) -> None:
    of = receive(user=user, app_id=app_id, headers={"signalq-strategy": header} if header else None)
    assert of.strategy == strategy
    assert reason(judged(of)) == ("Deliver" if allowed else "unauthorized")
    assert (of.intent_id == "id") is allowed, "what is nobody's takes no identity of another"
    assert of.identity.message_id == "id"


def test_without_strategies_a_label_is_a_label() -> None:
    for user, app_id, strategy in [(None, None, "-"), ("u", None, "u"), ("u", "a", "a"), (None, "a", "a")]:
        of = receive(Settings(), user=user, app_id=app_id)
        assert (of.strategy, of.intent_id, judged(of)) == (strategy, "id", Deliver())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "Deliver"),
        ({"connectorName": "other"}, "unauthorized"),
        ({"action": "openShort"}, "unauthorized"),
        ({"action": "closeLong"}, "unauthorized"),
        ({"action": "cancelAll"}, "Deliver"),
        ({"action": "cancellAll"}, "Deliver"),
        ({"action": "cancel_all"}, "Deliver"),
        ({"delaySeconds": 5}, "Park"),
        ({"delaySeconds": 5, "connectorName": "other"}, "unauthorized"),
    ],
)
def test_a_strategy_may_use_its_connectors_and_its_actions(fields: dict[str, Any], expected: str) -> None:
    of = receive(user="momentum-user", **fields)
    assert of.intent_id == "id", "what a known strategy may not have is dead under its own identity"
    assert reason(judged(of)) == expected


def test_a_limit_that_is_only_reported_gives_no_rights() -> None:
    reported = Settings(strategies={"a": {"connectors": ["x"], "limits": "report"}})
    assert reason(judged(receive(reported, app_id="a"))) == "unauthorized"


def test_a_detail_quotes_nothing_of_the_message() -> None:
    for fields in ({"connectorName": "secret-name"}, {"action": "buy"}, {"app_id": "secret-label"}):
        label = fields.pop("app_id", None)
        found = judged(receive(user=None if label else "momentum-user", app_id=label, **fields))
        assert isinstance(found, DeadLetter)
        assert "secret" not in found.detail
        assert "buy" not in found.detail


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [SETTINGS, Settings(connectors={"tokened": {"token": "configured-token"}})])
@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("configured-token", "Deliver"),
        (None, "Deliver"),
        ("configured-toke", "unauthorized"),
        ("configured-token ", "unauthorized"),
        ("Configured-token", "unauthorized"),
        ("tökén", "unauthorized"),
    ],
)
def test_a_token_that_differs_from_the_configured_one_is_unauthorized(
    settings: Settings, token: str | None, expected: str
) -> None:
    found = judged(receive(settings, user="carry-user", connectorName="tokened", connectorToken=token))
    assert reason(found) == expected
    if isinstance(found, DeadLetter):
        assert "configured-token" not in found.detail
        assert token not in found.detail


def test_a_connector_without_a_configured_token_takes_any() -> None:
    assert judged(receive(Settings(), connectorToken="whatever")) == Deliver()
    assert not is_wrong_token("x", None)
    assert not is_wrong_token(None, "x")


# --- what is known already, and what is in doubt ---------------------------------------------------------------------


def test_an_intent_that_may_have_been_taken_stays_in_doubt_whatever_its_rights_are_now() -> None:
    """Else a replay without --force could double it."""
    of = receive(user="momentum-user", action="openShort")
    known = {"status": "sending", "attempts": 1, "in_doubt": True, "version": 1, "first_post_ms": NOW_MS}
    assert reason(judged(of, **known)) == "outcome-unknown"
    repeatable = receive(
        Settings(strategies={"momentum": {"actions": ["buy"]}}), app_id="momentum", action="cancel", clientOrderId="c"
    )
    assert reason(judged(repeatable, **known)) == "outcome-unknown"


@pytest.mark.parametrize("status", ["delivered", "dead", "canceled"])
def test_an_intent_that_has_ended_is_a_duplicate_whatever_its_rights_are_now(status: Any) -> None:
    assert judged(receive(user="momentum-user", action="openShort"), status=status, version=1) == Drop(duplicate=True)


# --- our own copies, and forged ones ---------------------------------------------------------------------------------

COPY = {"signalq-intent-id": "id", "signalq-strategy": "momentum", "signalq-origin-user": "carry-user"}


def test_a_copy_is_from_the_user_that_the_ledger_names() -> None:
    of = receive(headers=COPY)
    assert of.identity.origin_user is None, "whatever a header says"
    assert reason(judged(of)) == "unauthorized", "as long as nobody has looked"
    proven = of.identified(lambda *_: RowIdentity(of.identity.digest, "momentum-user"))
    assert (proven.strategy, proven.intent_id, proven.identity.origin_user) == ("momentum", "id", "momentum-user")
    assert judged(proven) == Deliver()


@pytest.mark.parametrize("row", [None, RowIdentity(b"other bytes", "momentum-user")], ids=["no row", "foreign bytes"])
def test_a_forged_copy_is_nobodys_under_an_id_of_its_own(row: RowIdentity | None) -> None:
    of = receive(headers=COPY).identified(lambda *_: row)
    assert of.intent_id != "id"
    assert reason(judged(of)) == "unauthorized"


def test_a_copy_is_judged_by_the_settings_that_hold_now() -> None:
    of = receive(Settings(strategies={"carry": {"user": "carry-user"}}), headers=COPY)
    lost = of.identified(lambda *_: RowIdentity(of.identity.digest, "momentum-user"))
    assert (lost.strategy, lost.intent_id) == ("momentum", "id"), "it is what the ledger knows, and ends there"
    assert reason(judged(lost)) == "unauthorized"


def test_the_headers_of_a_message_with_a_user_count_for_nothing() -> None:
    of = receive(user="carry-user", headers=COPY | {"signalq-park-rank": 7}, delaySeconds=5)
    assert (of.strategy, of.identity.origin_user, of.provenance.is_own_copy, of.route.park_rank) == (
        "carry",
        "carry-user",
        False,
        0,
    )
    assert isinstance(judged(of), Park)
    assert judged(of, status="scheduled", version=2) == Drop(duplicate=True), "it is no copy that the ladder gave back"


def test_each_message_of_no_known_strategy_has_an_id_of_its_own_and_the_same_one_again() -> None:
    ids = {
        receive(user=user, app_id="momentum", **fields).intent_id
        for user in (None, "stranger", "another")
        for fields in ({}, {"percent": "6"})
    }
    assert len(ids) == 6
    assert receive(app_id="momentum").intent_id == receive(app_id="momentum").intent_id
    assert "id" not in ids


def test_an_invalid_message_of_no_known_strategy_is_unauthorized() -> None:
    found = receive_any(app_id="momentum", percent="x")
    assert isinstance(found, Unreadable)
    assert (found.reason, found.intent_id != "id") == ("unauthorized", True)
    known = receive_any(user="momentum-user", percent="x")
    assert isinstance(known, Unreadable)
    assert (known.reason, known.intent_id, known.strategy) == ("invalid", "id", "momentum")
    forged = receive_any(headers=COPY, percent="x")
    assert isinstance(forged, Unreadable)
    assert (forged.reason, forged.intent_id != "id") == ("invalid", True)


def test_a_redelivery_after_its_strategy_was_named_is_what_it_was() -> None:
    """Else what was in doubt under its old name would be POSTed under its new one."""
    label = receive(Settings(), user="momentum-user", app_id="old-name")
    rows = {("old-name", "id"): RowIdentity(label.identity.digest, "momentum-user")}
    again = receive(user="momentum-user", app_id="old-name", redelivered=True)
    assert again.strategy == "momentum"
    found = again.identified(lambda *key: rows.get(key))
    assert (found.strategy, found.intent_id) == ("old-name", "id")
    assert judged(found) == Deliver(), "with the rights of its user"
    foreign = {("old-name", "id"): RowIdentity(label.identity.digest, "carry-user")}
    assert again.identified(lambda *key: foreign.get(key)).strategy == "momentum"
    first = receive(user="momentum-user", app_id="old-name")
    assert first.identified(lambda *key: rows.get(key)).strategy == "momentum"


def test_a_second_publish_into_a_foreign_lane_is_a_duplicate_and_not_nobodys() -> None:
    """Forwarded, it would carry its user no more."""
    of = altered(receive(user="momentum-user"), source_queue="another lane")
    assert judged(of) == Forward(of.route.lane)
    assert judged(of, status="retrying", version=2) == Drop(duplicate=True)
    assert judged(altered(of, redelivered=True), status="received", version=1) == Forward(of.route.lane)


# --- against an oracle -----------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]
USERS = ["ua", "ub", "uc"]
configured = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(
        st.none() | st.sampled_from(USERS),
        st.none() | st.lists(st.sampled_from(["main", "other"])),
        st.none() | st.lists(st.sampled_from(["openLong", "buy"])),
    ),
).filter(lambda named: len(users := [one[0] for one in named.values() if one[0]]) == len(set(users)))


@given(
    named=configured,
    user=st.none() | st.sampled_from([*USERS, "ux"]),
    app_id=st.none() | st.sampled_from([*NAMES, "x"]),
    header=st.none() | st.sampled_from([*NAMES, "x"]),
    connector=st.sampled_from(["main", "other"]),
    action=st.sampled_from(["openLong", "buy"]),
)
def test_rights_are_those_of_a_simple_oracle(
    named: dict[str, Any],
    user: str | None,
    app_id: str | None,
    header: str | None,
    connector: str,
    action: str,
) -> None:
    strategies = {
        name: {"user": of_user, "connectors": connectors, "actions": actions}
        for name, (of_user, connectors, actions) in named.items()
    }
    headers = {"signalq-strategy": header} if header else None
    of = receive(
        Settings(strategies=strategies),
        user=user,
        app_id=app_id,
        headers=headers,
        connectorName=connector,
        action=action,
    )
    label = header or app_id
    who = [name for name, one in named.items() if one[0] is not None and one[0] == user]
    who = who or [name for name, one in named.items() if one[0] is None and name == label]
    may = not named
    for name in who:
        _, connectors, actions = named[name]
        may = (connectors is None or connector in connectors) and (actions is None or action in actions)
        assert of.strategy == name
    assert reason(judged(of)) == ("Deliver" if may else "unauthorized")


NAMED = Settings(connectors={"main": {"token": "t"}}, delivery={"connectors": "named"})


@pytest.mark.parametrize("name", ["mian", "Main", "other", "ma in"])
@pytest.mark.parametrize("fields", [{}, {"connectorToken": None}, {"action": "closeLong", "percent": "100"}])
def test_with_connectors_named_an_order_for_any_other_is_unauthorized_exits_too(
    name: str, fields: dict[str, Any]
) -> None:
    order = receive(NAMED, connectorName=name, **fields)
    assert judged(order) == DeadLetter("unauthorized", NOT_NAMED)
    later = receive(NAMED, connectorName=name, delaySeconds=60, **fields)
    assert judged(later) == DeadLetter("unauthorized", NOT_NAMED), "it is not even parked"


def test_with_connectors_named_a_named_one_goes_out_and_without_any_other_does() -> None:
    assert isinstance(judged(receive(NAMED)), Deliver)
    assert isinstance(judged(receive(Settings(), connectorName="mian")), Deliver)


def test_connectors_named_and_none_named_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no connector is: every order would be dead"):
        Settings(delivery={"connectors": "named"})


def test_after_a_reload_a_strategy_is_known_by_the_user_it_has_then() -> None:
    """What was worked out from the settings before must not hold on."""
    now = Settings(strategies={"old": {"user": "old-user"}})
    assert Rights.of(now).name_of("old-user", "-") == "old"
    applied = change(now, Settings(strategies={"new": {"user": "new-user"}})).settings
    assert Rights.of(applied).name_of("new-user", "-") == "new"
    assert Rights.of(applied).name_of("old-user", "-") is None
