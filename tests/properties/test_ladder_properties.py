"""The delay ladder, walked as RabbitMQ would: exchanges, bindings, queues, dead-lettering."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.amqp.topology import Binding, Topology, ladder_entry
from signalq.names import LADDER_LEVELS, LADDER_MAX_S, Names

NAMES = Names("p")
TOPOLOGY = Topology(NAMES)
QUEUES = {queue.name: queue.arguments for queue in TOPOLOGY.queues()}
KINDS = {exchange.name: exchange.kind for exchange in TOPOLOGY.exchanges()}
BINDINGS: dict[str, list[Binding]] = defaultdict(list)
for _binding in TOPOLOGY.bindings():
    BINDINGS[_binding.source].append(_binding)


def matches(pattern: list[str], words: list[str]) -> bool:
    """A topic pattern: `*` is one word, `#` any number of them."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return matches(pattern[1:], words) or (bool(words) and matches(pattern, words[1:]))
    return bool(words) and pattern[0] in {"*", words[0]} and matches(pattern[1:], words[1:])


def queues_of(exchange: str, routing_key: str) -> set[str]:
    """The queues that a message published to an exchange reaches."""
    if exchange == "":
        return {routing_key}
    assert KINDS[exchange] == "topic"
    reached: set[str] = set()
    for binding in BINDINGS[exchange]:
        if matches(binding.routing_key.split("."), routing_key.split(".")):
            reached |= queues_of(binding.destination, routing_key) if binding.to_exchange else {binding.destination}
    return reached


def walk(whole_seconds: int) -> tuple[list[str], int]:
    """The queues a delay passes through, and the ms it spends in them; every hop must reach exactly one queue."""
    exchange, routing_key = ladder_entry(whole_seconds, NAMES)
    passed, waited_ms = [], 0
    while len(passed) <= LADDER_LEVELS:
        (queue,) = queues_of(exchange, routing_key)
        passed.append(queue)
        arguments = QUEUES[queue]
        if "x-message-ttl" not in arguments:
            return passed, waited_ms
        waited_ms += arguments["x-message-ttl"]
        exchange = arguments["x-dead-letter-exchange"]
        routing_key = arguments.get("x-dead-letter-routing-key", routing_key)
    raise AssertionError(f"{whole_seconds} s goes round in circles: {passed}")


def check(whole_seconds: int) -> None:
    passed, waited_ms = walk(whole_seconds)
    assert passed[-1] == NAMES.due
    assert waited_ms == whole_seconds * 1000
    assert len(passed) == 1 + whole_seconds.bit_count()


@given(st.integers(0, LADDER_MAX_S))
def test_any_delay_ends_in_the_due_queue_after_exactly_its_seconds(whole_seconds: int) -> None:
    check(whole_seconds)


@pytest.mark.parametrize("level", range(LADDER_LEVELS))
def test_the_delays_around_each_power_of_two_do_so_too(level: int) -> None:
    for whole_seconds in {2**level - 1, 2**level, 2**level + 1, LADDER_MAX_S - 2**level, 2**level | 1} - {2**20}:
        check(whole_seconds)


def test_each_of_the_first_2000_delays_does_so_too() -> None:
    for whole_seconds in range(2000):
        check(whole_seconds)


@given(st.integers(1, LADDER_MAX_S))
def test_a_routing_key_fits_amqps_255_bytes(whole_seconds: int) -> None:
    assert len(ladder_entry(whole_seconds, NAMES)[1]) <= 255
