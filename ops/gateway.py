"""The gateway as the command runs it: from the settings, until it is asked to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from consumer.reload import CurrentSettings, Reloader
from consumer.settings import LOOPBACK_HOSTS, Settings, load_settings, settings_file
from consumer.telemetry import Masker, configure_logging
from producers.gateway.alerts import Rules
from producers.gateway.callers import Callers
from producers.gateway.outlet import Outlet
from producers.gateway.server import Gateway, Options
from signalq.version import __version__

CLOSE_S = 2.0

log = structlog.get_logger()


def run(settings: Settings, config: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where it can't listen.

    `config` is the settings file that was named, and is read again when it changes.
    """
    masker = configure_logging(form=settings.log.format, level=settings.log.level, secrets=settings.secret_values())
    asyncio.run(_serve(settings, config, masker))


def options_of(current: CurrentSettings) -> Options:
    """What the settings say; of connectors always those that hold now."""
    settings, ours = current.settings, current.settings.gateway
    return Options(
        host=ours.host,
        port=ours.port,
        rules_of=lambda connector: _rules(current.settings, connector),
        is_configured=lambda connector: connector in current.settings.connectors,
        delay_max_s=settings.delivery.delay_max_s,
        callers=Callers(ours.sources, ours.proxies),
        path_secret=ours.path_secret.get_secret_value() if ours.path_secret else None,
        rate_per_s=ours.rate_per_s,
    )


def _rules(settings: Settings, name: str) -> Rules:
    connector = settings.connector(name)
    return Rules(connector.token.get_secret_value() if connector.token else None, connector.extra_fields)


async def _serve(settings: Settings, config: Path | None, masker: Masker) -> None:
    current = CurrentSettings(settings)
    reloader = Reloader(
        current,
        file=settings_file(config),
        load=lambda: load_settings(config),
        on_change=lambda changed: masker.blank(changed.secret_values()),
    )
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    broker = settings.broker
    outlet = Outlet(broker.url.get_secret_value(), prefix=broker.prefix, heartbeat_s=broker.heartbeat_s)
    gateway = Gateway(options_of(current), outlet)
    port = await gateway.start()
    _say_who_may_call(settings)
    log.info("gateway.started", host=settings.gateway.host, port=port, version=__version__)
    async with reloader.running(), _connected(outlet):
        await asked_to_stop.wait()
        log.info("gateway.stopping")
        await gateway.stop()
    log.info("gateway.stopped")


@asynccontextmanager
async def _connected(outlet: Outlet) -> AsyncIterator[None]:
    """Keep the connection to RabbitMQ; should that ever fail, so does the gateway, instead of going on without."""
    try:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(outlet.run(), name="gateway connection")
            yield
            keeping.cancel()
    finally:
        # RabbitMQ may not answer any more, and nothing is to be had from it.
        with suppress(TimeoutError):
            await asyncio.wait_for(outlet.close(), CLOSE_S)


def _say_who_may_call(settings: Settings) -> None:
    ours = settings.gateway
    if ours.host not in LOOPBACK_HOSTS and not ours.sources and ours.path_secret is None:
        log.warning("gateway.open", advice="set gateway.sources or gateway.path_secret: only tokens keep others out")
