"""The URL of `webhook.proxy`: what it may be."""

from yarl import URL

from signalq.amqp.address import ESCAPES


def check_proxy_url(url: str) -> None:
    """Raise ValueError, which quotes nothing of the URL, unless it is an `http://` URL with a host, and nothing behind.

    The proxy itself is spoken to in plain text, and hears no more than the host of a webhook that has TLS.
    """
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        raise ValueError(f"can't be read as a URL: {ESCAPES}") from None
    if parsed.scheme != "http" or not host or not port:
        raise ValueError("must be the http:// URL of a proxy, with its host (an https:// webhook has its TLS inside)")
    if parsed.raw_path_qs not in {"", "/"} or parsed.raw_fragment:
        raise ValueError("must end with the proxy's host and port")
    if ":" in (parsed.user or ""):
        raise ValueError("has a user with a colon in it, which no proxy can tell from the password")
