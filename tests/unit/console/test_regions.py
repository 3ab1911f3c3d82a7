"""The regions that have changed: each by what it shows, and none by an age; and the contact with a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.orders.switch import Change, Switch
from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind
from signalq.ops.console.moment import contact as contact_module
from signalq.ops.console.moment.contact import Contact
from signalq.ops.console.moment.regions import changed
from signalq.ops.console.moment.snapshot import REGIONS, Buckets, Lane, Letters, Notice, Snapshot, Source, Spread

NOW_MS = 1_769_860_800_000
REPLICA = Replica("owner", "host-a:411", 0, 100, 3, {"signalq.orders": 2})
LANE = Lane("main", "signalq.orders.main", ready=3, ready_ms=NOW_MS, oldest_ms=NOW_MS, consumer="host-a:411")
BEFORE = Snapshot(
    number=1,
    now_ms=NOW_MS,
    ledger=Source(NOW_MS),
    broker=Source(NOW_MS),
    switch=Switch(3, {"beta": "paused"}),
    replicas=(REPLICA,),
    lanes=(LANE,),
    letters=Letters(2, 2, NOW_MS, 2),
    marks={"orders": (1, 2), "activity": 1},
)
CHANGES: dict[str, tuple[Mapping[str, Any], set[str]]] = {
    "a source goes away": ({"broker": Source(NOW_MS, NOW_MS, "refused", Kind.CONNECTION_REFUSED)}, {"status"}),
    "another ledger": ({"other_ledger": "it belongs to another"}, {"status"}),
    "the switch": ({"switch": Switch(4, {})}, {"status", "consumers"}),
    "who changed it": ({"changes": {"beta": Change(3, "beta", "paused", 1, "carol", "")}}, {"status"}),
    "a consumer falls silent": ({"replicas": (replace(REPLICA, silent_ms=9_000),)}, {"status", "consumers"}),
    "a consumer takes the switch up": ({"replicas": (replace(REPLICA, switch_seen=4),)}, {"consumers"}),
    "a lane goes to another": ({"lanes": (replace(LANE, consumer="host-b:7"),)}, {"lanes", "consumers"}),
    "an order waits": ({"lanes": (replace(LANE, ready=4),)}, {"lanes"}),
    "no answer about a lane": ({"lanes": (replace(LANE, is_old=True),)}, {"lanes"}),
    "a notice": ({"attention": (Notice("clock", "it is wrong", is_grave=False),)}, {"attention"}),
    "a letter": ({"letters": Letters(3, 3, NOW_MS, 3)}, {"status", "letters"}),
    "one letter for another": ({"letters": Letters(2, 2, NOW_MS, 2, newest=9)}, {"letters"}),
    "a note on a group": ({"marks": {**BEFORE.marks, "letters": 7}}, {"letters"}),
    "a delayed order": ({"scheduled": 1, "next_due_ms": NOW_MS}, {"status", "schedule"}),
    "one delayed order for another": ({"marks": {**BEFORE.marks, "schedule": 7}}, {"schedule"}),
    "an ending": ({"total": Buckets((1,), (0,))}, {"throughput"}),
    "the time of POSTs": ({"posts": Spread(80, 410, 9)}, {"throughput"}),
    "an order": ({"marks": {**BEFORE.marks, "orders": (2, 2)}}, {"orders"}),
    "an act": ({"marks": {**BEFORE.marks, "activity": 2}}, {"activity"}),
    "the clock": ({"ahead_ms": 3_200}, {"status"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_told_of_the_regions_that_show_it_and_of_no_other(what: str) -> None:
    given, regions = CHANGES[what]
    assert changed(BEFORE, replace(BEFORE, **given)) == regions
    assert changed(replace(BEFORE, **given), BEFORE) == regions


def test_ages_are_no_change() -> None:
    later = replace(
        BEFORE,
        number=2,
        now_ms=NOW_MS + 1_000,
        ahead_ms=3,
        ledger=Source(NOW_MS + 1_000),
        broker=Source(NOW_MS + 900),
        replicas=(replace(REPLICA, silent_ms=400, unacked={"signalq.orders": 3}),),
        lanes=(replace(LANE, ready_ms=NOW_MS + 900),),
    )
    assert changed(BEFORE, later) == frozenset()


def test_every_region_but_that_of_jobs_can_change_with_the_moment() -> None:
    told = {region for _given, regions in CHANGES.values() for region in regions}
    assert told == REGIONS - {"jobs"}


# ---- the contact with a source ----


def test_a_source_is_away_from_its_first_question_without_an_answer_until_the_next_answer() -> None:
    contact = Contact()
    assert contact.source(NOW_MS) == Source()
    contact.ask()
    contact.answer(NOW_MS)
    assert contact.source(NOW_MS + 500) == Source(NOW_MS)
    for failed_ms in (NOW_MS + 1_000, NOW_MS + 2_000):
        contact.ask()
        contact.fail(failed_ms, BrokerUnreachable("refused", kind=Kind.CONNECTION_REFUSED))
    away = contact.source(NOW_MS + 2_000)
    assert away == Source(NOW_MS, NOW_MS + 1_000, "refused", Kind.CONNECTION_REFUSED)
    assert away.is_away
    contact.ask()
    assert contact.source(NOW_MS + 3_000) == away
    contact.answer(NOW_MS + 3_000)
    assert contact.source(NOW_MS + 3_000) == Source(NOW_MS + 3_000)


def test_a_question_that_hangs_makes_a_source_away_and_its_late_answer_is_welcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contact, now_s = Contact(), [100.0]
    monkeypatch.setattr(contact_module.time, "monotonic", lambda: now_s[0])
    contact.ask()
    now_s[0] += contact_module.SILENT_S - 0.1
    assert not contact.source(NOW_MS).is_away
    now_s[0] += 0.1
    hung = contact.source(NOW_MS + 2_000)
    assert (hung.away_since_ms, hung.kind) == (NOW_MS, Kind.NO_ANSWER)
    now_s[0] += 5
    assert contact.source(NOW_MS + 7_000) == hung, "it says the same, however long it lasts"
    contact.answer(NOW_MS + 8_000)
    assert contact.source(NOW_MS + 8_000) == Source(NOW_MS + 8_000)


def test_a_source_that_nobody_asks_any_more_is_not_away_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    contact, now_s = Contact(), [100.0]
    monkeypatch.setattr(contact_module.time, "monotonic", lambda: now_s[0])
    contact.ask()
    contact.rest()
    now_s[0] += 60
    assert not contact.source(NOW_MS).is_away
