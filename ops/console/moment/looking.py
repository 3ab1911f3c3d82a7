"""Looks at the ledger for all who look at the console: at what moves each time, at the rest every REST_S.

The ledger is only read. A large one is not read twice: the past is counted once, and its end again with each look.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from signalq.amqp.ledger_mark import LedgerMark
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms, machine_ms
from signalq.consumer.ledger.queries import present, replicas, shift_notes, switches
from signalq.consumer.ledger.queries.endings import Endings, count_endings
from signalq.consumer.ledger.queries.measures import Posted, latest_posts
from signalq.consumer.ledger.queries.present import LaneRow, LetterGroup, Newest, OpenLetters, Retrying, Scheduled
from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.ledger.queries.shift_notes import ShiftNote
from signalq.consumer.orders.switch import ALL, Change, Switch
from signalq.errors import SignalQError
from signalq.ops.console.moment.contact import Contact
from signalq.ops.console.moment.history import RECENT_MS, SECOND_MS, History
from signalq.ops.console.moment.schema import check_schema
from signalq.ops.console.moment.snapshot import LONG_BUCKET_MS, LONG_BUCKETS, SHORT_BUCKET_MS, SHORT_BUCKETS, Spread
from signalq.ops.console.moment.sources import LedgerSource
from signalq.ops.console.moment.spreads import DURATIONS_MAX, Durations
from signalq.settings.sections import Settings

REST_S = 5.0
# Each look counts the endings of the time since the one before anew, and of so much before that; every WIDE_S one
# counts all that may still change.
OVERLAP_MS = 2_000
WIDE_S = 15.0
# So much of the past is counted in one read: nobody waits long for the thread, or the loop, that counts it.
FILL_MS = 1_800_000
# The events that a look measures, at most.
POSTS_MAX = 1_000
OPENS_DUE_MS = 3_600_000
FRESH_MS = 600_000
IN_DOUBT = "outcome-unknown"
# How far our clock is ahead is known as well as the server answers soon: it has not changed by less than this.
SAME_CLOCK_MS = 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moment:
    """The figures that move, as one read found them.

    `ahead_ms` is how far this machine's clock is ahead of the ledger's; `changes` has the latest change of the switch
    of each connector.
    """

    now_ms: int
    ahead_ms: int
    switch: Switch
    changes: Mapping[str, Change]
    replicas: Sequence[Replica]
    lanes: Mapping[str, LaneRow]
    sending: Mapping[str, int]
    retrying: Mapping[str, Retrying]
    failures: Mapping[str, int]
    newest: Newest
    notes: Sequence[ShiftNote]


@dataclass(frozen=True, slots=True)
class Rest:
    """The figures that may be a little older.

    `due` counts the orders of close-only connectors that fall due within the hour, by connector and action; `fresh` are
    the letters of the last minutes, `doubts` those that are in doubt.
    """

    scheduled: Scheduled = field(default_factory=Scheduled)
    letters: OpenLetters = field(default_factory=OpenLetters)
    due: Mapping[tuple[str, str], int] = field(default_factory=dict)
    fresh: Sequence[LetterGroup] = ()
    doubts: Sequence[LetterGroup] = ()


class LedgerLook:
    """`begun` and `ended` count the looks. What was found stays while the ledger is away."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self.contact = Contact()
        self.begun = 0
        self.ended = 0
        self._settings = settings
        self._source = LedgerSource(settings)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.mark: LedgerMark | None = None
        self.moment: Moment | None = None
        self.rest = Rest()
        self.history = History(())
        # How long POSTs took, and how late delayed orders began theirs.
        self.posts = Spread()
        self.late = Spread()
        self._posts = Durations()
        self._late = Durations()
        self._counted_until_ms: int | None = None
        self._wide_s = self._rest_s = float("-inf")
        self._last_event = 0

    @property
    def now_ms(self) -> int:
        """The time by the ledger's clock, as far as that is known."""
        return machine_ms() - (0 if self.moment is None else self.moment.ahead_ms)

    def hurry(self) -> None:
        """Look at the rest, too, with the next look."""
        self._rest_s = float("-inf")

    async def look(self) -> None:
        """Look once; what can't be read stays as it was."""
        self.begun += 1
        self.contact.ask()
        try:
            async with self._source.used() as client:
                await self._look(client)
        except SignalQError as error:
            self.contact.fail(self.now_ms, error)
        finally:
            self.ended = self.begun

    async def close(self) -> None:
        """Close the ledger; the next look opens it again."""
        self.contact.rest()
        await self._source.close()

    async def _look(self, client: LedgerClient) -> None:
        if self.mark is not None and self.mark.ledger_id != client.mark.ledger_id:
            self._begin_anew()
        self.mark = client.mark
        since_ms = self._count_since_ms()
        moment, endings = await self._ask(client, partial(_moment, before=self.moment, since_ms=since_ms))
        self.moment = moment
        self.contact.answer(moment.now_ms)
        if since_ms is None or not self._goes_on(moment.now_ms):
            self._counted_until_ms = await self._count_all(client, moment.now_ms)
        else:
            self.history.recount(since_ms, endings)
            self._counted_until_ms = moment.now_ms
        self.history.settle(self._counted_until_ms)
        if time.monotonic() - self._rest_s >= REST_S:
            await self._look_at_rest(client, moment)

    async def _look_at_rest(self, client: LedgerClient, moment: Moment) -> None:
        self._rest_s = time.monotonic()
        self.rest = await self._ask(client, partial(_rest, moment=moment, before=self.rest))
        rows_max = POSTS_MAX if self._last_event else DURATIONS_MAX
        posts: list[Posted] = await self._ask(client, partial(latest_posts, after=self._last_event, rows_max=rows_max))
        for one in posts:
            self._last_event = one.number
            if one.duration_ms is not None:
                self._posts.add(one.at_ms, one.duration_ms)
            if one.late_ms is not None:
                self._late.add(one.at_ms, one.late_ms)
        self.posts, self.late = self._posts.spread(moment.now_ms), self._late.spread(moment.now_ms)

    async def _ask(self, client: LedgerClient, work: Callable[[Connection], T]) -> T:
        """Read; the ledger is heard of as that moment's, by which the silence of consumers counts."""
        self.contact.ask()
        found = await client.read(work)
        if self.moment is not None:
            self.contact.answer(self.moment.now_ms)
        return found

    # ---- the histories ----

    def _goes_on(self, now_ms: int) -> bool:
        """Whether what was counted goes on now: not after a long pause, a step of the clock, or with other lanes."""
        until_ms = self._counted_until_ms
        is_near = until_ms is not None and -SAME_CLOCK_MS <= now_ms - until_ms <= RECENT_MS
        return is_near and self.history.own == set(self._settings().own_lanes())

    def _count_since_ms(self) -> int | None:
        """The second from which the next look counts; None where all is to be counted."""
        now_ms, until_ms = self.now_ms, self._counted_until_ms
        if until_ms is None or not self._goes_on(now_ms):
            return None
        if time.monotonic() - self._wide_s < WIDE_S:
            return _second(until_ms - OVERLAP_MS)
        self._wide_s = time.monotonic()
        return _second(now_ms - RECENT_MS)

    async def _count_all(self, client: LedgerClient, now_ms: int) -> int:
        """Count the past anew; return until when, as that may take a while."""
        history, recent_ms = History(self._settings().own_lanes()), _second(now_ms - RECENT_MS)
        count = partial(self._count, client)
        for since_ms in range(_first(now_ms, LONG_BUCKETS, LONG_BUCKET_MS), recent_ms, FILL_MS):
            history.fill_long(await count(since_ms, min(since_ms + FILL_MS, recent_ms), LONG_BUCKET_MS))
        first_ms = _first(now_ms, SHORT_BUCKETS, SHORT_BUCKET_MS)
        history.fill_short(await count(first_ms, recent_ms, SHORT_BUCKET_MS))
        until_ms = max(now_ms, self.now_ms)
        history.recount(recent_ms, await count(recent_ms, until_ms + SECOND_MS, SECOND_MS))
        self.history, self._wide_s = history, time.monotonic()
        return until_ms

    async def _count(self, client: LedgerClient, since_ms: int, until_ms: int, period_ms: int) -> list[Endings]:
        work = partial(count_endings, since_ms=since_ms, until_ms=until_ms, period_ms=period_ms)
        return await self._ask(client, work)


