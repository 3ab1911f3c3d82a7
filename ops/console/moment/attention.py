"""Attention: what needs a person, in sentences. Pure: from the present moment and a few further facts.

The conditions are those of the alert rules (deploy/alerts), as far as the ledger and the broker know of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from signalq.consumer.ledger.queries.present import LetterGroup
from signalq.kinds import Kind
from signalq.ops.console.moment import lane_notices, letter_notices
from signalq.ops.console.moment.lane_notices import LASTS_MS
from signalq.ops.console.moment.notices import CHECK, said
from signalq.ops.console.moment.snapshot import Notice, Snapshot
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings

# Every consumer has taken a change of the switch up within so long, or does not do so.
TAKEN_UP_MS = 2_000
# A consumer whose lanes others have is told of for so long; by then it has ended without saying so.
SILENT_TOLD_MS = 15 * 60_000
LATE_MS = 1_000
LATE_COUNT_MIN = 20
CLOCKS_DISAGREE_MS = 1_000


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts that the pages don't show elsewhere: the letters of the last 10 minutes, and all that are in doubt.

    `unread_since_ms`: by queue, since when messages wait there and nobody takes them. `due_unread`: how many do so in
    the queue of what fell due. `differs`: how many letters more than the ledger the queue has, and since when.
    """

    fresh: Sequence[LetterGroup] = ()
    doubts: Sequence[LetterGroup] = ()
    unread_since_ms: Mapping[str, int] = field(default_factory=dict)
    due_unread: int = 0
    differs: tuple[int, int] | None = None


def attend(now: Snapshot, facts: Facts, settings: Settings) -> tuple[Notice, ...]:
    """Everything that needs a person, the grave things first."""
    found = [
        *_of_sources(now),
        *letter_notices.of_doubts(facts.doubts),
        *_of_consumers(now, settings),
        *lane_notices.of_switch(now),
        *letter_notices.of_fresh(facts.fresh),
        *lane_notices.of_failures(now),
        *letter_notices.of_all(now, facts.differs),
        *_of_times(now),
    ]
    if not now.broker.is_away:  # else nobody knows what waits there now
        found += lane_notices.of_backlogs(now)
        if now.living:  # else that is told already, and of all lanes
            found += lane_notices.of_unread(now, facts.unread_since_ms, facts.due_unread, settings)
    return tuple(sorted(found, key=lambda notice: not notice.is_grave))


def _of_sources(now: Snapshot) -> Iterator[Notice]:
    if now.ledger.is_away:
        advice = "The switch can't be changed here: stop the consumers, that stops everything"
        if now.ledger.kind is Kind.LEDGER_VERSION:
            advice = "Use the console of the same version as the ledger"
        sentence = f"the ledger can't be read: {said(now.ledger.why)}"
        since_ms = now.ledger.away_since_ms
        yield Notice("ledger", sentence, is_grave=True, since_ms=since_ms, links=CHECK, advice=advice)
    if now.broker.is_away:
        sentence = f"RabbitMQ can't be asked: {said(now.broker.why)}"
        advice = "The switch, orders and the schedule work; replays and discards wait"
        since_ms = now.broker.away_since_ms
        yield Notice("broker", sentence, is_grave=True, since_ms=since_ms, links=CHECK, advice=advice)
    if now.other_ledger is not None:
        advice = "Change nothing here: use the console of that ledger"
        yield Notice("other-ledger", said(now.other_ledger), is_grave=True, links=CHECK, advice=advice)


def _of_consumers(now: Snapshot, settings: Settings) -> Iterator[Notice]:
    if now.ledger.seen_ms is None:
        return
    if now.living:
        yield from _of_silent_ones(now)
        yield from _of_old_switches(now)
        return
    name, since_ms = now.last_consumer or ("", None)
    if since_ms is None or now.now_ms - since_ms >= LASTS_MS:
        waits = f", and {plural(now.waiting, 'order waits', 'orders wait')}" if now.waiting else ""
        yield Notice(
            "no-consumer",
            f"no consumer runs{waits}",
            is_grave=True,
            since_ms=since_ms,
            on=name,
            links=CHECK,
            advice=f"Start one; opens expire after {settings.delivery.open_max_age_s:g} s",
        )


def _of_silent_ones(now: Snapshot) -> Iterator[Notice]:
    others = plural(len(now.living), "other takes", "others take")
    for one in now.replicas:
        if not one.lives and LASTS_MS <= one.silent_ms < SILENT_TOLD_MS:
            yield Notice(
                f"silent:{one.owner}",
                f"a consumer is silent; {others} its lanes over",
                is_grave=False,
                since_ms=now.seen_ms(one),
                on=one.name,
                links=CHECK,
                advice="If its process is still there, it is frozen, or can't write to the ledger: end it",
            )


def _of_old_switches(now: Snapshot) -> Iterator[Notice]:
    last = max(now.changes.values(), key=lambda change: change.number, default=None)
    if last is None or now.now_ms - last.at_ms < TAKEN_UP_MS:
        return
    for one in now.living:
        if one.switch_seen < last.number:
            yield Notice(
                f"switch-seen:{one.owner}",
                f"a consumer acts by change {one.switch_seen:,} of the switch, and the last is {last.number:,}",
                is_grave=True,
                since_ms=last.at_ms,
                on=one.name,
                links=CHECK,
                advice="If that lasts, end its process",
            )


def _of_times(now: Snapshot) -> Iterator[Notice]:
    late_ms = now.late.p99_ms
    if late_ms is not None and late_ms > LATE_MS and now.late.count >= LATE_COUNT_MIN:
        sentence = f"one delayed order in a hundred is POSTed more than {late_ms // 1000:,} s late"
        advice = "Look at the broker's CPU and disk, and whether the lanes are busy"
        yield Notice("late", sentence, is_grave=False, links=(("Schedule", "/schedule"),), advice=advice)
    if abs(now.ahead_ms) > CLOCKS_DISAGREE_MS:
        where = "ahead of" if now.ahead_ms > 0 else "behind"
        sentence = f"this machine's clock is {abs(now.ahead_ms) / 1000:.1f} s {where} the ledger's"
        advice = "Times here go by the ledger's; look at the time service of both machines"
        yield Notice("clock", sentence, is_grave=False, links=CHECK, advice=advice)
