"""The delay ladder, walked as RabbitMQ and the consumer would: held at the highest bit, back, held for what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.amqp.topology import Topology, ladder_entry
from signalq.consumer.orders.delays import LADDER_SLACK_MS, LANE_LEAD_MS, park_seconds
from signalq.names import LADDER_LEVELS, LADDER_MAX_S, Names

NAMES = Names("p")
TOPOLOGY = Topology(NAMES)
QUEUES = {queue.name: queue.arguments for queue in TOPOLOGY.queues()}
LEVELS = {binding.source: binding.destination for binding in TOPOLOGY.bindings() if binding.routing_key == "#"}
HELD_MS_MAX = 1000 + LADDER_SLACK_MS


def walk(delay_ms: int, late_ms: int = 0) -> tuple[int, int]:
    """How often a delay is parked, and how many ms are left when it is held; every hop is `late_ms` late."""
    now_ms, hops = 0, 0
    while whole_seconds := park_seconds(delay_ms, now_ms):
        exchange, routing_key = ladder_entry(whole_seconds, NAMES)
        arguments = QUEUES[LEVELS[exchange]]
        assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == ("", routing_key)
        now_ms += arguments["x-message-ttl"] + late_ms
        hops += 1
        assert hops <= LADDER_LEVELS
    return hops, delay_ms - now_ms


delays_ms = st.integers(0, LADDER_MAX_S * 1000)


@given(delays_ms)
def test_any_delay_comes_back_before_it_is_due_and_within_its_last_second(delay_ms: int) -> None:
    hops, left_ms = walk(delay_ms)
    assert min(delay_ms, LADDER_SLACK_MS) <= left_ms < HELD_MS_MAX
    assert hops <= LADDER_LEVELS


@given(delays_ms, st.integers(0, LADDER_SLACK_MS - LANE_LEAD_MS))
def test_a_hop_that_is_late_within_the_slack_makes_none_late(delay_ms: int, late_ms: int) -> None:
    """What one level was late is not added to the next: only the last one's counts."""
    assert walk(delay_ms, late_ms)[1] >= min(delay_ms, LANE_LEAD_MS)


@pytest.mark.parametrize("level", range(LADDER_LEVELS))
def test_the_delays_around_each_power_of_two_do_so_too(level: int) -> None:
    for whole_seconds in {2**level - 1, 2**level, 2**level + 1, LADDER_MAX_S - 2**level, 2**level | 1} - {2**20}:
        assert walk(whole_seconds * 1000)[1] >= 0


def test_the_lead_into_the_lane_is_part_of_the_slack() -> None:
    assert LANE_LEAD_MS < LADDER_SLACK_MS
