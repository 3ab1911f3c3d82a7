"""The gateway as the command runs it: from the settings, until it is asked to stop."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog
from pydantic import SecretStr

from signalq.errors import SettingsError
from signalq.logs import Masker, configure_logging
from signalq.ops.terminal.service_traces import traced_service
from signalq.ops.terminal.stopping import stop_event
from signalq.producers.gateway.alerts import Reading, Rules, token_digest
from signalq.producers.gateway.callers import Callers
from signalq.producers.gateway.outlet import Outlet
from signalq.producers.gateway.server import GatewayServer, Options
from signalq.settings.config_file import settings_file
from signalq.settings.reload import CurrentSettings, Reloader, log_found_file
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from signalq.version import __version__

CLOSE_S = 2.0
NAMED_MAX = 10

log = structlog.get_logger()


def run(settings: Settings, config: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where it can't listen.

    `config` is the settings file that was named, if any. The settings file is read again when it changes.
    """
    if not settings.connectors and settings.gateway.connectors == "named":
        raise SettingsError(
            'gateway.connectors is "named", and no connector is named, so that nobody could order: add a table '
            '[connectors.<name>] with its token, or set gateway.connectors = "any"'
        )
    settings = without_tokens(settings)
    masker = configure_logging(form=settings.log.format, level=settings.log.level, blanker=settings.blanker)
    log_found_file(config)
    asyncio.run(_serve(settings, config, masker))


def without_tokens(settings: Settings) -> Settings:
    """The settings with a digest in the place of each token: the gateway compares tokens, and sends none."""
    connectors = {}
    for name, connector in settings.connectors.items():
        digest = SecretStr(token_digest(connector.token.get_secret_value()).hex()) if connector.token else None
        connectors[name] = connector.model_copy(update={"token": digest})
    return settings.model_copy(update={"connectors": connectors})


def options_of(current: CurrentSettings) -> Options:
    """The options by the settings (without_tokens); connectors are read anew at each alert."""
    settings, ours = current.settings, current.settings.gateway
    return Options(
        host=ours.host,
        port=ours.port,
        reading=Reading(
            rules_of=lambda connector: _rules(current.settings, connector),
            delay_max_s=settings.delivery.delay_max_s,
            time_field=ours.time_field,
        ),
        is_configured=lambda connector: connector in current.settings.connectors,
        is_secret=lambda text: token_digest(text).hex() in current.settings.tokens,
        callers=Callers(ours.sources, ours.proxies),
        path_secret=ours.path_secret.get_secret_value() if ours.path_secret else None,
        rate_per_s=ours.rate_per_s,
    )


def _rules(settings: Settings, name: str) -> Rules | None:
    if settings.gateway.connectors == "named" and name not in settings.connectors:
        return None
    connector = settings.connector(name)
    digest = bytes.fromhex(connector.token.get_secret_value()) if connector.token else None
    return Rules(digest, connector.extra_fields)


async def _serve(settings: Settings, config: Path | None, masker: Masker) -> None:
    current = CurrentSettings(settings)

    def on_change(changed: Settings) -> None:
        masker.blank(changed.secret_values(), changed.shown_names())
        _warn_of_open_doors(changed, current.settings)

    file = settings_file(config)
    reloader = Reloader(
        current, file=file, load=lambda: without_tokens(load_settings(file, look=False)), on_change=on_change
    )
    asked_to_stop = stop_event()
    broker = settings.broker
    outlet = Outlet(broker.url.get_secret_value(), prefix=broker.prefix, heartbeat_s=broker.heartbeat_s)
    gateway = GatewayServer(options_of(current), outlet)
    with traced_service("signalq-gateway", settings, gateway.spans_dropped.inc):
        port = await gateway.start()
        _warn_of_open_doors(settings)
        # Objects made at the start live to the end: looking through them for garbage again and again holds alerts up.
        gc.collect()
        gc.freeze()
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
        # RabbitMQ may not answer any more, and there is nothing left to get from it.
        with suppress(TimeoutError):
            await asyncio.wait_for(outlet.close(), CLOSE_S)


def open_doors(settings: Settings) -> Iterator[str]:
    """Advice for each door that stands open; also on loopback, where a proxy brings everybody in."""
    ours = settings.gateway
    if not ours.sources and ours.path_secret is None:
        yield "set gateway.sources or gateway.path_secret: only tokens keep others out"
    if ours.connectors == "any":
        yield (
            'set gateway.connectors = "named": orders for connectors that no setting names are taken with any token, '
            "and go to the platform from this address"
        )
    if without := [name for name, connector in settings.connectors.items() if connector.token is None]:
        names = ", ".join(without[:NAMED_MAX]) + (", …" if len(without) > NAMED_MAX else "")
        yield f"configure the token of {names}: until then any token is passed on for it"


def _warn_of_open_doors(settings: Settings, before: Settings | None = None) -> None:
    """Warn of each door that was not open before."""
    known = set(open_doors(before)) if before is not None else set()
    for advice in open_doors(settings):
        if advice not in known:
            log.warning("gateway.open", advice=advice)
