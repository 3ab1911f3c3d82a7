"""Attention: each notice appears with its condition, goes with it, and says what is to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml

from signalq.consumer.ledger.queries.present import LetterGroup
from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.orders.state import REASONS
from signalq.consumer.orders.switch import ALL, Change, Switch
from signalq.kinds import Kind
from signalq.ops.console.moment import lane_notices, letter_notices, notices
from signalq.ops.console.moment.attention import LATE_COUNT_MIN, SILENT_TOLD_MS, TAKEN_UP_MS, Facts, attend
from signalq.ops.console.moment.lane_notices import BACKLOG_MIN, BACKS_OFF_MIN, LASTS_MS
from signalq.ops.console.moment.letter_notices import ADVICE, DIFFERS_MS, WAIT_MS
from signalq.ops.console.moment.snapshot import Lane, Letters, Notice, Snapshot, Source, Spread
from signalq.settings.sections import Settings
from tests.unit.docs.test_docs import ROOT

NOW_MS = 1_769_860_800_000
SETTINGS = Settings.model_validate({"connectors": {"main": {"open_max_age_s": 30}, "beta": {}}})
RULES = ROOT / "deploy" / "alerts" / "signalq.rules.yaml"


def replica(name: str = "host-a:411", silent_ms: int = 100, seen: int = 0) -> Replica:
    return Replica(f"owner of {name}", name, 0, silent_ms, seen, {})


def lane(connector: str | None = "main", **given: Any) -> Lane:
    queue = "signalq.orders" if connector is None else f"signalq.orders.{connector}"
    return Lane(connector, queue, **given)


def group(reason: str = "rejected", count: int = 2, **given: Any) -> LetterGroup:
    usual: dict[str, Any] = {"connector": "main", "http_status": None, "first_ms": NOW_MS - 9_000, "last_ms": NOW_MS}
    return LetterGroup(reason, count=count, **usual | given)


WELL = Snapshot(
    number=7,
    now_ms=NOW_MS,
    ledger=Source(NOW_MS),
    broker=Source(NOW_MS),
    replicas=(replica(),),
    lanes=(lane(ready=3, held=1, out=1, consumer="host-a:411"), lane("beta", ready=0), lane(None, ready=0)),
    letters=Letters(2, 2, NOW_MS - 60_000, 2),
)
UNREAD = lane(ready=14, is_consumed=False)
FAILING = lane(failures=BACKS_OFF_MIN, retrying=1, why="HTTP 503", oldest_ms=NOW_MS - 4)
PAUSED = Change(18, "beta", "paused", NOW_MS - 60_000, "carol", "token leaked")
AWAY = Source(NOW_MS - 90_000, NOW_MS - 84_000, "connection refused", Kind.CONNECTION_REFUSED)


def switched(change: Change, **further: Any) -> dict[str, Any]:
    """The snapshot's fields after a change of the switch that every consumer has taken up."""
    switch = Switch(change.number, {change.connector: change.state})
    replicas = (replica(seen=change.number),)
    return {"switch": switch, "changes": {change.connector: change}, "replicas": replicas, **further}


@dataclass(frozen=True)
class Case:
    """A condition, and the notice that it makes; `not_yet` is the like of it that makes none."""

    sentence: str
    is_grave: bool
    given: Mapping[str, Any] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    on: str = ""
    link: str = ""
    since_ms: int | None = None
    not_yet: Mapping[str, Any] = field(default_factory=dict)
    no_facts: Facts = field(default_factory=Facts)


