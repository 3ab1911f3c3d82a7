"""Ten thousand dead letters, worked on by filter, with the command killed in the middle."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from signalq.amqp.topology import Topology
from signalq.names import Names
from tests.support.amqp import depth, drain
from tests.support.broker import Broker
from tests.support.commands import ended, run, start
from tests.support.consumer import ledger_url
from tests.support.graveyard import bury, dead, in_ledger
from tests.support.waiting import wait_until

LETTERS = 10_000
SLOW_S = 120.0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_letters_are_listed_replayed_and_discarded_by_filter_through_kills_and_the_counts_agree(
    broker: Broker, topology: Topology, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", names.prefix)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", ledger_url(names.prefix))
    await bury(broker.url, names, [dead(n, reason="expired" if n % 2 else "rejected") for n in range(LETTERS)])
    assert await listed() == list(range(LETTERS))
    for killed_at in (500, 1500, 3000):
        await killed("replay", "rejected", names, killed_at)
    assert (await run("dead", "replay", "--reason", "rejected", "--force", timeout_s=SLOW_S)).status == 0
    assert sorted(await listed()) == list(range(1, LETTERS, 2)), "a kill may leave them in another order"
    for killed_at in (500, 3000):
        await killed("discard", "expired", names, killed_at)
    assert (await run("dead", "discard", "--reason", "expired", timeout_s=SLOW_S)).status == 0
    assert await depth(broker.url, names.dead) == 0
    assert in_ledger(names.prefix, "SELECT generation, status, count(*) FROM intents GROUP BY 1, 2 ORDER BY 1") == [
        (1, "dead", LETTERS // 2),
        (2, "received", LETTERS // 2),
    ]
    steps = in_ledger(names.prefix, "SELECT what, count(*) FROM steps WHERE what <> 'dead' GROUP BY 1 ORDER BY 1")
    assert steps == [("discarded", LETTERS // 2), ("replayed", LETTERS // 2)]
    published = Counter(message.properties.message_id for message in await drain(broker.url, names.orders))
    assert set(published) == {f"id-{n}" for n in range(0, LETTERS, 2)}, "each at least once: a copy is dropped"


async def listed() -> list[int]:
    """The numbers of the letters, in the order of the queue."""
    ran = await run("dead", "list", "--queue", "--json", timeout_s=SLOW_S)
    return [int(row["intent_id"].removeprefix("id-")) for row in ran.rows]


async def killed(command: str, reason: str, names: Names, steps: int) -> None:
    """Run it, and kill it when it has come so far."""

    def came_so_far() -> bool:
        ((count,),) = in_ledger(names.prefix, f"SELECT count(*) FROM steps WHERE what = '{command}ed'")  # noqa: S608
        return bool(count >= steps)

    process = await start("dead", command, "--reason", reason, "--force")
    await wait_until(came_so_far, SLOW_S)
    process.kill()
    assert (await ended(process)).status == -signal.SIGKILL
