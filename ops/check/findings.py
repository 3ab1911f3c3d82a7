"""All findings of `signalq check`, in the order in which an order passes what they are about. Changes nothing."""

from __future__ import annotations

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
from signalq.ops.check.webhook import check_webhook, webhook_urls
from signalq.ops.terminal.render import plural
from signalq.settings.sections import ENV_PREFIX, Settings
from signalq.settings.sources import CONFIG_ENV


async def findings(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    """Look at everything; each finding comes as soon as it is known."""
    yield check_settings(settings, config)
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
    for url, connectors in webhook_urls(settings).items():
        yield await check_webhook(url, connectors, settings.webhook.connect_timeout_s)


def check_settings(settings: Settings, config: Path | None) -> Finding:
    """The sources of the settings."""
    path = config or os.environ.get(CONFIG_ENV)
    variables = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and "__" in name)
    sources = [str(path)] if path else []
    sources += [", ".join(variables)] if variables else []
    found = " and ".join(sources) or f"all at their defaults (no --config, no {CONFIG_ENV}, no {ENV_PREFIX}… variable)"
    if settings.connectors:
        found += f"; {plural(len(settings.connectors), 'connector')} named"
    return Finding("settings", "ok", found)
