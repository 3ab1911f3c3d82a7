"""The law, in the small: the real pipeline, rules, turns, slots, lanes and ledger, struck at every effect.

Broker, webhook, disk and time are a model (tests/law/model_*.py), so that a consumer can die, freeze, lose its
session or be taken over from between any two effects, in a time of its own. First every gate of one intent of each
kind is struck by every fault that can strike there, then every pair of gates by two; then hypothesis mixes several
intents and faults. A breach is told with the whole story, effect by effect.

LAW_THOROUGH=1 in the environment strikes more and mixes more (minutes instead of seconds).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.law.model_law import breaches
from tests.law.model_scenario import ANSWERS, ANYWHERE, BROKEN, OWN, Fault, Publish, Scenario
from tests.law.model_time import ModelLoop
from tests.law.model_world import World, play

THOROUGH = bool(os.environ.get("LAW_THOROUGH"))
MIXED_EXAMPLES = 5_000 if THOROUGH else 200
ON_A_FILE_EXAMPLES = 200 if THOROUGH else 12

AT_ONCE_MS = 100

OPEN = Publish("A", message_id="1")
UNNAMED = Publish("A")
ASTRAY = Publish("A", connector=OWN, astray=True)
CLOSE = Publish("A", action="closeLong", message_id="1")
CANCELED = (
    replace(OPEN, delay_s=1.5, client_order_id="c"),
    Publish("B", action="cancel", client_order_id="c", message_id="2"),
)
BETWEEN_ATTEMPTS = (OPEN, Publish("B", action="closeLong", message_id="2", at_s=0.6))

ONE_OF_EACH_KIND = {
    "an open": Scenario((OPEN,)),
    "an open that nobody dated": Scenario((replace(OPEN, dated="no"),)),
    "an open that is turned away once": Scenario((OPEN,), {"A": ("429",)}),
    "an open that finds nobody": Scenario((OPEN,), {"A": ("refused",)}),
    "an open that is refused": Scenario((OPEN,), {"A": ("400",)}),
    "an open that is refused and may be sent again": Scenario((replace(OPEN, connector="always"),), {"A": ("400",)}),
    "an open that ends in doubt": Scenario((OPEN,), {"A": ("time-out taken",)}),
    "an open that may be sent again": Scenario((replace(OPEN, connector="always"),), {"A": ("500 taken", "429")}),
    "an open that may be sent again by its id": Scenario(
        (replace(OPEN, connector="by-id", client_order_id="c"),), {"A": ("200 odd",)}
    ),
    "a delayed open": Scenario((replace(OPEN, delay_s=2.5),)),
    "a delayed open that nobody dated": Scenario((replace(OPEN, delay_s=1.5, dated="no"),)),
    "a delayed open dated in whole seconds": Scenario((replace(OPEN, delay_s=0.5, dated="timestamp"),)),
    "a close of all": Scenario((CLOSE,), {"A": ("500 taken", "429")}),
    "a close of a part": Scenario((replace(CLOSE, percent="50"),), {"A": ("500 taken",)}),
    "a cancel": Scenario((replace(CLOSE, action="cancel", client_order_id="c"),), {"A": ("time-out taken",)}),
    "an open without an id": Scenario((UNNAMED,)),
    "an open without an id that is turned away once": Scenario((UNNAMED,), {"A": ("429",)}),
    "a delayed open without an id": Scenario((replace(UNNAMED, delay_s=2.5),)),
    "a close without an id": Scenario((replace(UNNAMED, action="closeShort", percent="50"),)),
    "an open in the wrong lane": Scenario((replace(ASTRAY, message_id="1"),)),
    "an open without an id in the wrong lane": Scenario((ASTRAY,)),
    "two equal opens without an id": Scenario((UNNAMED, UNNAMED)),
    "the same intent twice": Scenario((OPEN, OPEN)),
    "two intents under one id": Scenario((OPEN, replace(OPEN, uid="B"))),
    "two intents in a row": Scenario((OPEN, replace(OPEN, uid="B", message_id="2")), {"A": ("429",)}),
    "a delayed open and a cancel of it": Scenario(CANCELED),
    "an open between attempts and a close of all behind it": Scenario(BETWEEN_ATTEMPTS, {"A": ("429",)}),
    "what can't be read": Scenario((Publish("A", unreadable=True),)),
    "what pretends to come from the ladder": Scenario((replace(OPEN, forged=True),)),
}

if THOROUGH:
    ONE_OF_EACH_KIND |= {
        "an open that is turned away until it is exhausted": Scenario((OPEN,), {"A": ("503 later",) * 3}),
        "two equal delayed opens without an id": Scenario((replace(UNNAMED, delay_s=1.5),) * 2),
        "the same delayed intent twice": Scenario((replace(OPEN, delay_s=1.5),) * 2),
    }

STRUCK_TWICE = (
    "an open",
    "an open without an id",
    *(
        [
            "an open that is turned away once",
            "an open that may be sent again",
            "an open that ends in doubt",
            "a close of all",
        ]
        if THOROUGH
        else []
    ),
    *(["two equal opens without an id", "two intents in a row", "a delayed open without an id"] if THOROUGH else []),
)
STRUCK_WHILE_PARKING = ("a delayed open", "a delayed open without an id")


@pytest.fixture
def loop() -> Iterator[ModelLoop]:
    """A loop on the model's time."""
    made = ModelLoop()
    yield made
    made.close()


