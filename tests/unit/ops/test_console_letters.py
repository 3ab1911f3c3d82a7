"""Dead letters in the console: what an address says, how results are put together, what has to be typed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from multidict import MultiDict
from pydantic import SecretStr

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.queries.audit import Audited
from signalq.consumer.ledger.queries.letter_groups import BYS, Group
from signalq.consumer.ledger.queries.replays import Standing
from signalq.consumer.orders.state import REASONS
from signalq.consumer.orders.switch import ALL, Switch
from signalq.message.creation import Creation
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.gate.query import digest, many, number, read_fields
from signalq.ops.console.letters.dead_view import FILTERS, READERS, TO_DO, Asked
from signalq.ops.console.letters.job import Asked as AskedJob
from signalq.ops.console.letters.job import Chosen, Job
from signalq.ops.console.letters.job_work import as_the_console
from signalq.ops.console.letters.jobs import Jobs
from signalq.ops.console.letters.tally import LINES_MAX, OTHERS, Tally
from signalq.ops.console.moment.letter_notices import DIFFERS
from signalq.ops.console.moment.snapshot import Letters, Notice, Snapshot, Source
from signalq.ops.console.pages.dead import Queue, queue_of, warnings, why_not
from signalq.ops.console.pages.jobs import became, digits_of, lost, number_to_type
from signalq.ops.dead_letters.actions import LetterResult
from signalq.settings.connections import Broker
from signalq.settings.processes import Console
from signalq.settings.sections import Settings

BOB = Actor("bob", "console", "10.2.0.7")
MARK = "0123456789abcdef" * 2
DONE, ALREADY = LetterResult("replayed"), LetterResult("replayed already", "generation 2 is delivered")
OLD = LetterResult("refused", "it is an open of 4 h ago: --force replays it", doubt="it is an open that is too old")
BROKEN = LetterResult("refused", "it would be invalid: percent must be > 0")


# --- addresses and forms ---------------------------------------------------------------------------------------------


def asked(**given: str) -> Asked:
    """What an address with these parameters asks for."""
    return Asked.of(read_fields(MultiDict(given), READERS))


def test_an_address_says_the_whole_state_of_the_page_and_makes_the_same_address_again() -> None:
    given = {"by": "connector", "since": "1h", "reason": "rejected", "until": "77", "open": MARK, "after": "12.3"}
    found = asked(**given)
    assert (found.by, found.until, found.opened, found.after) == ("connector", 77, bytes.fromhex(MARK), (12, 3))
    assert found.scope(10_000_000).since_ms == 6_400_000
    assert {name: str(value) for name, value in found.parameters().items() if value is not None} == given
    assert "after" not in found.parameters(with_rows=False)
    assert found.is_filtered
    assert not asked(by="reason").is_filtered
    assert asked() == Asked()
    assert asked().filters == dict.fromkeys(FILTERS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("by", "strategy"),
        ("since", "2h"),
        ("until", "-1"),
        ("until", "9" * 17),
        ("open", MARK[:-1]),
        ("open", MARK.upper()),
        ("after", "12"),
        ("after", "12.x"),
        ("after", "1.2.3"),
        ("page", "2"),
    ],
)
def test_an_address_that_nobody_made_is_refused(name: str, value: str) -> None:
    with pytest.raises(Refused):
        asked(**{name: value})


def test_only_a_field_of_boxes_may_be_there_more_than_once() -> None:
    readers = {"group": many(digest), "until": number(0, 9)}
    other = MARK[::-1]
    found = read_fields(MultiDict([("group", MARK), ("until", "3"), ("group", other)]), readers)
    assert found == {"group": [bytes.fromhex(MARK), bytes.fromhex(other)], "until": 3}
    assert read_fields(MultiDict(), readers) == {"group": [], "until": None}
    with pytest.raises(Refused, match="until is given twice"):
        read_fields(MultiDict([("until", "3"), ("until", "3")]), readers)
    with pytest.raises(Refused, match="group: is no mark"):
        read_fields(MultiDict([("group", "x")]), readers)


def test_there_is_something_to_do_for_each_reason() -> None:
    assert set(TO_DO) == set(REASONS)


def test_a_groups_mark_tells_it_from_every_other_group() -> None:
    values = [(None, None, None), ("", None, None), ("a", "b", None), ("a", None, "b"), ("a, 'b'", None, None)]
    groups = [Group("cause", one) for one in values] + [Group("connector", ("a", "b")), Group("reason", ("a",))]
    assert len({group.mark for group in groups}) == len(groups)
    assert Group("cause", ("a", "b", "c"), count=3).mark == Group("cause", ("a", "b", "c"), "x", 7, 1).mark
    assert {len(Group(by, ("a",)).mark) for by in BYS[2:]} == {16}


def test_the_queue_differs_from_the_ledger_only_where_that_lasts() -> None:
    """The watch reads one now and the other then: while letters come, the two are of two moments."""
    jobs = Jobs(Settings)
    seen = Snapshot(letters=Letters(count=2, messages=2, ready=5), attention=[Notice("letters", "x", is_grave=False)])
    assert queue_of(seen, jobs) == Queue(ready=5, more=3, is_read=False, lasts=False)
    told = replace(seen, attention=[Notice(DIFFERS, "x", is_grave=False)])
    assert queue_of(told, jobs) == Queue(ready=5, more=3, is_read=False, lasts=True)
    assert queue_of(replace(told, letters=replace(told.letters, is_read=True)), jobs).is_read
    away = replace(told, broker=Source(why="it is away", away_since_ms=1))
    assert queue_of(away, jobs) == Queue(ready=None, more=0, is_read=False, lasts=True)


# --- results ---------------------------------------------------------------------------------------------------------


def tally(*results: LetterResult) -> Tally:
    """The tally of these results."""
    made = Tally()
    for row, result in enumerate(results):
        action = "openLong" if row % 2 else "a foreign word"
        fields = {"action": action, "connector": "main" if row % 3 else None}
        made.add(row, row.to_bytes(16, "big"), fields, result, is_open=bool(row % 2))
    return made


def test_results_are_put_together_by_fate_and_reason_and_each_letter_is_in_one_line() -> None:
    made = tally(BROKEN, OLD, DONE, DONE, OLD, ALREADY, DONE, LetterResult("not done", "no confirm"))
    assert [(line.fate, line.why, line.count) for line in made.lines] == [
        ("done", None, 3),
        ("already", None, 1),
        ("doubt", "it is an open that is too old", 2),
        ("refused", "it would be invalid: percent must be > 0", 1),
        ("failed", "no confirm", 1),
    ]
    done = made.lines[0]
    assert list(done.rows) == [2, 3, 6]
    assert bytes(done.marks) == b"".join(row.to_bytes(16, "big") for row in (2, 3, 6))
    assert done.actions == {"no order": 2, "openLong": 1}
    assert made.opens == {"main": 1}, "opens that may go, of a connector that is known: row 1"
    assert (made.count(), made.count("done", "doubt")) == (8, 5)
    assert made.line(done.number) is done
    assert made.line(99) is made.line(None) is None


def test_many_reasons_are_one_line_but_a_doubt_is_never_one_with_another() -> None:
    whys = [LetterResult("refused", f"it would be invalid: {number}") for number in range(LINES_MAX + 5)]
    doubts = [LetterResult("refused", "why", doubt=f"doubt {number}") for number in range(3)]
    made = tally(*whys, *doubts)
    assert {line.why: line.count for line in made.of("refused")}[OTHERS] == 5
    assert [line.why for line in made.of("doubt")] == ["doubt 0", "doubt 1", "doubt 2"]
    assert made.count() == LINES_MAX + 8


def verdict(action: str, *results: LetterResult) -> Job:
    """A verdict that is over."""
    made = Job("ab12-1", 1, AskedJob("verdict", BOB, Chosen(bytes(16)), action=action), lambda: None)  # type: ignore[arg-type]
    made.rows.close()
    made.tally = tally(*results)
    return made


def test_a_replay_is_typed_where_it_is_forced_and_a_discard_where_it_is_of_many() -> None:
    replay = verdict("replay", *[DONE] * 50, OLD, OLD)
    assert number_to_type(replay, []) is None
    assert number_to_type(replay, replay.tally.of("doubt")) == 2
    discarded = LetterResult("discarded")
    assert number_to_type(verdict("discard", *[discarded] * 20), []) is None
    assert number_to_type(verdict("discard", *[discarded] * 21), []) == 21
    few = verdict("discard", discarded, OLD)
    assert number_to_type(few, few.tally.of("doubt")) == 2


@pytest.mark.parametrize(
    ("typed", "digits"), [("27", "27"), (" 1,027 ", "1027"), ("1\u2009027", "1027"), (None, ""), ("27x", "27x")]
)
def test_a_number_may_be_typed_as_it_is_shown(typed: str | None, digits: str) -> None:
    assert digits_of(typed) == digits


def test_the_fate_of_a_letter_is_told_once_a_later_generation_is_there() -> None:
    created = Creation(1, 1, "timestamp")
    standing = Standing(1, 2, 5, "delivered", None, created, None, 99, 50)
    found = became({"generation": 1}, standing)
    assert found is not None
    assert (found.generation, found.status, found.ended_ms) == (2, "delivered", 99)
    dying = became({"generation": 1}, replace(standing, status="dying"))
    assert dying is not None
    assert dying.status == "retrying"
    assert became({"generation": 2}, standing) is became({"generation": None}, standing) is None
    assert became({"generation": 1}, None) is None


def test_an_interrupted_job_is_told_from_one_that_has_ended_by_its_row_of_the_audit() -> None:
    about = {"connector": "delta", "chosen": 30, "job": "ab12-7"}
    row = Audited(4, 1, "bob", "console", "10.2.0.7", "replay", json.dumps(about), 12, 0, "")
    found = lost(row)
    assert (found.key, found.chosen, found.has_ended) == ("ab12-7", 30, False)
    assert lost(replace(row, about=json.dumps(about | {"ended": True}))).has_ended
    assert lost(replace(row, about="{}")).chosen is None


# --- what stands in the way ------------------------------------------------------------------------------------------


def test_the_switch_is_told_where_it_would_let_opens_die_or_wait() -> None:
    opens = {"delta": 3, "main": 1, "beta": 2}
    switch = Switch(4, {"delta": "close-only", "beta": "paused"})
    assert [(one.connector, one.state, one.opens) for one in warnings(switch, opens)] == [
        ("beta", "paused", 2),
        ("delta", "close-only", 3),
    ]
    everything = Switch(5, {ALL: "close-only", "delta": "paused", "gamma": "paused"})
    assert [(one.connector, one.state, one.opens) for one in warnings(everything, opens)] == [
        ("delta", "paused", 3),
        (None, "close-only", 3),
    ]
    assert warnings(Switch(), opens) == []


def test_nothing_is_done_without_the_broker_or_with_another_ledger() -> None:
    assert why_not(Snapshot()) is None
    away = Source(away_since_ms=5, why="connection refused")
    assert why_not(Snapshot(broker=away)) == "the broker is away: connection refused"
    assert why_not(Snapshot(ledger=away)) == "the ledger is away: connection refused"
    assert "another ledger: of others" in (why_not(Snapshot(other_ledger="of others", broker=away)) or "")


def test_a_job_goes_to_the_broker_as_the_consoles_own_user_where_it_has_one() -> None:
    plain = Settings(broker=Broker(prefix="p"))
    assert as_the_console(plain) is plain
    url = SecretStr("amqp://desk:secret@127.0.0.1:5672/")
    own = as_the_console(plain.model_copy(update={"console": Console(broker_url=url)}))
    assert own.broker.url == url
    assert own.broker.prefix == "p"
    assert "secret" in own.secret_values()
