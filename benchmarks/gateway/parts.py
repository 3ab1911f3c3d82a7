"""The two halves: a steady load, and a broker that dies in the middle of one."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.alerts import Answers, number_of, steadily
from benchmarks.gateway.running import collected, declared, ready_count, running
from signalq.local import PrivateRabbitMQ
from signalq.names import Names

WARM_UP_S = 5.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Load:
    """A steady load: latency of the ok in ms from the intended time of sending, and what is in the queue."""

    ok: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: dict[str, int]
    messages: int

    @property
    def faults(self) -> list[str]:
        """What must not be."""
        found = [f"{count} x {error}" for error, count in self.errors.items()]
        return found + ([f"{self.ok} ok, {self.messages} messages"] if self.ok != self.messages else [])


@dataclass(frozen=True, slots=True)
class Kill:
    """A load during which the broker was killed and started again."""

    sent: int
    ok: int
    errors: dict[str, int]
    repeats: int
    given_up: int
    slowest_s: float
    # Answered ok, and not in the queue.
    lost: int
    # In the queue under more than one message_id: more than one order.
    twice: int
    # In the queue, though nobody was told ok: what was given up in time may have arrived.
    unanswered: int

    @property
    def faults(self) -> list[str]:
        """What must not be: an ok that is lost, an alert that became two orders, an answer that came too late."""
        late = {error: count for error, count in self.errors.items() if error.startswith("no answer")}
        found = [f"{self.lost} answered ok are not in the queue"] if self.lost else []
        found += [f"{self.twice} alerts became two orders"] if self.twice else []
        return found + [f"{count} x {error}" for error, count in late.items()]


async def load(
    kind: str, broker_url: str, names: Names, rate_per_s: float, seconds: float, folder: Path, progress: Progress
) -> Load:
    """The load on a gateway of this kind; what warms it up is not counted."""
    async with running(kind, broker_url, names, folder) as url:
        await steadily(url, rate_per_s, WARM_UP_S, repeating=True)
        before = await ready_count(broker_url, names.orders)
        answers = await steadily(
            url, rate_per_s, seconds, progress=lambda words: progress(f"{kind}, steady load: {words}")
        )
        messages = await ready_count(broker_url, names.orders) - before
    return _load(answers, messages)


def _load(answers: Answers, messages: int) -> Load:
    return Load(
        len(answers.ok),
        answers.percentile_ms(50),
        answers.percentile_ms(99),
        max(answers.late_ms),
        answers.errors,
        messages,
    )


async def kill(
    kind: str, broker: PrivateRabbitMQ, names: Names, rate_per_s: float, seconds: float, progress: Progress
) -> Kill:
    """The load; half-way through, the broker is killed, and started at once."""
    await declared(broker.url, names)
    with tempfile.TemporaryDirectory(prefix="signalq-bench-") as folder:
        async with running(kind, broker.url, names, Path(folder)) as url:
            killing = asyncio.create_task(_kill_after(broker, seconds / 2, progress, kind))
            answers = await steadily(
                url,
                rate_per_s,
                seconds,
                repeating=True,
                progress=lambda words: progress(f"{kind}, the broker dies: {words}"),
            )
            await killing
            return account(round(rate_per_s * seconds), answers, await collected(broker.url, names.orders))


async def _kill_after(broker: PrivateRabbitMQ, seconds: float, progress: Progress, kind: str) -> None:
    await asyncio.sleep(seconds)
    progress(f"{kind}: killing the broker")
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)


def account(sent: int, answers: Answers, messages: list[tuple[str, bytes]]) -> Kill:
    """What became of each alert."""
    ids: dict[int, set[str]] = defaultdict(set)
    for message_id, body in messages:
        ids[number_of(body)].add(message_id)
    ok = set(answers.ok)
    return Kill(
        sent,
        len(ok),
        answers.errors,
        answers.repeats,
        answers.given_up,
        answers.slowest_s,
        lost=len(ok - ids.keys()),
        twice=sum(len(found) > 1 for found in ids.values()),
        unanswered=len(ids.keys() - ok),
    )