def check(scenario: Scenario, loop: ModelLoop, ledger_url: str = "") -> World:
    """Play it; the law holds, or the story is told."""
    world = play(scenario, loop, ledger_url)
    found = breaches(world)
    if found:
        story = "\n".join(world.story)
        raise AssertionError("\n".join(["", *found, "", f"{scenario}", "", story]))
    return world


def faults_at(step: int, local: tuple[str, ...]) -> list[Fault]:
    """Every fault that can strike at a gate."""
    found = [
        Fault(step, "crash"),
        Fault(step, "lose"),
        Fault(step, "takeover"),
        Fault(step, "takeover", after_s=5, deaf=True),
        *(Fault(step, kind) for kind in local),
    ]
    if "unwritable" in local:
        found.append(Fault(step, "unwritable", after_s=40))
    return found


@pytest.mark.parametrize("kind", ONE_OF_EACH_KIND)
def test_the_law_holds_wherever_one_fault_strikes(kind: str, loop: ModelLoop) -> None:
    scenario = ONE_OF_EACH_KIND[kind]
    gates = check(scenario, loop).gates
    for step, local in enumerate(gates, 1):
        for fault in faults_at(step, local):
            assert check(scenario.struck_by(fault), loop).struck == [fault.kind]


@pytest.mark.parametrize("kind", STRUCK_TWICE)
def test_the_law_holds_wherever_a_second_crash_follows_a_first(kind: str, loop: ModelLoop) -> None:
    scenario = ONE_OF_EACH_KIND[kind]
    for step in range(1, len(check(scenario, loop).gates) + 1):
        strike_again(scenario.struck_by(Fault(step, "crash", after_s=0)), Fault(0, "crash", after_s=4), loop)


@pytest.mark.parametrize("kind", ["an open without an id", "a close without an id"])
def test_the_law_holds_wherever_a_commit_is_unheard_in_a_drain(kind: str, loop: ModelLoop) -> None:
    """What has ended without our knowledge is in doubt, though all that we know to have ended is acknowledged."""
    scenario = ONE_OF_EACH_KIND[kind]
    for step in range(1, len(check(scenario, loop).gates) + 1):
        strike_again(scenario.struck_by(Fault(step, "drain")), Fault(0, "commit unheard"), loop)


@pytest.mark.parametrize("kind", STRUCK_WHILE_PARKING)
@pytest.mark.parametrize("first", ["publish lost", "confirm lost"])
def test_the_law_holds_wherever_the_session_is_lost_while_a_publish_is_repeated(
    kind: str, first: str, loop: ModelLoop
) -> None:
    slowly = replace(ONE_OF_EACH_KIND[kind], jitter=1.0)  # it has reconnected before it publishes again
    for step, local in enumerate(check(slowly, loop).gates, 1):
        if first in local:
            strike_again(slowly.struck_by(Fault(step, first)), Fault(0, "lose"), loop)


