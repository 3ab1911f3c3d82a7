"""schemathesis against `signalq gateway`, short and the same each time; `./run fuzz-gateway` is the long form."""

from __future__ import annotations

from pathlib import Path

from signalq.amqp.topology import Topology
from tests.support.broker import Broker
from tests.support.fuzzing import NOT_SAID, Account, fuzz
from tests.support.gateways import gateway

EXAMPLES = "40"


async def test_nothing_that_schemathesis_makes_up_is_a_500_or_a_message_unless_it_is_answered_ok(
    broker: Broker, topology: Topology, prefix: str, tmp_path: Path
) -> None:
    options = ("--max-examples", EXAMPLES, "--generation-deterministic", *NOT_SAID)
    # Made-up connectors are taken, too, so that what is made up of an order has a way through.
    async with gateway(broker.url, prefix, GATEWAY__CONNECTORS="any") as front:
        account = await fuzz(front, broker.url, topology.names.orders, tmp_path, *options)
    assert account.faults == []
    assert account.answers[400]
    assert account.answers[401]


def test_the_account_finds_each_fault() -> None:
    assert Account(0, "", {200: 2, 400: 9}, 3, 3, 3).faults == []
    assert "schemathesis" in Account(1, "a failure", {200: 1}, 2, 2, 2).faults[0]
    assert Account(0, "", {200: 1, 500: 2}, 2, 2, 2).faults == ["2 answers were 500"]
    for messages, identities in ((4, 4), (2, 2), (3, 2)):
        assert len(Account(0, "", {200: 2}, 3, messages, identities).faults) == 1
    assert "no array" in Account(0, "", {200: 3}, 3, 3, 3).faults[0]
    assert len(Account(0, "", {400: 3}, 0, 0, 0).faults) == 1
