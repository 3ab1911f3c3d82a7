"""Settings, telemetry, build the objects, run; nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from signalq.consumer.broker.connection import BrokerConnection
from signalq.consumer.broker.consume_options import UNACKED_MAX_S
from signalq.consumer.broker.lane_consumer import LaneContext
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.topology import topology_of
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.handling import Handling
from signalq.consumer.ledger import Ledger
from signalq.consumer.ledger.sql import SqlLedger
from signalq.consumer.pipeline import Pipeline
from signalq.consumer.service import Service
from signalq.consumer.telemetry.metrics import Masker, Metrics, configure_logging
from signalq.consumer.webhook.client import Timeouts, Webhook
from signalq.errors import SettingsError, SignalQError
from signalq.names import Names
from signalq.settings.reload import CurrentSettings, Reloader
from signalq.settings.sections import Settings, load_settings, settings_file

LedgerMaker = Callable[[Settings, Metrics, Skew], AbstractAsyncContextManager[Ledger]]


def durable_ledger(settings: Settings, metrics: Metrics, skew: Skew) -> SqlLedger:
    """The ledger of the settings."""
    return SqlLedger(
        settings.ledger.url.get_secret_value(),
        retention_days=settings.ledger.retention_days,
        observe_commit_s=metrics.ledger_commit_seconds.observe,
        skew=skew,
    )


def run(
    settings: Settings,
    make_ledger: LedgerMaker = durable_ledger,
    *,
    config: Path | None = None,
    unacked_max_s: float = UNACKED_MAX_S,
) -> int:
    """Run the consumer until SIGTERM or SIGINT; returns the exit status (0 drained, 1 failed, 2 settings).

    `config` is the settings file that was named, and is read again when it changes.
    """
    masker = configure_logging(form=settings.log.format, level=settings.log.level, blanker=settings.blanker)
    try:
        asyncio.run(_run(settings, make_ledger, masker, config, unacked_max_s))
    except SignalQError as error:
        structlog.get_logger().error("service.failed", why=str(error))
        return 2 if isinstance(error, SettingsError) else 1
    return 0


async def _run(
    settings: Settings, make_ledger: LedgerMaker, masker: Masker, config: Path | None, unacked_max_s: float
) -> None:
    names = Names(settings.broker.prefix)
    clock = Clock()
    jitter = random.SystemRandom().random
    metrics = Metrics(settings.connectors)
    current = CurrentSettings(settings)
    skew = Skew(lambda source, ahead_s: metrics.clock_skew_seconds.labels(source).set(ahead_s))

    def know(changed: Settings) -> None:
        masker.blank(changed.secret_values(), changed.shown_names())
        metrics.configure(changed.connectors)

    reloader = Reloader(current, file=settings_file(config), load=lambda: load_settings(config), on_change=know)
    publisher = BrokerPublisher(settings, names, jitter, skew)
    timeouts = Timeouts(connect_s=settings.webhook.connect_timeout_s, total_s=settings.webhook.timeout_s)
    async with (
        make_ledger(settings, metrics, skew) as ledger,
        Webhook(timeouts) as webhook,
        reloader.running(),
    ):
        pipeline = Pipeline(
            current,
            ledger=ledger,
            webhook=webhook,
            publisher=publisher,
            metrics=metrics,
            clock=clock,
            jitter=jitter,
            skew=skew,
        )
        # The objects made so far live to the end. Searched for garbage again and again, they held orders up: with 300
        # waiting beside them, the slowest of a hundred took 1.5 times as long.
        gc.collect()
        gc.freeze()
        handling = Handling(settings, pipeline)
        context = LaneContext(
            connection=BrokerConnection(settings, topology_of(settings), ledger),
            ledger=ledger,
            on_active=pipeline.remember,
            on_delivery=handling.start,
            on_lost=handling.slots.withdraw,
            jitter=jitter,
        )
        await Service(
            settings,
            lanes=ConsumedLanes(settings, context, due_room=pipeline.due_room, unacked_max_s=unacked_max_s),
            handling=handling,
            publisher=publisher,
            ledger=ledger,
            metrics=metrics,
        ).run()


def main() -> int:
    """`python -m consumer`: the settings come from SIGNALQ_CONFIG and the environment."""
    os.umask(0o077)  # what it makes, the ledger above all, is its user's alone
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
