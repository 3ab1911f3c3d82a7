"""Lanes spread over replicas: on a model of the broker's lines, the replicas' views converge and then rest."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from signalq.consumer.replicas.assignment import (
    AGAIN_S,
    HANDOVERS_MAX,
    HOLD_S,
    SETTLE_S,
    STEPS_BACK_MAX,
    LaneAssignment,
    desired,
)

ROUND_S = 2.0


def queues(count: int) -> list[str]:
    return [f"signalq.orders.c{at}" for at in range(count)]


class Cluster:
    """Replicas that each see who lives, and the broker's line of consumers for each lane: the first is active."""

    def __init__(self, count: int, lanes: int, rng: random.Random, busy: float) -> None:
        self.rng = rng
        self.now_s = 0.0
        self.lines: dict[str, list[str]] = {queue: [] for queue in queues(lanes)}
        self.busy = {queue for queue in self.lines if rng.random() < busy}
        self.active_since: dict[tuple[str, str], float] = {}
        self.spreads: dict[str, LaneAssignment] = {}
        self.handovers: Counter[str] = Counter()
        for at in range(count):
            self.join(f"replica-{at}")

    def join(self, name: str) -> None:
        self.spreads[name] = LaneAssignment()
        for line in self.lines.values():
            line.append(name)
        self.traffic()

    def leave(self, name: str) -> None:
        del self.spreads[name]
        for queue, line in self.lines.items():
            line.remove(name)
            self.active_since.pop((name, queue), None)
        self.traffic()

    def traffic(self) -> None:
        """Busy lanes bring a message to whoever is active."""
        for queue in self.busy:
            if self.lines[queue]:
                self.active_since.setdefault((self.lines[queue][0], queue), self.now_s)

    def round(self) -> int:
        """Everybody looks once, in any order; returns how many steps back were taken."""
        self.now_s += ROUND_S
        steps = 0
        names = list(self.spreads)
        self.rng.shuffle(names)
        for name in names:
            places = {queue: self.active_since.get((name, queue)) for queue in self.lines}
            self.spreads[name].note(frozenset(self.spreads), self.now_s)
            for queue in self.spreads[name].to_pass_on(name, places, self.now_s):
                self.spreads[name].passed_on(queue, self.now_s)
                self.step_back(name, queue)
                steps += 1
        return steps

    def step_back(self, name: str, queue: str) -> None:
        line = self.lines[queue]
        self.handovers[queue] += line[0] == name
        line.remove(name)
        line.append(name)
        self.active_since.pop((name, queue), None)
        self.traffic()

    def rounds_until_quiet(self, rounds_max: int) -> int:
        """How many rounds until nobody moves anything for as long as a lane may wait to be moved again."""
        quiet = 0
        for count in range(rounds_max):
            quiet = 0 if self.round() else quiet + 1
            if quiet * ROUND_S > SETTLE_S + HOLD_S + AGAIN_S:
                return count + 1 - quiet
        raise AssertionError(f"still moving after {rounds_max} rounds")

    def misplaced(self) -> list[str]:
        return [queue for queue, line in self.lines.items() if line[0] != desired(queue, self.spreads)]


@pytest.mark.parametrize("busy", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_lane_comes_to_the_replica_whose_it_should_be_and_then_nothing_moves(count: int, busy: float) -> None:
    """The first one that starts has all lanes; idle lanes don't say whose they are; the broker may pass one on to the
    wrong replica, which passes it on in its turn."""
    for seed in range(10):
        cluster = Cluster(count, 40, random.Random(f"{seed} {count} {busy}"), busy)
        cluster.rounds_until_quiet(120)
        assert not cluster.misplaced()
        assert max(cluster.handovers.values(), default=0) < count, "each replica passes a lane on once at most"


@pytest.mark.parametrize("seed", range(10))
def test_lanes_settle_again_whichever_replicas_come_and_go(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(1, 30, rng, 0.7)
    for at in range(12):
        if len(cluster.spreads) > 1 and rng.random() < 0.4:
            cluster.leave(rng.choice(list(cluster.spreads)))
        else:
            cluster.join(f"later-{at}")
        for _ in range(rng.randrange(8)):
            cluster.round()
    cluster.rounds_until_quiet(150)
    assert not cluster.misplaced()


def test_a_single_replica_passes_nothing_on() -> None:
    cluster = Cluster(1, 20, random.Random(1), 1.0)
    assert sum(cluster.round() for _ in range(100)) == 0


def test_a_replica_that_starts_and_ends_again_and_again_moves_nothing() -> None:
    cluster = Cluster(2, 40, random.Random(2), 1.0)
    cluster.rounds_until_quiet(120)
    for at in range(20):
        cluster.join(f"crashing-{at}")
        assert cluster.round() + cluster.round() == 0
        cluster.leave(f"crashing-{at}")
        assert cluster.round() == 0


def test_one_round_moves_few_lanes() -> None:
    cluster = Cluster(2, 500, random.Random(3), 0.5)
    most = max(cluster.round() for _ in range(20))
    assert 0 < most <= 2 * (HANDOVERS_MAX + STEPS_BACK_MAX)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_lanes_are_balanced_and_a_further_replica_takes_only_what_becomes_its_own(count: int) -> None:
    owners = {f"{random.Random(at).getrandbits(128):032x}" for at in range(count)}
    before = {queue: desired(queue, owners) for queue in queues(1000)}
    shares = Counter(before.values())
    assert max(shares.values()) < 1.25 * 1000 / count
    assert min(shares.values()) > 0.75 * 1000 / count
    after = {queue: desired(queue, owners | {"new"}) for queue in before}
    moved = {queue for queue in before if before[queue] != after[queue]}
    assert {after[queue] for queue in moved} == {"new"}


def test_a_lane_that_nobody_else_consumes_is_tried_seldom() -> None:
    """A replica with other settings may not consume it at all."""
    spread = LaneAssignment()
    owners = frozenset({"me", "other"})
    queue = next(queue for queue in queues(100) if desired(queue, owners) == "other")
    tries = []
    spread.note(owners, 0.0)
    for at in range(1000):
        now_s = SETTLE_S + at * ROUND_S
        if spread.to_pass_on("me", {queue: 0.0}, now_s):
            spread.passed_on(queue, now_s)
            tries.append(now_s)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[0] >= AGAIN_S
    assert waits == sorted(waits)
    assert len(tries) < 10


def test_nothing_moves_before_the_replicas_have_been_the_same_for_a_while_or_where_that_is_not_known() -> None:
    spread = LaneAssignment()
    owners = frozenset({"me", "other"})
    places = dict.fromkeys(queues(50))
    spread.note(owners, 100.0)
    assert not spread.to_pass_on("me", places, 100.0 + SETTLE_S - 0.1)
    assert spread.to_pass_on("me", places, 100.0 + SETTLE_S)
    spread.note(frozenset(), 106.0)
    assert not spread.to_pass_on("me", places, 200.0)
    spread.note(owners, 200.0)
    assert not spread.to_pass_on("me", places, 201.0)


def test_a_lane_is_kept_for_a_while_after_its_first_message() -> None:
    spread = LaneAssignment()
    owners = frozenset({"me", "other"})
    queue = next(queue for queue in queues(100) if desired(queue, owners) == "other")
    spread.note(owners, 0.0)
    assert not spread.to_pass_on("me", {queue: 100.0}, 100.0 + HOLD_S - 0.1)
    assert spread.to_pass_on("me", {queue: 100.0}, 100.0 + HOLD_S) == [queue]