@pytest.mark.parametrize("kind", ["an open", "a cancel"])
def test_the_law_holds_wherever_another_takes_over_after_handling_has_failed(kind: str, loop: ModelLoop) -> None:
    scenario = ONE_OF_EACH_KIND[kind]
    for step, local in enumerate(check(scenario, loop).gates, 1):
        if "bug" in local:
            strike_again(scenario.struck_by(Fault(step, "bug", times=1)), Fault(0, "takeover"), loop)


def test_an_undated_open_that_was_being_posted_when_its_consumer_died_is_in_doubt_and_not_expired(
    loop: ModelLoop,
) -> None:
    undated = ONE_OF_EACH_KIND["an open that nobody dated"]
    for step in range(1, len(check(undated, loop).gates) + 1):
        check(undated.struck_by(Fault(step, "crash", after_s=40)), loop)


@pytest.mark.parametrize("behind", ["closeLong", "cancelAll"])
def test_an_open_between_attempts_is_superseded_and_the_exit_behind_it_goes_at_once(
    behind: str, loop: ModelLoop
) -> None:
    close = replace(BETWEEN_ATTEMPTS[1], action=behind)
    world = check(Scenario((OPEN, close), {"A": ("429",)}), loop)
    assert [(row.status, row.reason) for row in world.rows] == [("dead", "superseded"), ("delivered", None)]
    opened, closed = world.posts
    assert (opened.uid, closed.uid) == ("A", "B")
    came_ms = next(published.at_ms for published in world.published if published.publish is close)
    assert closed.begun_ms - came_ms < AT_ONCE_MS


@pytest.mark.parametrize(
    "behind",
    [
        {"action": "closeShort"},
        {"percent": "50"},
        {"limit": "1"},
        {"connector": "always"},
        {"action": "cancel", "client_order_id": "c"},
        {"action": "openShort"},
        {"delay_s": 5},
        {"message_id": "1"},
    ],
    ids=str,
)
def test_nothing_else_behind_it_ends_the_waiting_of_an_open(behind: dict[str, Any], loop: ModelLoop) -> None:
    other = replace(BETWEEN_ATTEMPTS[1], **behind)
    world = check(Scenario((OPEN, other), {"A": ("429",)}), loop)
    assert [post.uid for post in world.posts].count("A") == 2
    assert all(row.reason != "superseded" for row in world.rows)


@pytest.mark.parametrize("answers", [(), ("429",), ("429", "429")], ids=str)
@pytest.mark.parametrize("at_s", [2.999, 3.0, 3.004, 3.011, 3.02, 3.1])
def test_a_second_publish_that_is_not_due_leaves_the_first_one_alone_while_that_is_tried(
    at_s: float, answers: tuple[str, ...], loop: ModelLoop
) -> None:
    delayed = replace(OPEN, delay_s=3)
    world = check(Scenario((delayed, replace(delayed, at_s=at_s)), {"A": answers}), loop)
    assert [row.status for row in world.rows] == ["delivered"]
    assert len(world.posts) == len(answers) + 1


@pytest.mark.parametrize("answers", [(), ("429",)], ids=str)
@pytest.mark.parametrize("delay_s", [1.10, 1.11, 1.12, 1.15])
def test_an_order_that_is_parked_so_slowly_that_its_copy_is_tried_leaves_that_alone(
    delay_s: float, answers: tuple[str, ...], loop: ModelLoop
) -> None:
    slowly = Scenario((replace(OPEN, delay_s=delay_s),), {"A": answers}, jitter=1.0)
    for step, local in enumerate(check(slowly, loop).gates, 1):
        if "confirm lost" in local:
            world = check(slowly.struck_by(Fault(step, "confirm lost")), loop)
            assert [row.status for row in world.rows] == ["delivered"]
            assert len(world.posts) == len(answers) + 1


