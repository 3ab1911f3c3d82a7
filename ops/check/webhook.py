"""The finding on a webhook: looked at as the consumer goes to it, short of a request. A POST would be an order."""

import time
from urllib.parse import urlsplit

import aiohttp

from signalq.amqp.address import is_loopback
from signalq.causes import advice_on, cause_of, plain_words
from signalq.consumer.webhook.client import tls_context
from signalq.consumer.webhook.connection import Connector
from signalq.consumer.webhook.target import target_of
from signalq.consumer.webhook.tunnel import NoTunnel, proxy_of
from signalq.kinds import Kind
from signalq.ops.check.finding import Finding
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import masked

WEBHOOK = "webhook"

_PROXY = "check webhook.proxy, and what it lets through"
_NETWORK = "check webhook.url, and whether this host may reach it"
_ADVICE = {
    Kind.CERTIFICATE_AUTHORITY: "let this machine trust its authority (SSL_CERT_FILE names a file of authorities)",
    Kind.NO_TLS: "check the port in webhook.url: https:// takes one with TLS",
}


async def check_webhook(url: str, connectors: list[str], timeout_s: float, proxy: str | None) -> Finding:
    """Open a connection, with its TLS and through the `proxy`, and send nothing over it."""
    if proxy is not None and is_loopback(urlsplit(url).hostname or ""):
        proxy = None
    where = _shown_address(url, connectors)
    through = f" through the proxy {masked(proxy)}" if proxy is not None else ""
    began = time.monotonic()
    try:
        async with Connector(proxy=proxy_of(proxy) if proxy is not None else None, ssl=tls_context()) as connector:
            address = target_of(url).address
            (await connector.connect(address, [], aiohttp.ClientTimeout(connect=timeout_s))).close()
    except TimeoutError:
        found = f"{where} did not answer within {timeout_s:g} s{through}"
        return Finding(WEBHOOK, "wrong", found, _PROXY if proxy else _NETWORK, Kind.NO_ANSWER)
    except NoTunnel as error:
        return Finding(WEBHOOK, "wrong", f"{where} was not reached{through}: {error}", _PROXY, Kind.PROXY_REFUSED)
    except (OSError, aiohttp.ClientError) as error:
        return _no_connection(error, where, through)
    took_ms = (time.monotonic() - began) * 1000
    return Finding(WEBHOOK, "ok", f"{where} takes connections{through} ({took_ms:.0f} ms); nothing was sent")


def _no_connection(error: OSError | aiohttp.ClientError, where: str, through: str) -> Finding:
    cause = cause_of(error)
    found = f"{where} took no connection{through} ({plain_words(error)})"
    if cause is None:
        return Finding(WEBHOOK, "wrong", found, _NETWORK)
    advice = _ADVICE.get(cause.kind) or advice_on(cause.kind, "webhook.url") or _NETWORK
    return Finding(WEBHOOK, "wrong", found, advice, cause.kind)


def _shown_address(url: str, connectors: list[str]) -> str:
    """The host and the port, and the connectors that have this webhook as their own."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.hostname}:{port}" + (f" (connector {escaped(', '.join(connectors))})" if connectors else "")
