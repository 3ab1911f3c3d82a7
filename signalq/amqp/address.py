"""The broker's address: what a URL may be, and the TLS that it asks for. Certificates are always checked."""

import ssl
from base64 import b64decode
from ipaddress import IPv6Address, ip_address

from yarl import URL

from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind

SCHEMES = ("amqp", "amqps")
# RabbitMQ's well-known user, where a URL names none.
DEFAULT_USER = "guest"
ESCAPES = "in a password, @ is written %40, : %3A, / %2F, # %23 and ? %3F"
UNREADABLE = f"can't be read as a URL: {ESCAPES}"
_FILES = ("cafile", "capath", "certfile", "keyfile")


def is_loopback(host: str) -> bool:
    """Whether bytes sent to this host stay on this machine."""
    name = host.strip("[]").removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def user_of(url: str) -> str:
    """The user that a connection to this URL is opened as. A malformed URL is refused where it is connected to."""
    try:
        return URL(url).user or DEFAULT_USER
    except ValueError:
        return DEFAULT_USER


def check_url(url: str, *, allow_plain: bool) -> None:
    """Raise ValueError unless it is an amqp:// or amqps:// URL that shows its password and orders to no network.

    `allow_plain` allows amqp:// to another machine. The error quotes nothing of the URL.
    """
    try:
        parsed = URL(url)
        host, _ = parsed.host, parsed.port
    except ValueError:
        raise ValueError(UNREADABLE) from None
    if parsed.scheme not in SCHEMES or not host:
        raise ValueError("must be an amqp:// or amqps:// URL with a host")
    if leaves_certificates_unchecked(parsed):
        raise ValueError("must not have no_verify_ssl: certificates are always checked; name an authority by ?cafile=")
    if parsed.scheme == "amqp" and not is_loopback(host) and not allow_plain:
        raise ValueError(
            "is plain amqp:// to another machine, which shows the password and the orders to the network: "
            "use amqps://, or set broker.allow_plain"
        )


def leaves_certificates_unchecked(url: URL) -> bool:
    """Whether the URL asks for TLS that accepts any certificate."""
    return any(value != "0" for value in url.query.getall("no_verify_ssl", []))


def tls_context(url: URL) -> ssl.SSLContext:
    """The TLS context that checks the broker's certificate, by the authorities in the URL or else the system's.

    The URL names them by `cafile`, `capath` or `cadata`; files are read. Raises BrokerUnreachable, which names the file
    that can't be used, and where certificates would not be checked.
    """
    if leaves_certificates_unchecked(url):
        raise BrokerUnreachable(
            "broker.url has no_verify_ssl", "take it out: certificates are always checked", kind=Kind.WRONG_SETTING
        )
    query = url.query
    try:
        cadata = b64decode(query["cadata"]) if query.get("cadata") else None
        context = ssl.create_default_context(cafile=query.get("cafile"), capath=query.get("capath"), cadata=cadata)
        if query.get("certfile"):
            context.load_cert_chain(query["certfile"], query.get("keyfile"))
    except (OSError, ValueError) as error:
        named = " or ".join(f"{query[name]} ({name})" for name in _FILES if query.get(name)) or "its cadata"
        why = error.strerror if not isinstance(error, ssl.SSLError) and isinstance(error, OSError) else None
        raise BrokerUnreachable(
            f"broker.url names {named}, which can't be used for TLS ({why or 'no certificate or key in it'})",
            "check the path, and what is in the file",
            kind=Kind.TLS_FILES,
        ) from None
    return context