def test_an_order_without_an_id_that_is_canceled_while_it_is_parked_again_stays_canceled(loop: ModelLoop) -> None:
    delayed = replace(UNNAMED, action="closeLong", connector="always", delay_s=1.5)
    cancel = Publish("B", action="cancelAll", connector="always", message_id="1", at_s=0.3)
    scenario = Scenario((delayed, cancel, Publish("C", message_id="2")), concurrency=1)
    ended = set()
    for step in range(1, 25):
        world = check(scenario.struck_by(Fault(step, "crash", after_s=0)), loop)
        ended |= {row.status for row in world.rows if row.action == "closeLong"}
    assert ended == {"canceled"}


def test_an_exit_without_an_id_that_was_canceled_and_comes_again_is_posted_where_repeating_is_safe(
    loop: ModelLoop,
) -> None:
    delayed = replace(UNNAMED, action="closeLong", delay_s=3)
    cancel = Publish("B", action="cancelAll", message_id="1", at_s=0.3)
    scenario = Scenario((delayed, cancel), jitter=1.0)
    parking = next(step for step, local in enumerate(check(scenario, loop).gates, 1) if "confirm lost" in local)
    first = Fault(parking, "confirm lost")
    posted = set()
    for step in range(parking + 1, len(check(scenario.struck_by(first), loop).gates) + 1):
        world = check(scenario.struck_by(first, Fault(step, "lose")), loop)
        posted.add("".join(post.uid for post in world.posts))
    assert posted >= {"B", "BA"}


def test_a_producer_that_says_its_publishes_are_our_copies_has_one_copy_of_each(loop: ModelLoop) -> None:
    forged = replace(OPEN, delay_s=1.5, forged=True)
    world = check(Scenario((forged, forged, replace(forged, at_s=0.6))), loop)
    assert len(world.posts) == 1
    assert len(world.told) == 3


def test_an_exit_without_an_id_whose_ack_was_lost_is_posted_again_behind_what_followed_it(loop: ModelLoop) -> None:
    unnamed = Publish("A", action="cancel", client_order_id="c")
    scenario = Scenario((unnamed, Publish("B", message_id="1")), concurrency=1)
    posted = set()
    for step in range(1, len(check(scenario, loop).gates) + 1):
        world = check(scenario.struck_by(Fault(step, "lose")), loop)
        posted.add("".join(post.uid for post in world.posts))
    assert posted >= {"AB", "ABA"}


def test_an_ending_that_was_not_told_is_told_although_handling_the_order_again_fails(loop: ModelLoop) -> None:
    """An order without an id, whose consumer died between the record of its ending and the event."""
    refused = Scenario((replace(OPEN, message_id=None),), {"A": ("400",)})
    for step in range(1, len(check(refused, loop).gates) + 1):
        died = refused.struck_by(Fault(step, "crash", after_s=0))
        for later, local in enumerate(check(died, loop).gates[step:], step + 1):
            if "bug" in local:
                check(died.struck_by(*died.faults, Fault(later, "bug", times=1)), loop)


@pytest.mark.parametrize("at_s", [1.0, 2.0, 2.9])
def test_an_equal_order_does_not_take_the_place_of_a_parked_one_whose_message_carries_its_id(
    at_s: float, loop: ModelLoop
) -> None:
    """Both without an id, delayed alike. When their consumer dies, the first one is on the wire, as its own copy comes
    again behind the second, which nobody has looked at yet.
    """
    delayed = replace(OPEN, message_id=None, delay_s=3)
    equal = Scenario((delayed, replace(delayed, at_s=at_s)), {"A": ("429",)}, window=1)
    for step in range(1, len(check(equal, loop).gates) + 1):
        check(equal.struck_by(Fault(step, "crash", after_s=0)), loop)
        check(equal.struck_by(Fault(step, "takeover")), loop)


def test_an_equal_order_does_not_take_the_place_of_a_forwarded_one_whose_message_carries_its_id(
    loop: ModelLoop,
) -> None:
    """Both without an id, in a lane that is not their connector's. When their consumer dies, or only its session does,
    the first one is forwarded, and waits in its lane behind an order that is tried again.
    """
    ahead = Publish("B", connector=OWN, message_id="1")
    equal = Scenario((ahead, ASTRAY, replace(ASTRAY, at_s=0.5)), {"B": ("429",)})
    for step in range(1, len(check(equal, loop).gates) + 1):
        for kind in ("crash", "lose", "takeover", "drain"):
            check(equal.struck_by(Fault(step, kind, after_s=0)), loop)


