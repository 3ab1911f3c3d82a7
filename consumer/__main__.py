"""Settings, telemetry, build the objects, run; nothing else."""

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from signalq.consumer.attempt import Attempts
from signalq.consumer.broker.connection import BrokerConnection
from signalq.consumer.broker.lane_consumer import LaneContext
from signalq.consumer.broker.publisher import BrokerPublisher, OutcomePublisher
from signalq.consumer.broker.session import UNACKED_MAX_S
from signalq.consumer.broker.topology import topology_of
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.due_queue import DUE_BYTES, DUE_WINDOW, DueQueue
from signalq.consumer.handling import Handling
from signalq.consumer.lanes.due_times import DueTimes
from signalq.consumer.lanes.floods import Floods
from signalq.consumer.lanes.turn import WaitingRoom
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.pipeline import Pipeline
from signalq.consumer.reception import Reception
from signalq.consumer.service import Service
from signalq.consumer.settling import Settler
from signalq.consumer.telemetry.health import Pages
from signalq.consumer.telemetry.intents import IntentTelemetry
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.telemetry.traces import traces_of
from signalq.consumer.webhook.client import Webhook
from signalq.errors import SettingsError, SignalQError
from signalq.logs import Masker, configure_logging
from signalq.settings.config_file import settings_file
from signalq.settings.reload import CurrentSettings, Reloader, log_found_file, warn_of_environment
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings

# Makes the pages beside the probes, by the settings in force, and by whether the consumer has any order.
MakePages = Callable[[Callable[[], Settings], Callable[[], bool]], Pages]


def run(
    settings: Settings,
    *,
    config: Path | None = None,
    unacked_max_s: float = UNACKED_MAX_S,
    pages: MakePages | None = None,
) -> int:
    """Run the consumer until SIGTERM or SIGINT; returns the exit status (0 drained, 1 failed, 2 settings).

    `config` is the settings file that was named, if any. The settings file is read again when it changes.
    """
    masker = configure_logging(form=settings.log.format, level=settings.log.level, blanker=settings.blanker)
    log_found_file(config)
    try:
        asyncio.run(_run(settings, masker, config, unacked_max_s, pages))
    except SignalQError as error:
        structlog.get_logger().error("service.failed", why=str(error), kind=error.kind)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


async def _run(
    settings: Settings, masker: Masker, config: Path | None, unacked_max_s: float, make_pages: MakePages | None
) -> None:
    jitter = random.SystemRandom().random
    metrics = Metrics(settings.connectors)
    current = CurrentSettings(settings)
    skew = Skew(lambda source, ahead_s: metrics.clock_skew_seconds.labels(source).set(ahead_s))

    def know(changed: Settings) -> None:
        masker.blank(changed.secret_values(), changed.shown_names())
        metrics.configure(changed.connectors)
        warn_of_environment(current.settings, changed)

    file = settings_file(config)
    reloader = Reloader(current, file=file, load=lambda: load_settings(file, look=False), on_change=know)
    publisher = BrokerPublisher(settings, jitter, skew)
    async with (
        traces_of(settings, metrics) as traces,
        Ledger(
            database_at(settings.ledger.url.get_secret_value(), create=True),
            retention_days=settings.ledger.retention_days,
            observe_commit_s=metrics.ledger_commit_seconds.observe,
            skew=skew,
        ) as ledger,
        Webhook(
            connect_s=settings.webhook.connect_timeout_s,
            total_s=settings.webhook.timeout_s,
            proxy=settings.webhook.proxy.get_secret_value() if settings.webhook.proxy else None,
            sends_traceparent=settings.webhook.send_traceparent,
        ) as webhook,
        reloader.running(),
    ):
        handling = handling_of(
            current, ledger=ledger, webhook=webhook, publisher=publisher, metrics=metrics, jitter=jitter, skew=skew
        )
        handling.traces = traces
        # The objects made so far live to the end. Searched for garbage again and again, they held orders up: with 300
        # waiting beside them, the slowest of a hundred took 1.5 times as long.
        gc.collect()
        gc.freeze()
        context = LaneContext(
            connection=BrokerConnection(settings, topology_of(settings), ledger),
            ledger=ledger,
            on_active=handling.pipeline.remember,
            on_delivery=handling.start,
            on_lost=handling.slots.withdraw,
            jitter=jitter,
        )
        lanes = ConsumedLanes(settings, context, unacked_max_s=unacked_max_s)
        await Service(
            settings,
            lanes=lanes,
            handling=handling,
            publisher=publisher,
            ledger=ledger,
            metrics=metrics,
            pages=make_pages(lambda: current.settings, lambda: bool(len(handling.slots))) if make_pages else None,
        ).run()


def handling_of(
    current: CurrentSettings,
    *,
    ledger: Ledger,
    webhook: Webhook,
    publisher: BrokerPublisher,
    metrics: Metrics,
    jitter: Callable[[], float],
    skew: Skew,
    clock: Clock | None = None,
) -> Handling:
    """The handling of all messages, with everything behind it."""
    clock = clock or Clock()
    # A delayed order waits out its last second in the due queue, and the last LANE_LEAD_MS of that in its lane.
    due_soon = DueTimes(clock, places_max=DUE_WINDOW, bytes_max=DUE_BYTES)
    due_now = DueTimes(clock, places_max=DUE_WINDOW, bytes_max=DUE_BYTES)
    telemetry = IntentTelemetry(metrics, clock)
    outcomes = OutcomePublisher(publisher)
    reception = Reception(current, telemetry=telemetry, clock=clock, skew=skew)
    pipeline = Pipeline(
        reception=reception,
        floods=Floods(),
        waiting=WaitingRoom(current, ledger=ledger, due_times=due_now, clock=clock, jitter=jitter),
        attempts=Attempts(
            current, ledger=ledger, webhook=webhook, telemetry=telemetry, outcomes=outcomes, clock=clock, skew=skew
        ),
        settler=Settler(ledger, publisher, telemetry, clock),
        outcomes=outcomes,
        ledger=ledger,
    )
    due_queue = DueQueue(
        reception=reception, due_times=due_soon, publisher=publisher, clock=clock, handle_as_any=pipeline.handle
    )
    return Handling(current.settings, pipeline, due_queue)


def main() -> int:
    """`python -m signalq.consumer`: the settings come from SIGNALQ_CONFIG or ./signalq.toml, and the environment."""
    os.umask(0o077)  # the files that the process makes, the ledger above all, are its user's alone
    os.environ.pop("SSLKEYLOGFILE", None)  # Python's TLS would write the keys of every connection to that file
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be followed: it must not end what is starting
    if sys.argv[1:]:
        sys.stderr.write("python -m consumer takes no arguments: `signalq consume --help` tells the options\n")
        return 2
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
