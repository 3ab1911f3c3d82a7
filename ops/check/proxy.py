"""The finding on a webhook behind `webhook.proxy`: looked at as the consumer goes to it, short of a request."""

import time
from urllib.parse import urlsplit

import aiohttp

from signalq.consumer.webhook.client import tls_context
from signalq.consumer.webhook.connection import Connector
from signalq.consumer.webhook.target import target_of
from signalq.consumer.webhook.tunnel import NoTunnel, proxy_of
from signalq.ops.check.finding import Finding
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import masked

_PROXY = "check webhook.proxy, and what it lets through"


async def check_through_proxy(url: str, connectors: list[str], timeout_s: float, proxy: str) -> Finding:
    """Ask the proxy for a tunnel to the webhook, with TLS in it where the webhook has that."""
    where, through = shown_address(url, connectors), f"through the proxy {masked(proxy)}"
    began = time.monotonic()
    try:
        async with Connector(proxy=proxy_of(proxy), ssl=tls_context()) as connector:
            address = target_of(url).address
            (await connector.connect(address, [], aiohttp.ClientTimeout(connect=timeout_s))).close()
    except TimeoutError:
        return Finding("webhook", "wrong", f"{where} did not answer within {timeout_s:g} s {through}", _PROXY)
    except NoTunnel as error:
        return Finding("webhook", "wrong", f"{where} was not reached {through}: {error}", _PROXY)
    except (OSError, aiohttp.ClientError) as error:
        found = f"{where} took no connection {through} ({type(error).__name__})"
        return Finding("webhook", "wrong", found, "check webhook.url, and its certificate")
    took_ms = (time.monotonic() - began) * 1000
    return Finding("webhook", "ok", f"{where} takes connections {through} ({took_ms:.0f} ms); nothing was sent")


def address_of(url: str) -> tuple[str, int]:
    """The host and the port of a webhook."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def shown_address(url: str, connectors: list[str]) -> str:
    """The host and the port, and the connectors that have this webhook as their own."""
    host, port = address_of(url)
    return f"{host}:{port}" + (f" (connector {escaped(', '.join(connectors))})" if connectors else "")
