"""What may be done with a dead letter, by table."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.consumer.ledger.queries.replays import Standing
from signalq.consumer.orders.order import Identity, Order, Unreadable
from signalq.message.creation import Creation
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.rules import (
    Admit,
    Begin,
    Discard,
    Facts,
    GoOn,
    MovedOn,
    PublishAnyway,
    Refuse,
    ReplayTerms,
    ReplayVerdict,
    TakeBack,
    judge_by_ledger,
    judge_discard,
    judge_replay,
    without_option,
)
from tests.support.orders import STRATEGY, body, order

NOW_MS = time.time_ns() // 1_000_000
DAY_MS = 86_400_000
RETENTION_MS = 7 * DAY_MS
BROKEN = Unreadable("action: is missing", "main", Identity(STRATEGY, "id-1", None, None, b""))


def letter(**given: Any) -> Letter:
    known: dict[str, Any] = {
        "intent_id": "id-1",
        "generation": 1,
        "connector": "main",
        "strategy": STRATEGY,
        "action": "openLong",
        "client_order_id": None,
        "reason": "rejected",
        "detail": None,
        "attempts": 1,
        "http_status": 400,
        "dead_at": None,
        "is_ours": True,
        "properties": Basic.Properties(message_id="id-1"),
        "body": body(),
    }
    return Letter(**(known | given))


def stands(status: str = "dead", generation: int = 1, **given: Any) -> Standing:
    created = Creation(NOW_MS - 1000, NOW_MS - 1000, "signalq-created-ms")
    known: dict[str, Any] = {"reason": "rejected", "due_ms": None, "ended_ms": NOW_MS - 500, "replayed_ms": None}
    return Standing(number=1, generation=generation, version=4, status=status, created=created, **(known | given))


def found(**fields: object) -> Order:
    return order(body(**fields), message_id="id-1", received_ms=NOW_MS)


def judged(of: Letter, reading: Order | Unreadable, standing: Standing | None, *, force: bool = False) -> ReplayVerdict:
    return judge_replay(of, reading, standing, ReplayTerms(NOW_MS, RETENTION_MS, force))


def created_ago(milliseconds: int) -> dict[str, Any]:
    at_ms = NOW_MS - milliseconds
    return {"created": Creation(at_ms, at_ms, "signalq-created-ms")}


@pytest.mark.parametrize("reason", ["rejected", "expired", "exhausted", "invalid", "undeliverable", "superseded"])
def test_an_intent_that_is_dead_at_exactly_this_generation_begins_the_next(reason: str) -> None:
    standing = stands(reason=reason)
    assert judged(letter(reason=reason), found(), standing) == Begin(standing)


@pytest.mark.parametrize(
    ("of", "standing", "says"),
    [
        ({}, stands(reason="outcome-unknown"), "look on the platform first: --force"),
        ({}, replace(stands(), **created_ago(61_000)), "an open of 61 s ago, and 60 s are allowed: --force"),
        ({}, replace(stands(), **created_ago(3 * DAY_MS)), "an open of 3 d ago, and 60 s are allowed: --force"),
        ({}, stands(ended_ms=NOW_MS - RETENTION_MS - 1), "longer than ledger.retention_days ago: --force"),
        ({"properties": Basic.Properties(message_id="other")}, stands(), "belongs to another intent"),
    ],
)
def test_a_letter_that_a_person_has_to_decide_on_is_refused_with_the_reason_and_begins_with_force(
    of: dict[str, Any], standing: Standing, says: str
) -> None:
    refused = judged(letter(**of), found(), standing)
    assert isinstance(refused, Refuse)
    assert says in refused.why
    assert refused.doubt is not None
    assert "force" not in refused.doubt
    assert "force" not in without_option(refused.why)
    assert judged(letter(**of), found(), standing, force=True) == Begin(standing)


def test_the_doubt_about_opens_that_are_too_old_is_one_however_old_they_are() -> None:
    ages_ms = 61_000, 4 * 3_600_000, 3 * DAY_MS
    refused = [judged(letter(), found(), replace(stands(), **created_ago(age_ms))) for age_ms in ages_ms]
    assert {one.doubt for one in refused if isinstance(one, Refuse)} == {
        "it is an open that is too old: 60 s are allowed"
    }


@pytest.mark.parametrize(
    ("is_exit", "standing"),
    [
        (False, stands()),
        (False, replace(stands(), **created_ago(61_000))),
        (True, replace(stands(), **created_ago(61_000))),
        (False, stands(reason="outcome-unknown")),
        (False, stands(ended_ms=NOW_MS - RETENTION_MS - 1)),
        (False, stands("dying")),
        (False, stands("delivered")),
        (False, stands("dead", generation=0)),
        (False, stands("received", generation=2, replayed_ms=NOW_MS - 10)),
        (False, stands("sending", generation=2, replayed_ms=NOW_MS - 10)),
    ],
)
def test_by_the_ledger_alone_the_verdict_is_the_same(is_exit: bool, standing: Standing) -> None:
    by_body = judged(letter(), found(action="closeLong" if is_exit else "openLong"), standing)
    facts = Facts(is_exit, NOW_MS - standing.created.age_ms, 60.0)
    assert judge_by_ledger(1, facts, standing, ReplayTerms(NOW_MS, RETENTION_MS, force=False)) == by_body


def test_by_the_ledger_alone_an_intent_that_it_does_not_know_needs_a_person_and_a_foreign_letter_cant_go() -> None:
    terms = ReplayTerms(NOW_MS, RETENTION_MS, force=False)
    unknown, by_body = judge_by_ledger(1, None, None, terms), judged(letter(), found(), None)
    assert isinstance(unknown, Refuse)
    assert isinstance(by_body, Refuse)
    assert unknown.doubt == by_body.doubt is not None
    foreign = judge_by_ledger(None, Facts(False, 0, 60.0), stands(), terms)
    assert isinstance(foreign, Refuse)
    assert foreign.doubt is None


def test_an_exit_and_an_open_that_was_due_just_now_are_young_enough() -> None:
    old = replace(stands(), **created_ago(3_600_000))
    assert judged(letter(), found(action="closeLong"), old) == Begin(old)
    assert judged(letter(), found(delaySeconds=3590), old) == Begin(old)
    assert isinstance(judged(letter(), found(delaySeconds=3500), old), Refuse)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("standing", "says"),
    [
        (stands("dying"), "try again in a moment"),
        (stands("delivered"), "generation 1 is delivered: `signalq dead discard`"),
        (stands("received"), "generation 1 is received: `signalq dead discard`"),
        (stands("dead", generation=0), "knows only generation 0 of it: `signalq dead discard`"),
    ],
)
def test_an_intent_that_is_not_dead_in_the_ledger_is_refused_even_with_force(
    standing: Standing, says: str, force: bool
) -> None:
    refused = judged(letter(), found(), standing, force=force)
    assert isinstance(refused, Refuse)
    assert says in refused.why


def test_a_replay_that_was_begun_and_not_taken_up_goes_on() -> None:
    begun = stands("received", generation=2, replayed_ms=NOW_MS - 10)
    assert judged(letter(), found(), begun) == GoOn(begun)
    assert isinstance(judged(letter(), BROKEN, begun, force=True), Refuse), "it would be buried without its history"


@pytest.mark.parametrize("status", ["sending", "retrying", "dying", "delivered", "dead"])
def test_a_replay_that_a_consumer_has_taken_has_moved_on(status: str) -> None:
    later = stands(status, generation=2, replayed_ms=NOW_MS - 10)
    assert judged(letter(), found(), later) == MovedOn(f"generation 1 was replayed already; generation 2 is {status}")


def test_a_letter_that_the_ledger_does_not_know_is_published_only_with_force() -> None:
    order_found = found()
    assert isinstance(judged(letter(), order_found, None), Refuse)
    assert judged(letter(), order_found, None, force=True) == Admit(order_found)
    refused = judged(letter(), BROKEN, None)
    assert isinstance(refused, Refuse)
    assert "it would be invalid: action: is missing" in refused.why
    assert judged(letter(), BROKEN, None, force=True) == PublishAnyway("it would be invalid: action: is missing")


def test_a_letter_that_can_no_longer_be_read_is_refused_if_the_ledger_knows_it() -> None:
    refused = judged(letter(), BROKEN, stands(), force=True)
    assert refused == Refuse("it would be invalid: action: is missing")


def test_a_letter_that_no_message_can_replace_is_refused_even_with_force() -> None:
    for of, standing in (
        (letter(intent_id=None), None),
        (letter(intent_id="id-2"), None),
        (letter(strategy="x"), None),
    ):
        assert isinstance(judged(of, found(), standing, force=True), Refuse)
    for of in (letter(is_ours=False), letter(generation=None)):
        assert isinstance(judged(of, found(), stands(), force=True), Refuse)


def test_a_letter_is_thrown_away_but_where_its_replay_is_under_way() -> None:
    begun = stands("received", generation=2, replayed_ms=NOW_MS - 10)
    refused = judge_discard(letter(), begun, force=False)
    assert isinstance(refused, Refuse)
    assert refused.doubt is not None
    assert judge_discard(letter(), begun, force=True) == TakeBack(begun)
    for standing in (stands(), stands("delivered", generation=2), stands("dying"), None):
        assert judge_discard(letter(), standing, force=False) == Discard(standing)
    assert judge_discard(letter(is_ours=False), stands(), force=False) == Discard(None)


def test_copies_have_one_identity_and_each_letter_its_own_mark() -> None:
    first, copy = letter(dead_at="a", tag=1), letter(dead_at="b", tag=2)
    assert first.identity == copy.identity
    assert first.mark != copy.mark
    others = [letter(generation=2), letter(strategy="x"), letter(intent_id="y"), letter(body=b"{}")]
    assert len({first.identity, *(other.identity for other in others)}) == 5
    foreign = [letter(is_ours=False, place=number) for number in (0, 1)]
    assert foreign[0].identity != foreign[1].identity
    assert foreign[0].mark != foreign[1].mark
    assert "tag" not in json.dumps(first.row())


@pytest.mark.parametrize("standing", [None, stands()])
def test_a_letter_that_keeps_only_the_beginning_of_its_body_is_never_replayed(standing: Standing | None) -> None:
    """The beginning may well be an order, with a mebibyte of blanks behind it that was cut off."""
    cut = letter(properties=Basic.Properties(message_id="id-1", headers={"signalq-body-bytes": 2_000_000}))
    verdict = judged(cut, found(), standing, force=True)
    assert isinstance(verdict, Refuse)
    assert "only the beginning of its body was kept" in verdict.why
