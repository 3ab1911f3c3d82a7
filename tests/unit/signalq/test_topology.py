"""The objects declared on the broker, and the way through the delay ladder (contract 2)."""

from __future__ import annotations

import pytest

from signalq.amqp.topology import Binding, Exchange, Topology, ladder_entry
from signalq.names import LADDER_LEVELS, LADDER_MAX_S, Names

TOPOLOGY = Topology(Names("p"))
QUEUES = {queue.name: queue.arguments for queue in TOPOLOGY.queues()}


def test_the_prefix_is_signalq_unless_said_otherwise() -> None:
    assert Names().orders == "signalq.orders"


def test_the_queues_are_those_of_the_contract() -> None:
    ladder = {f"p.delay.{level}" for level in range(20)}
    assert set(QUEUES) == {"p.orders", "p.due", "p.dead", "p.ledger"} | ladder


@pytest.mark.parametrize("queue", sorted(QUEUES))
def test_every_queue_is_a_quorum_queue_with_a_delivery_limit_as_good_as_none(queue: str) -> None:
    assert QUEUES[queue]["x-queue-type"] == "quorum"
    assert QUEUES[queue]["x-delivery-limit"] == 1_000_000_000


@pytest.mark.parametrize(
    ("queue", "single"), [("p.orders", True), ("p.due", True), ("p.ledger", True), ("p.dead", False)]
)
def test_the_lanes_and_the_ledgers_mark_have_a_single_active_consumer_and_the_dead_letters_do_not(
    queue: str, single: bool
) -> None:
    assert QUEUES[queue].get("x-single-active-consumer", False) is single


@pytest.mark.parametrize("level", range(LADDER_LEVELS))
def test_level_k_holds_2_to_the_k_seconds_and_dead_letters_at_least_once(level: int) -> None:
    arguments = QUEUES[f"p.delay.{level}"]
    assert arguments["x-message-ttl"] == 2**level * 1000
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"
    assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == ("", "p.due")


def test_nothing_but_the_ladder_dead_letters() -> None:
    assert {queue for queue, arguments in QUEUES.items() if "x-dead-letter-exchange" in arguments} == {
        f"p.delay.{level}" for level in range(LADDER_LEVELS)
    }


def test_orders_is_a_direct_exchange_whose_alternate_feeds_the_shared_lane() -> None:
    exchanges = {exchange.name: exchange for exchange in TOPOLOGY.exchanges()}
    assert exchanges["p.orders"] == Exchange("p.orders", "direct", {"alternate-exchange": "p.unrouted"})
    assert exchanges["p.unrouted"].kind == "fanout"
    assert exchanges["p.outcomes"].kind == "topic"
    assert Binding("p.unrouted", "p.orders", "") in TOPOLOGY.bindings()


def test_an_alternate_exchange_is_declared_before_the_one_that_names_it() -> None:
    order = [exchange.name for exchange in TOPOLOGY.exchanges()]
    assert order.index("p.unrouted") < order.index("p.orders")


def test_nothing_but_its_name_leads_to_the_ledgers_mark() -> None:
    """No producer that may publish to our exchanges can change which ledger the lanes belong to."""
    assert not [binding for binding in TOPOLOGY.bindings() if binding.destination == "p.ledger"]


def test_each_level_takes_every_message_that_is_published_to_it() -> None:
    bindings = [binding for binding in TOPOLOGY.bindings() if binding.source.startswith("p.delay.")]
    assert bindings == [Binding(f"p.delay.{level}", f"p.delay.{level}", "#") for level in range(LADDER_LEVELS)]


def test_no_name_is_there_twice() -> None:
    assert len(QUEUES) == len(list(TOPOLOGY.queues()))
    exchanges = [exchange.name for exchange in TOPOLOGY.exchanges()]
    assert len(set(exchanges)) == len(exchanges)


@pytest.mark.parametrize(
    ("seconds", "level"), [(1, 0), (2, 1), (3, 1), (4, 2), (7, 2), (8, 3), (2**19, 19), (LADDER_MAX_S, 19)]
)
def test_a_delay_enters_at_its_highest_bit(seconds: int, level: int) -> None:
    assert ladder_entry(seconds, Names("p")) == (f"p.delay.{level}", "p.due")


def test_no_delay_goes_straight_to_the_due_queue() -> None:
    assert ladder_entry(0, Names("p")) == ("", "p.due")


def test_the_ladder_reaches_beyond_the_longest_delay_that_settings_allow_by_default() -> None:
    assert LADDER_MAX_S >= 604_800
