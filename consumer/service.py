"""The life of the consumer: start, serve, drain. To drain is to take nothing more in, finish what has begun, close."""

import asyncio
import signal
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.handling import Handling
from signalq.consumer.kept_going import kept_going
from signalq.consumer.lanes.first_in_line import NOBODY_IN_LINE
from signalq.consumer.ledger import LaneFacts
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.replicas.rebalancer import LaneRebalancer, watch_ledger
from signalq.consumer.telemetry.health import OpsServer, Pages
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.telemetry.switch import SwitchReport
from signalq.errors import BrokerError
from signalq.settings.environment import told
from signalq.settings.sections import Settings
from signalq.version import __version__

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOSE_S = 2.0
CANCEL_AGAIN_S = 0.2
# So many lanes are named where some are not consumed.
LANES_NAMED_MAX = 5

log = structlog.get_logger()


class Service:
    """Owns every task; `run` returns when the service was asked to stop and has drained."""

    def __init__(
        self,
        settings: Settings,
        *,
        lanes: ConsumedLanes,
        handling: Handling,
        publisher: BrokerPublisher,
        ledger: Ledger,
        metrics: Metrics,
        pages: Pages | None = None,
    ) -> None:
        self._settings = settings
        self._lanes = lanes
        self._handling = handling
        self._slots = handling.slots
        self._publisher = publisher
        self._ledger = ledger
        self._stop = asyncio.Event()
        self._cut_off = asyncio.Event()
        # Drained, and nothing was cut off.
        self._is_settled = False
        self._ops = OpsServer(settings.ops, why_not_ready=self._why_not_ready, registry=metrics.registry, pages=pages)
        self._rebalancer = LaneRebalancer(ledger, lanes, handling.finish)
        ledger.count_unacked(lanes.unacked)
        ledger.describe_lanes(self._lane_facts)
        ledger.watch_switch(SwitchReport(metrics))
        metrics.in_flight.set_function(lambda: len(self._slots))
        metrics.ledger_wal_bytes.set_function(lambda: ledger.wal_bytes)
        metrics.scheduled.set_function(lambda: ledger.scheduled)
        metrics.letters.set_function(lambda: ledger.letters.count)
        metrics.oldest_letter_seconds.set_function(lambda: ledger.letters.oldest_s)
        metrics.broker_connected.set_function(lambda: float(not lanes.silent))

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises what ended it otherwise: SettingsError, BrokerError."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._asked_to_stop)
        try:
            await self._serve(await self._ops.start())
        finally:
            await self._ops.stop()
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    async def _serve(self, ops_port: int) -> None:
        consuming = [asyncio.create_task(lane.run(), name=f"lane {lane.queue}") for lane in self._lanes.lasting]
        watch = partial(watch_ledger, self._ledger, self._lanes)
        moving = [
            asyncio.create_task(kept_going(self._rebalancer.run, "rebalancer"), name="rebalancer"),
            asyncio.create_task(kept_going(watch, "ledger watch"), name="ledger watch"),
        ]
        beside = [
            asyncio.create_task(kept_going(partial(self._announce, ops_port), "announce"), name="announce"),
            asyncio.create_task(kept_going(self._lanes.consume_retired, "retired lanes"), name="retired lanes"),
        ]
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({*consuming, *moving, stop}, return_when=asyncio.FIRST_COMPLETED)
            # No task was canceled by this service yet: aiormq cancels what waits for it when a connection ends.
            strays = [task.get_name() for task in (*consuming, *moving) if task.cancelled() and not self._stop.is_set()]
            for task in moving:
                task.cancel()
            await self._drain()
            for task in (*consuming, *moving):
                if task.done() and not task.cancelled():
                    task.result()
            if strays:
                raise BrokerError(f"the task {strays[0]} was canceled, though nobody has asked the consumer to stop")
        finally:
            await _ended((*consuming, *moving, *beside, stop))
            await self._close()

    async def _announce(self, ops_port: int) -> None:
        for lane in self._lanes.lasting:
            await lane.consuming.wait()
        log.info(
            "service.started",
            environment=told(self._settings.environments()),
            ops_port=ops_port,
            console=self._ops.pages_at,
            ledger=self._ledger.name,
            lanes=self._lanes.order_lanes,
            version=__version__,
        )

    async def _drain(self) -> None:
        """Begin no new POST; finish and settle those on the wire; the rest goes back to the broker in order."""
        log.info("service.draining", in_flight=len(self._slots))
        self._ops.drain()
        self._lanes.drain()
        self._slots.withdraw()
        finished = asyncio.create_task(self._handling.drained(), name="drain")
        cut_off = asyncio.create_task(self._cut_off.wait(), name="cut off")
        # CLOSE_S is for closing. A POST is never cut off within its own time.
        webhook, drain_s = self._settings.webhook, self._settings.delivery.drain_timeout_s
        limit_s = max(drain_s - CLOSE_S, webhook.connect_timeout_s + webhook.timeout_s)
        await asyncio.wait({finished, cut_off}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        self._is_settled = finished.done()
        if not self._is_settled:
            log.error("service.cut_off", in_flight=len(self._slots))
            await self._slots.cut_off()
        await _ended((finished, cut_off))

    async def _close(self) -> None:
        """Close what is open; a broker that does not answer is left after CLOSE_S."""
        await self._handling.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._lanes.close(is_settled=self._is_settled)
                await self._publisher.close()
        log.info("service.stopped")

    def _lane_facts(self) -> dict[str, LaneFacts]:
        """The facts of each lane of which messages are here, for the signs of life."""
        held = {queue: count for queue, count in self._lanes.unacked().items() if count}
        if not held:
            return {}
        out, first = self._ledger.out, self._handling.pipeline.first_in_line()
        return {queue: LaneFacts(count, out[queue], *first.get(queue, NOBODY_IN_LINE)) for queue, count in held.items()}

    def _why_not_ready(self) -> str | None:
        if self._stop.is_set():
            return "draining"
        if self._ledger.why_not_writable is not None:
            return self._ledger.why_not_writable
        silent = self._lanes.silent
        more = f" and {len(silent) - LANES_NAMED_MAX} more" if len(silent) > LANES_NAMED_MAX else ""
        return f"not consuming {', '.join(silent[:LANES_NAMED_MAX])}{more}" if silent else None

    def _asked_to_stop(self) -> None:
        """Drain; asked a second time, cut off."""
        if self._stop.is_set():
            self._cut_off.set()
        self._stop.set()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks until all have ended.

    Before Python 3.12, wait_for loses a cancellation that comes in the moment in which its own wait is over. A lane
    that asks the broker just then would go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