CASES: dict[str, Case] = {
    "ledger": Case(
        "the ledger can't be read: connection refused",
        True,
        {"ledger": AWAY},
        link="/check",
        since_ms=AWAY.away_since_ms,
    ),
    "broker": Case("RabbitMQ can't be asked: connection refused", True, {"broker": AWAY}, since_ms=AWAY.away_since_ms),
    "other-ledger": Case("the lanes belong to another", True, {"other_ledger": "the lanes belong to another"}),
    "doubt:outcome-unknown:main:None": Case(
        "2 orders may have gone out, and nobody knows",
        True,
        facts=Facts(doubts=[group("outcome-unknown")]),
        on="main",
        link="/dead?reason=outcome-unknown&connector=main",
        since_ms=NOW_MS - 9_000,
        no_facts=Facts(fresh=[group("outcome-unknown")]),
    ),
    "no-consumer": Case(
        "no consumer runs, and 4 orders wait",
        True,
        {"replicas": (), "last_consumer": ("host-a:411", NOW_MS - LASTS_MS)},
        on="host-a:411",
        since_ms=NOW_MS - LASTS_MS,
        not_yet={"replicas": (), "last_consumer": ("host-a:411", NOW_MS - LASTS_MS + 1)},
    ),
    "silent:owner of host-b:771": Case(
        "a consumer is silent; 1 other takes its lanes over",
        False,
        {"replicas": (replica(), replica("host-b:771", LASTS_MS))},
        on="host-b:771",
        since_ms=NOW_MS - LASTS_MS,
        not_yet={"replicas": (replica(), replica("host-b:771", LASTS_MS - 1), replica("c", SILENT_TOLD_MS))},
    ),
    "switch-seen:owner of host-a:411": Case(
        "a consumer acts by change 17 of the switch, and the last is 18",
        True,
        switched(PAUSED, replicas=(replica(seen=17),)),
        on="host-a:411",
        since_ms=PAUSED.at_ms,
        not_yet=switched(replace(PAUSED, at_ms=NOW_MS - TAKEN_UP_MS + 1), replicas=(replica(seen=17),)),
    ),
    "unread:signalq.orders.main": Case(
        "nobody consumes a lane in which 14 orders wait",
        True,
        {"lanes": (UNREAD,)},
        Facts(unread_since_ms={UNREAD.queue: NOW_MS - LASTS_MS}),
        on="main",
        link="/lanes/main",
        since_ms=NOW_MS - LASTS_MS,
        not_yet={"lanes": (UNREAD,)},
        no_facts=Facts(unread_since_ms={UNREAD.queue: NOW_MS - LASTS_MS + 1}),
    ),
    "unread-due": Case("3 orders that fell due wait, and nobody consumes their queue", True, facts=Facts(due_unread=3)),
    "backoff:main": Case(
        "3 POSTs in a row failed: HTTP 503",
        False,
        {
            "lanes": (
                lane(failures=BACKS_OFF_MIN, retrying=1, why="HTTP 503", oldest_ms=NOW_MS - 4),
                lane("beta", out=1),
            )
        },
        on="main",
        link="/lanes/main",
        since_ms=NOW_MS - 4,
        not_yet={"lanes": (lane(failures=BACKS_OFF_MIN - 1, retrying=1), lane("beta", failures=BACKS_OFF_MIN))},
    ),
    "webhook": Case(
        "the webhook takes no orders: 2 connectors wait for it",
        True,
        {"lanes": tuple(lane(name, failures=4, retrying=1) for name in ("main", "beta"))},
        not_yet={"lanes": (*(lane(name, failures=4, retrying=1) for name in ("main", "beta")), lane("well", out=1))},
    ),
    "backlog:signalq.orders.main": Case(
        "orders pile up: 1,200 and more wait on the broker",
        False,
        {"lanes": (lane(ready=1_234),)},
        on="main",
        not_yet={"lanes": (lane(ready=BACKLOG_MIN),)},
    ),
    "switch:": Case(
        "all connectors are paused, by carol: token leaked",
        False,
        switched(replace(PAUSED, connector=ALL)),
        since_ms=PAUSED.at_ms,
        not_yet={"changes": {ALL: replace(PAUSED, connector=ALL, state="open", number=0)}},
    ),
    "switch:beta": Case(
        "paused, by carol: token leaked",
        False,
        switched(PAUSED),
        on="beta",
        link="/lanes/beta",
        since_ms=PAUSED.at_ms,
        not_yet=switched(replace(PAUSED, state="close-only")),
    ),
    "due:main": Case(
        "close-only: 9 opens that fall due within the hour will die forbidden",
        False,
        {"lanes": (lane(state="close-only", opens_due=9, change=replace(PAUSED, connector="main")),)},
        on="main",
        link="/schedule?connector=main",
        since_ms=PAUSED.at_ms,
        not_yet={"lanes": (lane(state="close-only"), lane("beta", opens_due=9))},
    ),
    "fresh:rejected:main:401": Case(
        "31 letters in 10 min: rejected, HTTP 401",
        False,
        facts=Facts(fresh=[group(count=31, http_status=401)]),
        on="main",
        link="/dead?reason=rejected&connector=main",
        since_ms=NOW_MS - 9_000,
    ),
    "fresh:undeliverable:main:None": Case(
        "1 letter in 10 min: undeliverable",
        True,
        facts=Facts(fresh=[group("undeliverable", 1)]),
        on="main",
        since_ms=NOW_MS - 9_000,
    ),
    "letters": Case(
        "2 letters wait for somebody",
        False,
        {"letters": Letters(2, 2, NOW_MS - WAIT_MS, 2)},
        link="/dead",
        since_ms=NOW_MS - WAIT_MS,
        not_yet={"letters": Letters(2, 2, NOW_MS - WAIT_MS + 1, 2)},
    ),
    "letters-differ": Case(
        "the queue of dead letters has 2 more than the ledger knows",
        False,
        facts=Facts(differs=(2, NOW_MS - DIFFERS_MS)),
        link="/dead",
        since_ms=NOW_MS - DIFFERS_MS,
        no_facts=Facts(differs=(2, NOW_MS - DIFFERS_MS + 1)),
    ),
    "late": Case(
        "one delayed order in a hundred is POSTed more than 3 s late",
        False,
        {"late": Spread(5, 3_400, LATE_COUNT_MIN)},
        link="/schedule",
        not_yet={"late": Spread(5, 3_400, LATE_COUNT_MIN - 1)},
    ),
    "clock": Case(
        "this machine's clock is 3.2 s ahead of the ledger's", False, {"ahead_ms": 3_200}, not_yet={"ahead_ms": -1_000}
    ),
}


