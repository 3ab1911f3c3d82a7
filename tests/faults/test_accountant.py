"""The accountant itself: it must see every offence, or the tests beside this one prove nothing."""

from __future__ import annotations

import time

import pytest

from tests.support.accountant import Account, Accountant, Letter, Meaning, Post, meaning
from tests.support.intents import Intent
from tests.support.webhook import Answer, Behaviour, CutOff, Hang, Webhook

DOUBT = "whether the webhook took it can't be known: the consumer ended while it was sending"
OPEN = {"action": "buy", "percent": "10"}
CLOSE_ALL = {"action": "closeLong", "percent": "100"}


def intent(key: str = "a", *, number: int = 1, fields: dict[str, str] = OPEN, **more: object) -> Intent:
    """A confirmed intent with a message_id, published a minute ago."""
    begun_ms = time.time_ns() // 1_000_000 - 60_000
    made = Intent(key, "main", number, fields, message_id=f"id-{key}", begun_ms=begun_ms, sent=1, confirmed=True)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def post(key: str = "a", means: Meaning = "taken", *, at_s: float = 0.0) -> Post:
    """A POST, by default now."""
    return Post(key, "main", time.time_ns() + round(at_s * 1e9), means)


def letter(key: str = "a", reason: str = "outcome-unknown", *, detail: str = DOUBT, generation: int = 1) -> Letter:
    """A dead letter."""
    return Letter(key, (f"id-{key}", generation), "main", "buy", reason, detail)


def account(intents: list[Intent], posts: list[Post], letters: list[Letter]) -> Account:
    """The balance of just these."""
    return Accountant(Webhook(), posts, letters).account(intents)


def offences(intents: list[Intent], posts: list[Post], letters: list[Letter]) -> list[str]:
    """The names of the offences found."""
    return [name for name, keys in account(intents, posts, letters).offences.items() if keys]


def test_a_delivered_dead_or_scheduled_order_is_not_lost_and_any_other_is() -> None:
    """Also what the webhook turned away or left open, and nobody told of."""
    later = intent("d", delay_s=3600.0)
    assert offences([intent("a"), intent("b"), later], [post("a")], [letter("b")]) == []
    assert account([later], [], []).scheduled == 1
    assert offences([intent()], [], []) == ["lost"]
    assert offences([intent()], [post(means="not taken")], []) == ["lost"]
    assert offences([intent()], [post(means="unknown")], []) == ["lost"]


def test_a_second_post_is_an_offence_unless_the_first_was_not_taken_or_it_can_do_no_harm() -> None:
    """Whatever was answered, but a clear no."""
    for first in ("taken", "unknown", "refused"):
        assert "doubled" in offences([intent()], [post(means=first), post()], []), first
    assert offences([intent()], [post(means="not taken"), post()], []) == []
    safe = account([intent(fields=CLOSE_ALL)], [post(), post()], [])
    assert safe.is_lawful
    assert safe.repeated_safely == 1


def test_equal_intents_are_told_apart_by_counting() -> None:
    """As many POSTs and letters as there are intents, no more and no fewer."""
    equal = [intent(number=number, message_id=None) for number in (1, 2)]
    assert offences(equal, [post(), post()], []) == []
    assert offences(equal, [post()], [letter()]) == []
    assert offences(equal, [post()], []) == ["lost"]
    assert offences(equal, [post(), post(), post()], []) == ["doubled"]


def test_an_unconfirmed_order_need_not_arrive_but_may_not_arrive_twice() -> None:
    """A producer without a message_id does not repeat it."""
    unsure = intent(message_id=None, confirmed=False)
    assert offences([unsure], [], []) == []
    assert offences([unsure], [post()], []) == []
    assert offences([unsure], [post(), post()], []) == ["doubled"]


def test_a_letter_that_says_not_delivered_of_what_was_delivered_is_a_second_ending() -> None:
    """In doubt it may be; a letter that came twice is one."""
    assert offences([intent()], [post()], [letter(reason="expired")]) == ["two endings"]
    assert offences([intent()], [post()], [letter()]) == []
    twice = account([intent()], [], [letter(), letter()])
    assert (twice.is_lawful, twice.letters_twice, twice.doubts) == (True, 1, 1)
    assert offences([intent()], [], [letter(), letter(generation=2)]) == ["two endings"]


def test_an_order_that_overtakes_another_of_its_connector_is_told() -> None:
    """By the first POST of each; a retry keeps its place."""
    pair = [intent("a", number=1), intent("b", number=2)]
    swapped = [post("b", at_s=-2), post("a", at_s=-1)]
    assert offences(pair, swapped, []) == ["out of order"]
    assert Accountant(Webhook(), swapped).account(pair, may_overtake={"a"}).is_lawful
    assert offences(pair, [post("a", "not taken", at_s=-3), post("a", at_s=-2), post("b", at_s=-1)], []) == []


def test_a_post_before_its_time_and_a_letter_that_tells_nothing_are_offences() -> None:
    """Due an hour from now; a doubt without its reason."""
    assert offences([intent(delay_s=3600.0)], [post()], []) == ["before its time"]
    assert offences([intent()], [post()], [letter(detail="sorry")]) == ["vague letters"]
    lame = letter(detail="it has no message_id, and an equal intent came before: it may be that one")
    assert offences([intent()], [post()], [lame]) == ["vague letters"]
    assert offences([intent(message_id=None)], [post()], [lame]) == []


def test_an_open_is_superseded_by_an_exit_behind_it_that_closes_it_and_by_nothing_else() -> None:
    """Whatever else it dies of, a letter may not say so."""
    opened = intent("a", number=1, fields={"action": "openLong", "percent": "10"})
    close, half = intent("b", number=2, fields=CLOSE_ALL), intent("b", number=2, fields=CLOSE_ALL | {"percent": "50"})
    letters = [letter("a", "superseded")]
    assert offences([opened, close], [post("b")], letters) == []
    account([opened, close], [post("b")], letters).check(doubts_max=0)
    assert offences([opened, half], [post("b")], letters) == ["superseded by nobody"]
    ahead = intent("b", number=0, fields=CLOSE_ALL)
    assert offences([ahead, opened], [post("b")], letters) == ["superseded by nobody"]


def test_an_order_that_nobody_published_spoils_the_account() -> None:
    """An order out of nowhere."""
    with pytest.raises(AssertionError, match="never published"):
        account([intent()], [post(), post("b")], [])


def test_check_fails_on_any_offence_on_more_doubts_than_allowed_and_on_an_unexpected_reason() -> None:
    """And says so with the table."""
    for intents, posts, letters in (
        ([intent()], [], []),
        ([intent()], [], [letter()]),
        ([intent()], [], [letter(reason="undeliverable")]),
    ):
        with pytest.raises(AssertionError, match="published"):
            account(intents, posts, letters).check(doubts_max=0)
    account([intent()], [], [letter(reason="rejected")]).check(doubts_max=0, reasons={"rejected"})


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (Answer(), "taken"),
        (Answer(204, b""), "unknown"),
        (Answer(429), "not taken"),
        (Answer(521), "not taken"),
        (Answer(503), "unknown"),
        (Answer(503, headers={"Retry-After": "1"}), "not taken"),
        (Answer(408), "unknown"),
        (Answer(500), "unknown"),
        (Answer(302), "refused"),
        (Answer(400), "refused"),
        (Hang(), "unknown"),
        (CutOff(), "unknown"),
    ],
)
def test_each_behaviour_of_the_webhook_means_what_the_contract_says(behaviour: Behaviour, expected: Meaning) -> None:
    """Its own table, not the consumer's."""
    assert meaning(behaviour) == expected
