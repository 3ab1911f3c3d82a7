"""The URL of a webhook, `webhook.url` or a connector's own: what it may be."""

from urllib.parse import urlsplit

from yarl import URL

from signalq.amqp.address import is_loopback


def check_webhook_url(url: str, *, allow_plain_http: bool) -> None:
    """Raise ValueError, which quotes nothing of the URL. Orders carry tokens: plain http is for this machine alone."""
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("url has a port that is no number from 0 to 65535") from None
    try:
        _ = URL(url).host
    except ValueError:
        raise ValueError("url can't be read as a URL: look at its host") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("url must be an https:// URL with a host")
    if parts.username or parts.password:
        raise ValueError("url must not hold a user name or a password")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_plain_http:
        raise ValueError("url is plain http to another machine: use https, or set webhook.allow_plain_http")
