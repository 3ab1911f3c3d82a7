"""The histories: whenever we look, each ending counts once, in its own period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.ledger.queries.endings import Endings
from signalq.consumer.orders.switch import ALL
from signalq.ops.console.moment import history as history_module
from signalq.ops.console.moment.history import RECENT_MS, SECOND_MS, History, Ring
from signalq.ops.console.moment.looking import OVERLAP_MS, WIDE_S
from signalq.ops.console.moment.snapshot import LONG_BUCKET_MS, LONG_BUCKETS, SHORT_BUCKET_MS, SHORT_BUCKETS, Ending

# The beginning of a long period, and so of a short one.
T_MS = 1_769_860_800_000
# A transaction is given up after so long.
COMMIT_MS_MAX = 8_000


@dataclass(frozen=True)
class Ended:
    """An ending of a connector, which others can see once it is committed."""

    connector: str
    at_ms: int
    committed_ms: int
    status: str = "delivered"
    reason: str | None = None


def counted(
    ended: Iterable[Ended], since_ms: int, now_ms: int, period_ms: int, until_ms: int | None = None
) -> list[Endings]:
    """What the ledger answers: see count_endings."""
    found = Counter(
        (one.connector, one.status, one.reason, one.at_ms // period_ms)
        for one in ended
        if since_ms <= one.at_ms < (until_ms or now_ms + SECOND_MS) and one.committed_ms <= now_ms
    )
    return [
        Endings(connector, status, reason, None, period, count, (period + 1) * period_ms - 1)
        for (connector, status, reason, period), count in found.items()
    ]


def short(history: History, name: str | None, now_ms: int) -> tuple[Sequence[int], Sequence[int]]:
    buckets = history.of(name).short.until(now_ms)
    return buckets.delivered, buckets.dead


def ended_at(at_ms: int, **given: str) -> Ended:
    return Ended(**{"connector": "main", "at_ms": at_ms, "committed_ms": at_ms, **given})  # type: ignore[arg-type]


def looked(history: History, ended: Iterable[Ended], since_ms: int, now_ms: int) -> None:
    history.recount(since_ms, counted(ended, since_ms, now_ms, SECOND_MS))
    history.settle(now_ms)


# ---- one look ----


def test_endings_count_in_their_period_of_each_length_and_under_every_name_that_they_belong_to() -> None:
    history = History(["main"])
    ended = [
        ended_at(T_MS),
        ended_at(T_MS + SHORT_BUCKET_MS - 1),
        ended_at(T_MS + SHORT_BUCKET_MS),
        ended_at(T_MS, connector="stranger", status="dead", reason="rejected"),
        ended_at(T_MS, status="canceled"),
    ]
    looked(history, ended, T_MS, T_MS + SHORT_BUCKET_MS)
    now_ms = T_MS + SHORT_BUCKET_MS
    assert [counts[-2:] for counts in short(history, "main", now_ms)] == [(2, 1), (0, 0)]
    assert [counts[-2:] for counts in short(history, "stranger", now_ms)] == [(0, 0), (1, 0)]
    assert short(history, None, now_ms) == short(history, "stranger", now_ms)
    assert [counts[-2:] for counts in short(history, ALL, now_ms)] == [(2, 1), (1, 0)]
    long = history.of(ALL).long.until(now_ms)
    assert (long.delivered[-1], long.dead[-1], long.reasons["rejected"][-1]) == (3, 1, 1)
    assert (len(long.delivered), len(short(history, "main", now_ms)[0])) == (LONG_BUCKETS, SHORT_BUCKETS)


def test_the_buckets_move_on_with_time_and_old_ones_fall_out() -> None:
    history = History(["main"])
    looked(history, [ended_at(T_MS)], T_MS, T_MS)
    assert short(history, "main", T_MS)[0][-1] == 1
    assert short(history, "main", T_MS + SHORT_BUCKET_MS)[0][-2:] == (1, 0)
    last_ms = T_MS + (SHORT_BUCKETS - 1) * SHORT_BUCKET_MS
    assert short(history, "main", last_ms)[0][0] == 1
    assert sum(short(history, "main", last_ms + SHORT_BUCKET_MS)[0]) == 0
    assert sum(history.of("main").long.until(last_ms).delivered) == 1


def test_the_last_ending_is_the_latest_of_all_kinds() -> None:
    history = History(["main"])
    dead = Endings("main", "dead", "rejected", 401, T_MS // SECOND_MS, 1, T_MS + 5)
    history.recount(T_MS, [dead, Endings("main", "delivered", None, 200, T_MS // SECOND_MS, 1, T_MS + 3)])
    assert history.of("main").last == Ending("dead", T_MS + 5, "rejected", 401)
    history.recount(T_MS, [Endings("main", "canceled", None, None, T_MS // SECOND_MS, 1, T_MS + 9)])
    assert history.of("main").last == Ending("canceled", T_MS + 9)
    assert history.of("stranger").last is None


def test_an_order_that_is_replayed_at_once_counts_by_its_last_ending() -> None:
    history = History(["main"])
    looked(history, [ended_at(T_MS, status="dead", reason="rejected")], T_MS, T_MS)
    looked(history, [ended_at(T_MS + 4_000)], T_MS, T_MS + 4_000)
    assert [counts[-1] for counts in short(history, "main", T_MS + 4_000)] == [1, 0]


def test_a_settled_second_is_not_counted_again_however_late_somebody_asks() -> None:
    history = History(["main"])
    looked(history, [ended_at(T_MS)], T_MS, T_MS)
    now_ms = T_MS + RECENT_MS + SECOND_MS
    looked(history, [ended_at(T_MS)], now_ms - OVERLAP_MS, now_ms)
    looked(history, [ended_at(T_MS)], T_MS, now_ms)
    assert sum(short(history, "main", now_ms)[0]) == 1


def test_the_past_and_the_latest_seconds_add_up() -> None:
    history = History(["main"])
    recent_ms = T_MS + 3 * LONG_BUCKET_MS - 10_000
    ended = [ended_at(at_ms) for at_ms in (T_MS, recent_ms - 1, recent_ms, recent_ms + 5_000)]
    now_ms = recent_ms + RECENT_MS
    history.fill_long(counted(ended, 0, now_ms, LONG_BUCKET_MS, recent_ms))
    history.fill_short(counted(ended, recent_ms - SHORT_BUCKETS * SHORT_BUCKET_MS, now_ms, SHORT_BUCKET_MS, recent_ms))
    looked(history, ended, recent_ms, now_ms)
    long = history.of("main").long.until(now_ms).delivered
    assert (long[-4], sum(long)) == (1, 4)
    assert sum(short(history, "main", now_ms)[0]) == 3
    assert history.of("main").last is not None


def test_strangers_names_don_t_fill_the_memory_and_count_in_the_shared_lane_all_the_same() -> None:
    history = History(["main"])
    names = history_module.OTHERS_MAX + 100
    looked(history, [ended_at(T_MS, connector=f"stranger-{number}") for number in range(names)], T_MS, T_MS)
    assert short(history, None, T_MS)[0][-1] == short(history, ALL, T_MS)[0][-1] == names
    known = sum(sum(short(history, f"stranger-{number}", T_MS)[0]) for number in range(names))
    assert known == history_module.OTHERS_MAX
    looked(history, [], T_MS, T_MS)  # they are taken back, also those that were forgotten meanwhile
    assert all(min(short(history, f"stranger-{number}", T_MS)[0]) == 0 for number in range(names))


# ---- many looks ----

endings = st.builds(
    lambda connector, after_ms, late_ms, dead: Ended(
        connector,
        T_MS + after_ms,
        T_MS + after_ms + late_ms,
        "dead" if dead else "delivered",
        "expired" if dead else None,
    ),
    st.sampled_from(["main", "stranger", "other"]),
    st.integers(0, 90_000),
    st.integers(0, COMMIT_MS_MAX),
    st.booleans(),
)


@given(st.lists(endings, max_size=60), st.lists(st.integers(50, 3_000), min_size=1, max_size=60))
def test_each_ending_counts_once_in_its_period_whenever_we_look(ended: list[Ended], pauses: list[int]) -> None:
    """As LedgerLook does: a narrow look each time, and a wide one once WIDE_S have gone by."""
    history = History(["main"])
    now_ms = until_ms = wide_ms = T_MS
    for pause_ms in [*pauses, *[3_000] * 45]:
        now_ms += pause_ms
        since_ms = until_ms - OVERLAP_MS
        if now_ms - wide_ms >= WIDE_S * 1000:
            since_ms, wide_ms = now_ms - RECENT_MS, now_ms
        looked(history, ended, since_ms // SECOND_MS * SECOND_MS, now_ms)
        until_ms = now_ms
    whole = History(["main"])
    whole.recount(T_MS, counted(ended, T_MS, now_ms, SECOND_MS))
    for name in (ALL, None, "main", "stranger", "other"):
        assert history.of(name).short.until(now_ms) == whole.of(name).short.until(now_ms)
        assert history.of(name).long.until(now_ms) == whole.of(name).long.until(now_ms)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=40), st.integers(0, 50))
def test_a_ring_has_the_counts_of_its_latest_periods(added: list[tuple[int, int]], until: int) -> None:
    ring, newest = Ring(10), -1
    known: Counter[int] = Counter()
    for period, count in added:
        ring.add(period, count)
        newest = max(newest, period)
        if period > newest - 10:
            known[period] += count
    kept = {period: count for period, count in known.items() if period > newest - 10}
    assert ring.until(until) == tuple(kept.get(period, 0) for period in range(until - 9, until + 1))
