"""The console as the command runs it: a process of its own, by the settings, until it is asked to stop."""

import asyncio
from pathlib import Path

import structlog

from signalq.logs import Masker, configure_logging
from signalq.ops.console.address import address, say_address
from signalq.ops.console.server import ConsoleServer
from signalq.ops.terminal.service_traces import traced_service
from signalq.ops.terminal.stopping import stop_event
from signalq.settings.config_file import settings_file
from signalq.settings.reload import CurrentSettings, Reloader, log_found_file
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from signalq.version import __version__

log = structlog.get_logger()


def run(settings: Settings, config: Path | None) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingsError where it can't listen.

    `config` is the settings file that was named, if any. The settings file is read again when it changes.
    """
    masker = configure_logging(form=settings.log.format, level=settings.log.level, blanker=settings.blanker)
    log_found_file(config)
    asyncio.run(_serve(settings, config, masker))


async def _serve(settings: Settings, config: Path | None, masker: Masker) -> None:
    current = CurrentSettings(settings)

    def on_change(changed: Settings) -> None:
        masker.blank(changed.secret_values(), changed.shown_names())

    file = settings_file(config)
    reloader = Reloader(current, file=file, load=lambda: load_settings(file, look=False), on_change=on_change)
    asked_to_stop = stop_event()
    server = ConsoleServer(lambda: current.settings, config=config)
    with traced_service("signalq", settings):
        port = await server.start()
        host = settings.console.host
        say_address(settings, host, port, server.desk.access.one_time_link())
        log.info("console.started", address=address(settings, host, port), port=port, version=__version__)
        try:
            async with reloader.running():
                await asked_to_stop.wait()
        finally:
            await server.stop()
    log.info("console.stopped")
