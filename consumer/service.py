"""The life of the consumer: start, serve, drain.

Three steps out: take in nothing more, finish what is on the wire, close.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import structlog

from signalq.consumer.broker.connection import RECONNECT_MAX_S, BrokerConnection, SharedFailure
from signalq.consumer.broker.lane_consumer import (
    UNACKED_MAX_S,
    WATCHDOG_PERIOD_S,
    WATCHDOG_QUESTIONS_PER_S,
    ConsumeOptions,
    Delivery,
    Lane,
    Session,
    told,
)
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.due_queue import DUE_BYTES, DUE_WINDOW, DueQueue
from signalq.consumer.kept_going import kept_going
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import lanes
from signalq.consumer.orders.delays import backoff_s
from signalq.consumer.pipeline import Pipeline
from signalq.consumer.replicas.rebalancer import LaneRebalancer, LedgerWatch
from signalq.consumer.slots import Slot, Slots
from signalq.consumer.telemetry.health import OpsServer
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.telemetry.switch import SwitchReport
from signalq.names import Names
from signalq.settings.sections import Settings
from signalq.version import __version__

CRASH_PAUSE_S = 0.2
CRASH_PAUSE_MAX_S = 5.0
CLOSE_S = 2.0
CANCEL_AGAIN_S = 0.2
# So many lanes are named where some don't consume.
LANES_NAMED_MAX = 5

Handler = Callable[[Delivery, Slot], Coroutine[Any, Any, None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Handlers:
    """What handles the messages of the lanes, and those of the due queue."""

    pipeline: Pipeline
    due_queue: DueQueue


class Service:
    """Owns every task; `run` returns when the service was asked to stop and has drained."""

    def __init__(
        self,
        settings: Settings,
        *,
        link: BrokerConnection,
        publisher: BrokerPublisher,
        handlers: Handlers,
        ledger: Ledger,
        metrics: Metrics,
        jitter: Callable[[], float],
        unacked_max_s: float = UNACKED_MAX_S,
    ) -> None:
        names = Names(settings.broker.prefix)
        self._settings = settings
        self._jitter = jitter
        self._unacked_max_s = unacked_max_s
        self._link = link
        self._publisher = publisher
        self._pipeline = handlers.pipeline
        self._due_queue = handlers.due_queue
        self._ledger = ledger
        self._slots = Slots()
        self._stop = asyncio.Event()
        self._cut_off = asyncio.Event()
        # Drained, and nothing was cut off.
        self._is_settled = False
        self._ops = OpsServer(settings.ops, why_not_ready=self._why_not_ready, registry=metrics.registry)
        self._lanes = [
            self._lane(
                names.orders,
                handlers.pipeline.handle,
                self._manner(settings.delivery.shared_window, bytes_max=lanes.SHARED_BYTES),
                link=link.apart(),
            ),
            self._lane(
                names.due,
                handlers.due_queue.handle,
                replace(self._manner(DUE_WINDOW, bytes_max=2 * DUE_BYTES), make_room=handlers.due_queue.room),
                link=link.apart(),
            ),
            *map(self._own_lane, settings.own_lanes()),
        ]
        self._retired: list[Lane] = []
        ledger.count_unacked(lambda: {lane.queue: lane.unacked for lane in self._all_lanes()})
        ledger.watch_switch(SwitchReport(metrics))
        self._spreader = LaneRebalancer(ledger, self._all_lanes, self._finish)
        self._lifeline = LedgerWatch(ledger, self._all_lanes)
        metrics.in_flight.set_function(lambda: len(self._slots))
        metrics.ledger_wal_bytes.set_function(lambda: self._ledger.wal_bytes)
        metrics.scheduled.set_function(lambda: self._ledger.scheduled)
        metrics.broker_connected.set_function(lambda: float(all(lane.consuming.is_set() for lane in self._lanes)))

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises what ended it otherwise: SettingsError, BrokerError."""
        with self._signals():
            ops_port = await self._ops.start()
            try:
                await self._serve(ops_port)
            finally:
                await self._ops.stop()

    async def _serve(self, ops_port: int) -> None:
        tasks = [asyncio.create_task(lane.run(), name=f"lane {lane.queue}") for lane in self._lanes]
        movers = [
            asyncio.create_task(kept_going(self._spreader.run, "spreader"), name="spreader"),
            asyncio.create_task(kept_going(self._lifeline.run, "lifeline"), name="lifeline"),
        ]
        tasks += movers
        tasks.append(asyncio.create_task(self._announce(ops_port), name="announce"))
        retired = asyncio.create_task(self._serve_retired(), name="retired lanes")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            running = {*tasks[:-1], stop}
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for mover in movers:
                mover.cancel()
            await self._drain()
            for task in running - {stop}:
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            await _ended((*tasks, retired, stop))
            await self._close()

    async def _announce(self, ops_port: int) -> None:
        for lane in self._lanes:
            await lane.consuming.wait()
        log.info(
            "service.started",
            ops_port=ops_port,
            ledger=self._ledger.name,
            lanes=len(self._lanes) - 1,
            version=__version__,
        )

    async def _serve_retired(self) -> None:
        """Read empty what was the own lane of a connector that no setting gives one any more, until its queue is gone.

        All that lies there is astray, and is forwarded in order.
        """
        names = Names(self._settings.broker.prefix)
        queues = lanes.retired(self._settings, await self._ledger.known_lanes())
        failures = 0
        async with asyncio.TaskGroup() as serving:
            while queues:
                try:
                    if await self._retire(queues[0], names.connector_of(queues[0]) or ""):
                        name = f"retired lane {queues[0]}"
                        serving.create_task(kept_going(self._retired[-1].run, name), name=name)
                    queues.pop(0)
                except Exception as error:  # noqa: BLE001 - a library's own, too: the others are still to be read empty
                    failures += 1
                    wait_s = backoff_s(failures, base_s=CRASH_PAUSE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
                    if not isinstance(error, SharedFailure):
                        log.warning("broker.unreachable", queue=queues[0], why=told(error), retry_in_s=round(wait_s, 2))
                    await asyncio.sleep(wait_s)

    async def _retire(self, queue: str, connector: str) -> bool:
        """Unbind a lane and make ready to consume it; False where its queue is gone already."""
        depth = await self._link.depth(queue)
        if depth is None:
            await self._ledger.forget_lane(queue)
            return False
        unbound = await self._link.unbind(connector)
        log.warning("lane.retired", queue=queue, waiting=depth.ready, unbound=unbound)
        self._retired.append(
            self._lane(queue, self._pipeline.handle, self._manner(lanes.OWN_LANE_WINDOW, is_retired=True))
        )
        return True

    async def _drain(self) -> None:
        """No new POST; those on the wire finish and are settled; the rest goes back to the broker in order."""
        log.info("service.draining", in_flight=len(self._slots))
        for lane in self._all_lanes():
            lane.drain()
        self._slots.withdraw()
        finished = asyncio.create_task(self._finished(), name="drain")
        cut_off = asyncio.create_task(self._cut_off.wait(), name="cut off")
        await asyncio.wait(
            {finished, cut_off},
            timeout=self._time_to_drain_s(),
            return_when=asyncio.FIRST_COMPLETED,
        )
        self._is_settled = finished.done()
        if not self._is_settled:
            log.error("service.cut_off", in_flight=len(self._slots))
            await self._slots.cut_off()
        for task in (finished, cut_off):
            task.cancel()
        await asyncio.gather(finished, cut_off, return_exceptions=True)

    async def _finished(self) -> None:
        await self._slots.finished()
        await self._pipeline.told()

    def _time_to_drain_s(self) -> float:
        """Leaves CLOSE_S of the drain for closing, but never cuts off a POST that is still in its own time."""
        webhook, drain_timeout_s = self._settings.webhook, self._settings.delivery.drain_timeout_s
        return max(drain_timeout_s - CLOSE_S, webhook.connect_timeout_s + webhook.timeout_s)

    async def _close(self) -> None:
        """Close what is open; a broker that does not answer is left after CLOSE_S."""
        self._due_queue.close()
        await self._pipeline.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if self._is_settled:
                    await asyncio.gather(*(lane.leave_settled() for lane in self._all_lanes()))
                await asyncio.gather(*(lane.close() for lane in self._all_lanes()))
                await asyncio.gather(*(lane.hang_up() for lane in self._all_lanes()))
                await self._link.close()
                await self._publisher.close()
        log.info("service.stopped")

    def _all_lanes(self) -> Sequence[Lane]:
        return *self._lanes, *self._retired

    def _own_lane(self, connector: str) -> Lane:
        window = lanes.window_of(self._settings, connector)
        manner = self._manner(window, has_order=lanes.is_strict(self._settings, connector))
        return self._lane(Names(self._settings.broker.prefix).lane(connector), self._pipeline.handle, manner)

    def _manner(
        self,
        prefetch: int,
        *,
        bytes_max: int = lanes.OWN_LANE_BYTES,
        has_order: bool = True,
        is_retired: bool = False,
    ) -> ConsumeOptions:
        period_s = max(WATCHDOG_PERIOD_S, len(self._settings.own_lanes()) / WATCHDOG_QUESTIONS_PER_S)
        return ConsumeOptions(
            prefetch, bytes_max, has_order, is_retired, watch_period_s=period_s, unacked_max_s=self._unacked_max_s
        )

    def _lane(self, queue: str, handler: Handler, manner: ConsumeOptions, link: BrokerConnection | None = None) -> Lane:
        return Lane(
            link or self._link,
            queue,
            manner,
            ledger=self._ledger,
            on_delivery=lambda delivery: self._start(handler, delivery),
            on_lost=self._lost,
            on_active=self._pipeline.remember,
            jitter=self._jitter,
        )

    def _start(self, handler: Handler, delivery: Delivery) -> None:
        self._slots.start(delivery.session, lambda slot: self._guarded(handler, delivery, slot), "message")

    async def _guarded(self, handler: Handler, delivery: Delivery, slot: Slot) -> None:
        """The one place that catches whatever a handler did not foresee; it never acknowledges. Giving a message up
        can fail as well: it is tried again as long as the message is ours.
        """
        for crashes in count(1):
            try:
                if crashes <= self._settings.delivery.crashes_max:
                    await handler(delivery, slot)
                else:
                    await self._pipeline.give_up(delivery, slot, self._settings.delivery.crashes_max)
            except Exception:
                delivery.session.owe(delivery.tag)  # nobody knows how far it came
                message_id = delivery.message.properties.message_id
                log.exception("intent.handling_failed", crashes=crashes, message_id=message_id)
            else:
                return
            if slot.withdrawn:
                return
            delivery = replace(delivery, message=replace(delivery.message, handled_before=True))
            await asyncio.sleep(backoff_s(crashes, base_s=CRASH_PAUSE_S, max_s=CRASH_PAUSE_MAX_S, fraction=1.0))

    def _lost(self, session: Session) -> None:
        """Its messages will be delivered again: let go of those that only wait, finish the others."""
        self._slots.withdraw(session)

    async def _finish(self, session: Session) -> None:
        """Let go of what only waits of a session, and return when the rest of it is settled."""
        self._slots.withdraw(session)
        await self._slots.finished(session)

    def _why_not_ready(self) -> str | None:
        if self._stop.is_set():
            return "draining"
        if self._ledger.why_not_writable is not None:
            return self._ledger.why_not_writable
        silent = [lane.queue for lane in self._lanes if not lane.consuming.is_set()]
        more = f" and {len(silent) - LANES_NAMED_MAX} more" if len(silent) > LANES_NAMED_MAX else ""
        return f"not consuming {', '.join(silent[:LANES_NAMED_MAX])}{more}" if silent else None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM or SIGINT drains; a second one cuts off."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._cut_off.set()
        self._stop.set()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel them until all have ended. Before Python 3.12, wait_for loses a cancellation that comes in the moment in
    which what it waits for is there; one of many lanes that asks the broker just then would go on for ever.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
