"""All findings of `signalq check`, in the order in which an order passes what they are about. Changes nothing.

The settings are looked at here.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path

from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, held_mark
from signalq.errors import BrokerError
from signalq.names import Names
from signalq.ops.check.broker import check_broker, check_retired_lanes, check_topology, no_broker
from signalq.ops.check.finding import Finding
from signalq.ops.check.ledger import BY_LEDGER, check_by_ledger, check_ledger
from signalq.ops.check.webhook import check_webhook
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import plural
from signalq.secrets.masking import masked
from signalq.settings.config_file import CONFIG_ENV, FOUND_NAME, settings_file
from signalq.settings.environment import told
from signalq.settings.sections import ENV_PREFIX, Settings

ENVIRONMENT = "environment"


async def findings(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    """Look at everything; each finding comes as soon as it is known."""
    yield check_settings(settings, config)
    yield check_environment(settings)
    url = settings.broker.url.get_secret_value()
    held: LedgerMark | None = None
    try:
        connection = await connect(url, name="signalq check", heartbeat_s=settings.broker.heartbeat_s)
    except BrokerError as error:
        yield no_broker(error)
        yield Finding("topology", "note", "not looked at, for lack of a broker")
    else:
        async with connection:
            yield check_broker(settings, connection)
            async for finding in check_topology(settings, connection):
                yield finding
            async for finding in check_retired_lanes(settings, connection):
                yield finding
            held = await held_mark(connection, Names(settings.broker.prefix))
    ledger = await check_ledger(settings, held)
    yield ledger
    if ledger.state == "ok":
        for check in BY_LEDGER:
            yield await check_by_ledger(settings, check)
    proxy = settings.webhook.proxy.get_secret_value() if settings.webhook.proxy else None
    for url, connectors in webhook_urls(settings).items():
        yield await check_webhook(url, connectors, settings.webhook.connect_timeout_s, proxy)


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
