"""Why there is no connection to RabbitMQ: one sentence for each cause, and what to do about it."""

import aiormq
from yarl import URL

from signalq.amqp.address import DEFAULT_USER, ESCAPES, SCHEMES
from signalq.causes import advice_on, cause_of
from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind
from signalq.secrets.masking import MALFORMED, masked

# Connection.Close is class 10, method 50; a short with the code and a short string with the reason follow.
_CLOSE_METHOD = b"\x00\x0a\x00\x32"
_NOT_ALLOWED = 530
# A TLS record of type alert or handshake, of any version.
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
_LOG_ADVICE = "look at RabbitMQ's log, and check broker.url"
_ADVICE = {
    Kind.CONNECTION_REFUSED: "start RabbitMQ, or check host and port in broker.url (SIGNALQ_BROKER__URL)",
    Kind.CERTIFICATE_AUTHORITY: "name its authority by ?cafile=FILE in broker.url; certificates are always checked",
    Kind.NO_TLS: "use the TLS port (5671 as a rule), or amqp:// where that is allowed",
    Kind.TLS_REFUSED: "check certfile and keyfile in broker.url, if it wants a certificate of ours",
}


def unreachable(error: BaseException, url: str, received: bytes) -> BrokerUnreachable:
    """The error that says why a connection to `url` failed; `received` are the last bytes that the server sent."""
    if masked(url) == MALFORMED:
        return BrokerUnreachable("the broker's URL can't be read", ESCAPES, kind=Kind.WRONG_SETTING)
    parsed, at = URL(url), masked(url)
    if parsed.scheme not in SCHEMES or not parsed.host:
        return BrokerUnreachable(
            "the broker's URL is no amqp:// or amqps:// URL with a host",
            "set broker.url to amqps://user:password@host/, or to amqp:// for a broker on this machine",
            kind=Kind.WRONG_SETTING,
        )
    return (
        _by_login(error, at)
        or _by_network(error, received, parsed, at)
        or _by_answer(error, received, parsed, at)
        or _none(at, type(error).__name__, _LOG_ADVICE)
    )


def _none(at: str, cause: str, advice: str, kind: Kind | None = None) -> BrokerUnreachable:
    return BrokerUnreachable(f"no connection to RabbitMQ at {at} ({cause})", advice, kind=kind)


def _by_login(error: BaseException, at: str) -> BrokerUnreachable | None:
    """The cause by the answer to the login; None where it did not come to that, or was taken."""
    match error:
        case aiormq.exceptions.ProbableAuthenticationError():
            return BrokerUnreachable(
                f"RabbitMQ at {at} refused the user name or the password",
                "check the user and the password in broker.url (in a URL, @ in a password is written %40)",
                kind=Kind.WRONG_PASSWORD,
            )
        case aiormq.exceptions.AuthenticationError():
            return BrokerUnreachable(
                f"RabbitMQ at {at} offers no such login", "check auth= in broker.url", kind=Kind.WRONG_PASSWORD
            )
    return None


def _by_network(error: BaseException, received: bytes, url: URL, at: str) -> BrokerUnreachable | None:
    """The cause by the error of the operating system or of TLS; None where the bytes that came say more."""
    raised = error.__cause__ if isinstance(error.__cause__, OSError) else error
    cause = cause_of(raised)
    if cause is None:
        why = raised.strerror if isinstance(raised, OSError) and not received else None
        return _none(at, why, "check broker.url, and the network") if why else None
    if cause.kind in (Kind.HUNG_UP, Kind.NO_ANSWER):
        return None
    advice = _ADVICE.get(cause.kind) or advice_on(cause.kind, "broker.url") or _LOG_ADVICE
    if cause.kind is Kind.UNKNOWN_HOST:
        return BrokerUnreachable(cause.words.replace("its name", f"the name {url.host}"), advice, kind=cause.kind)
    return _none(at, cause.words, advice, cause.kind)


def _by_answer(error: BaseException, received: bytes, url: URL, at: str) -> BrokerUnreachable | None:
    """The cause by the bytes that the server sent before it hung up, or sent none; None where that says nothing."""
    if received.startswith(b"HTTP/"):
        return _none(
            at,
            "an HTTP server answers there",
            "use the port for AMQP (5672, for TLS 5671), not the management's (15672)",
            Kind.OTHER_PROTOCOL,
        )
    if received.startswith(_TLS_RECORDS):
        return _none(at, "TLS is spoken there", "use amqps:// in broker.url", Kind.TLS_EXPECTED)
    if _CLOSE_METHOD in received:
        return _by_close(received.partition(_CLOSE_METHOD)[2], url, at)
    if received and not received.startswith((b"\x01", b"AMQP")):
        return _none(at, "no AMQP is spoken there", "check host and port in broker.url", Kind.OTHER_PROTOCOL)
    if not received and isinstance(error, (StopAsyncIteration, ConnectionError, aiormq.AMQPError)):
        # RabbitMQ's TLS port does so to plain text, and a proxy without a broker.
        return _none(
            at,
            "it hung up without a word",
            "if that is a TLS port, use amqps:// in broker.url; else check host and port, and RabbitMQ's log",
            Kind.HUNG_UP,
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
            kind=Kind.UNKNOWN_VHOST,
        )
    if code == _NOT_ALLOWED and "access to vhost" in reason and "limit" not in reason:
        return BrokerUnreachable(
            f"the user {url.user or DEFAULT_USER} may not use the virtual host (vhost) {vhost} of RabbitMQ at {at}",
            "give this user permissions there (rabbitmqctl set_permissions), or correct broker.url",
            kind=Kind.VHOST_FORBIDDEN,
        )
    return BrokerUnreachable(f"RabbitMQ at {at} refused the connection ({reason or code})", _LOG_ADVICE)
