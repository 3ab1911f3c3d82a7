"""What is kept of a connector's waits for its lane's next consumer."""

from __future__ import annotations

from dataclasses import replace

from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.backoff import Backoffs
from signalq.consumer.lanes.pacing import Paces
from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues
from signalq.consumer.ledger import Epoch, LaneMemory
from signalq.consumer.orders.state import Attempt
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings
from tests.support.ledgers import MemoryLedger
from tests.support.orders import order

EPOCH = Epoch("q", 1, None)
SETTINGS = Settings(delivery={"backoff_base_s": 2, "backoff_max_s": 30, "retry_after_max_s": 60})


class NotingLedger(MemoryLedger):
    """Notes what is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[LaneMemory] = []

    def remember(self, lane: str, memory: LaneMemory) -> None:
        assert lane == EPOCH.lane
        self.kept.append(memory)


async def test_each_failure_is_kept_with_its_wait_and_a_success_ends_that_once() -> None:
    ledger, queue = NotingLedger(), ConnectorQueue()
    backoffs = Backoffs(
        CurrentSettings(SETTINGS), ledger=ledger, queues=ConnectorQueues(), clock=Clock(), jitter=lambda: 1.0
    )

    def answered(certainty: str, retry_after_s: float | None = None) -> float:
        attempt = Attempt(certainty, sent=True, why="", retry_after_s=retry_after_s)  # type: ignore[arg-type]
        return backoffs.note_answer(order(), attempt, EPOCH, queue, queue.failures)

    assert answered("accepted") == 0
    assert not ledger.kept, "as long as nothing fails there is nothing to keep"
    assert answered("not taken") == 2
    assert answered("unknown", 400) == 4
    assert answered("refused") == answered("accepted") == 0
    assert ledger.kept == [LaneMemory("main", 1, 2_000), LaneMemory("main", 2, 60_000), LaneMemory("main", 0, 0)]


async def test_a_backoff_that_the_ledger_kept_is_waited_for() -> None:
    queues = ConnectorQueues()
    backoffs = Backoffs(
        CurrentSettings(SETTINGS), ledger=MemoryLedger(), queues=queues, clock=Clock(), jitter=lambda: 1.0
    )
    backoffs.remember(Epoch("q", 2, None, remembered=(LaneMemory("main", 3, 5_000), LaneMemory("idle", 0, 0))))
    found = queues.of("main")
    assert found.failures == 3
    assert 4_000 < found.backoff_until_ms - Clock().even_ms() <= 5_000
    assert not queues.of("idle").failures


async def test_a_paced_post_is_kept_as_it_is_claimed_and_again_with_its_answer_from_when_it_began() -> None:
    """Its claim may have taken a while, and the next POST must not come sooner for that."""
    ledger, queue = NotingLedger(), ConnectorQueue()
    backoffs = Backoffs(
        CurrentSettings(SETTINGS), ledger=ledger, queues=ConnectorQueues(), clock=Clock(), jitter=lambda: 1.0
    )
    now_s = [1_000.0]
    backoffs._paces = Paces(lambda: now_s[0])
    paced = order()
    paced = replace(paced, policy=replace(paced.policy, rate_per_s=0.1))
    backoffs.claims(paced, EPOCH, queue)
    now_s[0] += 0.5
    backoffs.begins(paced)
    now_s[0] += 0.25
    backoffs.note_answer(paced, Attempt("accepted", sent=True, why=""), EPOCH, queue, 0)
    assert ledger.kept == [LaneMemory("main", 0, 0, posted_ago_ms=0), LaneMemory("main", 0, 0, posted_ago_ms=250)]
