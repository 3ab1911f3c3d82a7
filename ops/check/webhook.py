"""The finding on a webhook's host. It sends nothing: a POST would be an order."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit

from signalq.ops.check.finding import Finding
from signalq.ops.terminal.escaping import escaped
from signalq.settings.sections import Settings

_NETWORK = "check webhook.url, and whether this host may reach it"


def webhook_urls(settings: Settings) -> dict[str, list[str]]:
    """Every URL that orders go to, and the connectors that have this URL as their own."""
    urls: dict[str, list[str]] = {settings.webhook.url: []}
    for name, connector in settings.connectors.items():
        if connector.url is not None:
            urls.setdefault(connector.url, []).append(name)
    return urls


async def check_webhook(url: str, connectors: list[str], timeout_s: float) -> Finding:
    """Look the host up, and open a TCP connection."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{host}:{port}" + (f" (connector {escaped(', '.join(connectors))})" if connectors else "")
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Finding("webhook", "wrong", f"{where} did not answer within {timeout_s:g} s", _NETWORK)
    except socket.gaierror:
        return Finding("webhook", "wrong", f"the name {host} does not resolve", "check webhook.url and this host's DNS")
    except OSError as error:
        return Finding("webhook", "wrong", f"{where} took no connection ({type(error).__name__})", _NETWORK)
    writer.close()
    took_ms = (time.monotonic() - began) * 1000
    return Finding("webhook", "ok", f"{where} takes connections ({took_ms:.0f} ms); nothing was sent")