def strike_again(scenario: Scenario, fault: Fault, loop: ModelLoop) -> None:
    """A second fault at every gate after the first."""
    (first,) = scenario.faults
    for step in range(first.step + 1, len(check(scenario, loop).gates) + 1):
        check(scenario.struck_by(first, replace(fault, step=step)), loop)


# --- several intents and faults at random -------------------------------------------------------------------------

ACTIONS = st.sampled_from(["openLong", "openLong", "openShort", "closeLong", "closeShort", "cancelAll", "cancel"])
DELAYS_S = st.sampled_from([0, 0, 0, 0, 0.3, 1.5, 3])


@st.composite
def publishes(draw: st.DrawFn) -> tuple[Publish, ...]:
    """One to five publishes; some repeat an earlier one, with its id or without any, some clash with it."""
    made: list[Publish] = []
    for number in range(draw(st.integers(1, 5))):
        at_s = round(draw(st.sampled_from([0, 0, 0.3, 1, 2.5])) * number, 1)
        relation = draw(st.sampled_from(["new", "new", "new", "again", "clash"])) if made else "new"
        earlier = draw(st.sampled_from(made)) if made else None
        if earlier is not None and relation != "new":
            is_clash = relation == "clash" and earlier.message_id is not None
            made.append(replace(earlier, uid=f"{earlier.uid}'" if is_clash else earlier.uid, at_s=at_s))
            continue
        action = draw(ACTIONS)
        made.append(
            Publish(
                uid="ABCDE"[number],
                action=action,
                connector=draw(st.sampled_from(["never", "never", "never", "always", "by-id"])),
                message_id=draw(st.sampled_from([str(number), str(number), None])),
                delay_s=draw(DELAYS_S),
                at_s=at_s,
                dated=draw(st.sampled_from(["ms", "ms", "ms", "timestamp", "no"])),
                percent=draw(st.sampled_from(["100", "50"])),
                client_order_id="c" if action == "cancel" else draw(st.sampled_from([None, "c"])),
                unreadable=draw(st.integers(0, 9)) == 9,
                forged=draw(st.integers(0, 9)) == 9,
            )
        )
    return tuple(made)


ANSWERS_IN_TURN = st.lists(st.sampled_from([*ANSWERS, *BROKEN]), max_size=3).map(tuple)
FAULTS = st.lists(
    st.builds(
        Fault,
        step=st.integers(1, 120),
        kind=st.sampled_from(
            [*ANYWHERE, "crash", "publish lost", "confirm lost", "unwritable", "commit unheard", "bug"]
        ),
        after_s=st.sampled_from([0, 1, 1, 5, 40]),
        deaf=st.booleans(),
        times=st.integers(1, 3),
    ),
    max_size=3,
    unique_by=lambda fault: fault.step,
).map(tuple)
SCENARIOS = st.builds(
    Scenario,
    publishes=publishes(),
    answers=st.dictionaries(st.sampled_from("ABCDE"), ANSWERS_IN_TURN, max_size=3),
    faults=FAULTS,
    window=st.sampled_from([1, 2, 1000]),
    concurrency=st.sampled_from([1, 4]),
    jitter=st.sampled_from([0.0, 0.5, 1.0]),
)


@hypothesis_settings(max_examples=MIXED_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(SCENARIOS)
def test_the_law_holds_for_several_intents_whatever_breaks(scenario: Scenario) -> None:
    loop = ModelLoop()
    try:
        check(scenario, loop)
    finally:
        loop.close()


@hypothesis_settings(max_examples=ON_A_FILE_EXAMPLES, suppress_health_check=list(HealthCheck))
@given(SCENARIOS)
def test_the_law_holds_with_the_ledger_on_its_real_file(scenario: Scenario) -> None:
    loop = ModelLoop()
    try:
        with tempfile.TemporaryDirectory(prefix="signalq-law-") as folder:
            check(scenario, loop, f"sqlite+aiosqlite:///{Path(folder) / 'ledger.db'}")
    finally:
        loop.close()