def found(given: Mapping[str, Any] | None = None, facts: Facts | None = None) -> dict[str, Notice]:
    now = replace(WELL, **(given or {}))
    noticed = attend(now, facts or Facts(), SETTINGS)
    assert len({notice.key for notice in noticed}) == len(noticed), "each has a key of its own"
    return {notice.key: notice for notice in noticed}


def test_while_all_is_well_nothing_needs_anybody() -> None:
    assert found() == {}


@pytest.mark.parametrize("key", CASES)
def test_a_notice_comes_with_its_condition_and_goes_with_it(key: str) -> None:
    case = CASES[key]
    notice = found(case.given, case.facts)[key]
    assert (notice.sentence, notice.is_grave, notice.on) == (case.sentence, case.is_grave, case.on)
    assert notice.since_ms == case.since_ms
    if case.link:
        assert case.link in [path for _words, path in notice.links]
    assert key not in found(case.not_yet, case.no_facts)


def test_the_grave_things_come_first() -> None:
    facts = Facts(doubts=[group("outcome-unknown")], fresh=[group()], unread_since_ms={UNREAD.queue: 0})
    given = switched(PAUSED, lanes=(UNREAD,))
    grave = [notice.is_grave for notice in found(given, facts).values()]
    assert grave == sorted(grave, reverse=True)
    assert grave.count(True) == grave.count(False) == 2


def test_without_any_consumer_single_lanes_are_not_told_of() -> None:
    facts = Facts(unread_since_ms={UNREAD.queue: 0}, due_unread=3)
    assert list(found({"lanes": (UNREAD,), "replicas": ()}, facts)) == ["no-consumer"]


def test_while_the_broker_is_away_nobody_says_what_waits_there() -> None:
    facts = Facts(unread_since_ms={UNREAD.queue: 0}, due_unread=3)
    assert list(found({"lanes": (UNREAD, lane("beta", ready=9_000)), "broker": AWAY}, facts)) == ["broker"]


def test_before_the_ledger_was_ever_read_nobody_says_that_no_consumer_runs() -> None:
    assert list(found({"ledger": replace(AWAY, seen_ms=None), "replicas": ()})) == ["ledger"]


def test_a_ledger_of_another_version_is_no_reason_to_stop_the_consumers() -> None:
    notice = found({"ledger": replace(AWAY, kind=Kind.LEDGER_VERSION)})["ledger"]
    assert "stop the consumers" not in notice.advice
    assert "stop the consumers" in found({"ledger": AWAY})["ledger"].advice


def test_the_time_after_which_opens_expire_is_that_of_the_connector() -> None:
    facts = Facts(unread_since_ms={UNREAD.queue: 0, "signalq.orders": 0})
    shared = lane(None, ready=1, is_consumed=False)
    advice = {key: notice.advice for key, notice in found({"lanes": (UNREAD, shared)}, facts).items()}
    assert "after 30 s" in advice["unread:signalq.orders.main"]
    assert "after 60 s" in advice["unread:signalq.orders"]


def test_a_queue_with_fewer_letters_than_the_ledger_says_is_told_so() -> None:
    notice = found(facts=Facts(differs=(-3, 0)))["letters-differ"]
    assert notice.sentence == "the queue of dead letters has 3 fewer than the ledger says"