def _moment(connection: Connection, before: Moment | None, since_ms: int | None) -> tuple[Moment, list[Endings]]:
    """The moment, and the endings since then by the second."""
    check_schema(connection)
    earliest_ms, now_ms, latest_ms = machine_ms(), clock_ms(connection), machine_ms()
    known = Switch() if before is None else before.switch
    switch = switches.read(connection, known)
    is_same = before is not None and switch.version == known.version
    moment = Moment(
        now_ms=now_ms,
        ahead_ms=_ahead_ms(earliest_ms - now_ms, latest_ms - now_ms, before),
        switch=switch,
        changes=before.changes if before is not None and is_same else switches.latest(connection),
        replicas=replicas.known(connection, now_ms),
        lanes=present.lane_rows(connection),
        sending=present.sending(connection, now_ms),
        retrying=present.retrying(connection),
        failures=present.failures(connection),
        newest=present.newest(connection),
        notes=shift_notes.standing(connection),
    )
    if since_ms is None:
        return moment, []
    return moment, count_endings(connection, since_ms, now_ms + SECOND_MS, SECOND_MS)


def _rest(connection: Connection, moment: Moment, before: Rest) -> Rest:
    letters = present.open_letters(connection)
    return Rest(
        scheduled=present.scheduled(connection),
        letters=letters,
        due=_due(connection, moment),
        fresh=present.letters_since(connection, moment.now_ms - FRESH_MS) if letters.count else (),
        doubts=before.doubts if letters == before.letters else present.letters_of(connection, IN_DOUBT),
    )


def _due(connection: Connection, moment: Moment) -> Mapping[tuple[str, str], int]:
    """The orders that fall due within the hour, of the connectors that are close-only."""
    closed = [name for name, state in moment.switch.states.items() if state == "close-only"]
    if not closed:
        return {}
    return present.due_until(connection, moment.now_ms + OPENS_DUE_MS, None if ALL in closed else closed)


def _ahead_ms(at_least_ms: int, at_most_ms: int, before: Moment | None) -> int:
    """How far our clock is ahead: not at all where it may be none, and as before where it may be the same."""
    ahead_ms = max(at_least_ms, 0) or min(at_most_ms, 0)
    if before is not None and abs(ahead_ms - before.ahead_ms) < SAME_CLOCK_MS:
        return before.ahead_ms
    return ahead_ms


def _second(at_ms: int) -> int:
    """The beginning of a second."""
    return at_ms // SECOND_MS * SECOND_MS


def _first(now_ms: int, periods: int, period_ms: int) -> int:
    """The beginning of the oldest of so many periods, of which the newest is that of now."""
    return (now_ms // period_ms - periods + 1) * period_ms
