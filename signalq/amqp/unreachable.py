"""Why there is no connection to RabbitMQ: one sentence for each cause, and what to do about it."""

import socket
import ssl

import aiormq
from yarl import URL

from signalq.amqp.address import DEFAULT_USER, ESCAPES, SCHEMES
from signalq.errors import BrokerUnreachable
from signalq.secrets.masking import MALFORMED, masked

# Connection.Close is class 10, method 50; a short with the code and a short string with the reason follow.
_CLOSE_METHOD = b"\x00\x0a\x00\x32"
_NOT_ALLOWED = 530
# A TLS record of type alert or handshake, of any version.
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
_LOG_ADVICE = "look at RabbitMQ's log, and check broker.url"


def unreachable(error: BaseException, url: str, received: bytes) -> BrokerUnreachable:
    """The error that says why a connection to `url` failed; `received` are the last bytes that the server sent."""
    if masked(url) == MALFORMED:
        return BrokerUnreachable("the broker's URL can't be read", ESCAPES)
    parsed, at = URL(url), masked(url)
    if parsed.scheme not in SCHEMES or not parsed.host:
        return BrokerUnreachable(
            "the broker's URL is no amqp:// or amqps:// URL with a host",
            "set broker.url to amqps://user:password@host/, or to amqp:// for a broker on this machine",
        )
    return (
        _by_error(error, parsed, at)
        or _by_answer(error, received, parsed, at)
        or _none(at, type(error).__name__, _LOG_ADVICE)
    )


def _none(at: str, cause: str, advice: str) -> BrokerUnreachable:
    return BrokerUnreachable(f"no connection to RabbitMQ at {at} ({cause})", advice)


def _by_error(error: BaseException, url: URL, at: str) -> BrokerUnreachable | None:  # noqa: PLR0911 - one a cause
    """The cause by the error of the operating system, of TLS or of the login; None where it says nothing."""
    match error.__cause__ if isinstance(error.__cause__, OSError) else error:
        case ssl.SSLCertVerificationError() as refused:
            return _none(
                at,
                f"its certificate is not accepted: {refused.verify_message.rstrip('.')}",
                "use the name that it is for, and name its authority by ?cafile=FILE in broker.url unless the system "
                "knows it; certificates are always checked",
            )
        case ssl.SSLError() as refused if "ALERT" in (refused.reason or ""):
            return _none(
                at,
                f"it refused the TLS handshake: {refused.reason}",
                "check certfile and keyfile in broker.url, if it wants a certificate of ours",
            )
        case ssl.SSLError():
            return _none(
                at, "no TLS is spoken there", "use the TLS port (5671 as a rule), or amqp:// where that is allowed"
            )
        case socket.gaierror():
            return BrokerUnreachable(
                f"unknown host: the name {url.host} does not resolve",
                "check the host in broker.url, and this machine's DNS",
            )
        case ConnectionRefusedError():
            return _none(
                at,
                "connection refused: nothing listens there",
                "start RabbitMQ, or check host and port in broker.url (SIGNALQ_BROKER__URL)",
            )
        case aiormq.exceptions.ProbableAuthenticationError():
            return BrokerUnreachable(
                f"RabbitMQ at {at} refused the user name or the password",
                "check the user and the password in broker.url (in a URL, @ in a password is written %40)",
            )
        case aiormq.exceptions.AuthenticationError():
            return BrokerUnreachable(f"RabbitMQ at {at} offers no such login", "check auth= in broker.url")
        case TimeoutError():
            return None
        case OSError(errno=int(), strerror=str(why)):
            return _none(at, why, "check broker.url, and the network")
    return None


def _by_answer(error: BaseException, received: bytes, url: URL, at: str) -> BrokerUnreachable | None:
    """The cause by the bytes that the server sent before it hung up, or sent none; None where that says nothing."""
    if received.startswith(b"HTTP/"):
        return _none(
            at,
            "an HTTP server answers there",
            "use the port for AMQP (5672, for TLS 5671), not the management's (15672)",
        )
    if received.startswith(_TLS_RECORDS):
        return _none(at, "TLS is spoken there", "use amqps:// in broker.url")
    if _CLOSE_METHOD in received:
        return _by_close(received.partition(_CLOSE_METHOD)[2], url, at)
    if received and not received.startswith((b"\x01", b"AMQP")):
        return _none(at, "no AMQP is spoken there", "check host and port in broker.url")
    if not received and isinstance(error, (StopAsyncIteration, ConnectionError, aiormq.AMQPError)):
        # RabbitMQ's TLS port does so to plain text, and a proxy without a broker.
        return _none(
            at,
            "it hung up without a word",
            "if that is a TLS port, use amqps:// in broker.url; else check host and port, and RabbitMQ's log",
        )
    return None


def _by_close(arguments: bytes, url: URL, at: str) -> BrokerUnreachable:
    """The cause that RabbitMQ named as it closed the connection."""
    code, reason = int.from_bytes(arguments[:2], "big"), arguments[3 : 3 + arguments[2]].decode("utf-8", "replace")
    vhost = url.path[1:].replace("%2F", "/") or "/"
    if code == _NOT_ALLOWED and "not found" in reason:
        return BrokerUnreachable(
            f"RabbitMQ at {at} has no virtual host (vhost) {vhost}",
            "create it, or correct the path of broker.url (the virtual host / is an empty path or %2F)",
        )
    if code == _NOT_ALLOWED and "access to vhost" in reason and "limit" not in reason:
        return BrokerUnreachable(
            f"the user {url.user or DEFAULT_USER} may not use the virtual host (vhost) {vhost} of RabbitMQ at {at}",
            "give this user permissions there (rabbitmqctl set_permissions), or correct broker.url",
        )
    return BrokerUnreachable(f"RabbitMQ at {at} refused the connection ({reason or code})", _LOG_ADVICE)