def test_of_many_of_one_kind_the_first_few_are_told_one_by_one() -> None:
    lanes = tuple(lane(f"lane-{number}", ready=1, is_consumed=False) for number in range(40))
    noticed = found({"lanes": lanes}, Facts(unread_since_ms=dict.fromkeys((one.queue for one in lanes), 0)))
    assert len(noticed) == notices.NAMED_MAX + 1
    (more,) = [notice for notice in noticed.values() if not notice.on]
    assert more.sentence == f"{40 - notices.NAMED_MAX} further lanes are not consumed"
    assert more.is_grave


def test_every_reason_has_an_advice() -> None:
    assert set(ADVICE) == set(REASONS)
    strange = found(facts=Facts(fresh=[group("strange"), group(None)]))  # type: ignore[arg-type]
    assert all(notice.advice for notice in strange.values())


def test_no_sentence_holds_a_name_of_somebody_else_and_what_people_say_is_escaped() -> None:
    evil = "<b>\u202eevil"
    given = switched(
        Change(18, evil, "paused", 0, evil, evil * 100),
        lanes=(lane(evil, ready=1, is_consumed=False, failures=9, retrying=1),),
    )
    facts = Facts(doubts=[group("outcome-unknown", connector=evil)], unread_since_ms={f"signalq.orders.{evil}": 0})
    for notice in found(given, facts).values():
        assert "\u202e" not in notice.sentence
        assert notice.on == evil or not notice.on
        assert len(notice.sentence) < 2 * notices.SENTENCE_CHARACTERS_MAX + 50
        assert all(path.isascii() and "<" not in path for _words, path in notice.links)


# ---- the alerts ----

# The notices that tell of the condition of an alert; or why the console can't know of it.
TOLD = {
    "SignalqConsumerAbsent": "no-consumer",
    "SignalqConsumerNotConnected": "unread:signalq.orders.main",
    "SignalqReplicaNotConnected": "unread:signalq.orders.main",
    "SignalqLanePaused": "switch:beta",
    "SignalqOutcomeUnknown": "doubt:outcome-unknown:main:None",
    "SignalqIntentsUndeliverable": "fresh:undeliverable:main:None",
    "SignalqIntentsUnauthorized": "fresh:rejected:main:401",
    "SignalqIntentsRejected": "fresh:rejected:main:401",
    "SignalqIntentsTooLate": "fresh:rejected:main:401",
    "SignalqIntentsRefused": "fresh:rejected:main:401",
    "SignalqWebhookFailing": "backoff:main",
    "SignalqWebhookDown": "webhook",
    "SignalqDelaysInexact": "late",
    "SignalqClockSkew": "clock",
    "SignalqLaneUnread": "unread:signalq.orders.main",
    "SignalqBacklog": "backlog:signalq.orders.main",
    "SignalqDeadLettersGrow": "fresh:rejected:main:401",
    "SignalqDeadLettersWait": "letters",
}
NOT_KNOWN_HERE = {
    "SignalqStuck": "a consumer that can't write to the ledger is silent, and is told of as that",
    "SignalqOrdersLate": "the age of each lane's oldest order stands in its row",
    "SignalqLedgerSlow": "how long a commit takes is known to the consumers alone",
    "SignalqLedgerLogGrows": "the write-ahead log is the consumers' business",
    "SignalqGatewayNotConnected": "of the gateway the ledger knows nothing",
    "SignalqGatewayUnconfirmed": "of the gateway the ledger knows nothing",
    "SignalqGatewaySlow": "of the gateway the ledger knows nothing",
    "SignalqGatewayRefuses": "of the gateway the ledger knows nothing",
    "SignalqDeadLettersForgotten": "the age of the oldest letter is told with the letters that wait",
    "SignalqBrokerAlarm": "RabbitMQ tells an alarm to publishers alone",
}


def test_the_condition_of_every_alert_is_told_in_a_sentence_or_cannot_be_known_here() -> None:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    alerts = {rule["alert"]: rule for each in groups for rule in each["rules"] if "alert" in rule}
    assert set(alerts) == {*TOLD, *NOT_KNOWN_HERE}
    assert set(TOLD.values()) <= set(CASES)
    # The bounds are those of the rules, where both have one.
    rules = json.dumps(alerts)
    assert f"> {lane_notices.BACKLOG_MIN}" in rules
    assert alerts["SignalqDeadLettersWait"]["for"] == f"{letter_notices.WAIT_MS // 3_600_000}h"
