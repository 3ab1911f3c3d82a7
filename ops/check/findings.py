"""All findings of `signalq check`, in the order in which an order passes what they are about. Changes nothing.

The settings are looked at here.
"""

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from aio_pika.abc import AbstractConnection

from signalq.amqp.ledger_mark import LedgerMark, held_mark
from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import BrokerError, SettingsError
from signalq.names import Names
from signalq.ops.check.broker import check_broker, check_retired_lanes, check_topology, no_broker
from signalq.ops.check.finding import Finding
from signalq.ops.check.ledger import BY_LEDGER, check_by_ledger, check_ledger
from signalq.ops.check.letters import check_letters
from signalq.ops.check.ways import Ways, open_by, ways_of
from signalq.ops.check.webhook import check_webhook
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import plural
from signalq.secrets.masking import masked
from signalq.settings.config_file import CONFIG_ENV, FOUND_NAME, settings_file
from signalq.settings.environment import told
from signalq.settings.sections import ENV_PREFIX, Settings

ENVIRONMENT = "environment"


def findings(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    """Look at everything, as a command does; each finding comes as soon as it is known."""
    return findings_by(ways_of(settings), settings, config)


async def findings_by(ways: Ways, settings: Settings, config: Path | None) -> AsyncGenerator[Finding, None]:
    """The same by the ways that are given."""
    yield check_settings(settings, config)
    yield check_environment(settings)
    async with AsyncExitStack() as stack:
        held: LedgerMark | None = None
        # Nothing else is waited for at the broker: a connection that has read the letters keeps others from that.
        async with AsyncExitStack() as at_broker:
            try:
                connection = await at_broker.enter_async_context(ways.broker())
            except BrokerError as error:
                yield no_broker(error)
                yield Finding("topology", "note", "not looked at, for lack of a broker")
                ledger = await open_by(ways, stack)
            else:
                yield check_broker(ways.broker_url, connection)
                async for finding in check_topology(settings, connection):
                    yield finding
                held = await held_mark(connection, Names(settings.broker.prefix))
                ledger = await open_by(ways, stack)
                async for finding in _of_both(ways, settings, connection, _of_these_lanes(ledger, held)):
                    yield finding
        yield (found := await check_ledger(settings, ledger, held))
        if isinstance(ledger, LedgerClient) and found.state != "wrong":
            for check in BY_LEDGER:
                yield await check_by_ledger(ledger, check)
    proxy = settings.webhook.proxy.get_secret_value() if settings.webhook.proxy else None
    for url, connectors in webhook_urls(settings).items():
        yield await check_webhook(url, connectors, settings.webhook.connect_timeout_s, proxy)


async def _of_both(
    ways: Ways, settings: Settings, connection: AbstractConnection, ledger: LedgerClient | None
) -> AsyncIterator[Finding]:
    """The findings on what the broker has and the ledger knows."""
    if ledger is not None:
        async for finding in check_retired_lanes(settings, connection, ledger):
            yield finding
    names = Names(settings.broker.prefix)
    letters = await check_letters(connection, names, ledger, may_read=ways.may_read_letters)
    if letters is not None:
        yield letters


def _of_these_lanes(ledger: LedgerClient | SettingsError, held: LedgerMark | None) -> LedgerClient | None:
    """The ledger, if the lanes on the broker belong to it or to none yet."""
    if isinstance(ledger, SettingsError) or (held is not None and held.ledger_id != ledger.mark.ledger_id):
        return None
    return ledger


def check_settings(settings: Settings, config: Path | None) -> Finding:
    """The sources of the settings."""
    path = settings_file(config)
    variables = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and "__" in name)
    sources = [str(path)] if path else []
    sources += [", ".join(variables)] if variables else []
    none = f"all at their defaults (no --config, no {CONFIG_ENV}, no {FOUND_NAME} here, no {ENV_PREFIX}… variable)"
    found = " and ".join(sources) or none
    if settings.connectors:
        found += f"; {plural(len(settings.connectors), 'connector')} named"
    return Finding("settings", "ok", found)


def check_environment(settings: Settings) -> Finding:
    """The place where orders go: the platform itself, the sandbox, or another host."""
    found = f"orders go to {told(settings.environments())} (webhook.url is {masked(settings.webhook.url)})"
    return Finding(ENVIRONMENT, "ok", escaped(found))


def webhook_urls(settings: Settings) -> dict[str, list[str]]:
    """Every URL that orders go to, and the connectors that have this URL as their own."""
    urls: dict[str, list[str]] = {settings.webhook.url: []}
    for name, connector in settings.connectors.items():
        if connector.url is not None:
            urls.setdefault(connector.url, []).append(name)
    return urls
