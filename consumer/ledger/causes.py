"""Why a ledger can't be opened or used, what to do about it (no statement, no value), and whether to try again."""

import socket
import ssl
from collections.abc import Iterator

from sqlalchemy.exc import DataError, IntegrityError

from signalq.secrets.masking import without_logins

# SQLSTATEs, which asyncpg's errors carry: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE = {
    "28P01": "it refused the user name or the password: check them in ledger.url (in a URL, @ is written %40)",
    "28000": "it refused this user: check ledger.url, sslmode, and the server's pg_hba.conf",
    "3D000": "there is no such database: create it, or check the path of ledger.url",
    "42501": "this user lacks a right there: grant it",
    "53300": "it has too many connections: raise its max_connections, or the pooler's limit",
    "57P03": "it is starting or stopping: try again",
    "08003": "the connection was cut: check that PostgreSQL is up, and at that host and port",
    "08P01": "the server, or a pooler before it, refused how we connect: see its log",
}
# SQLSTATE classes: data exception (a value out of range, a text too long), integrity constraint violation.
_HOPELESS_STATES = ("22", "23")
# Connection exception, operator intervention.
_LOST_STATES = ("08", "57")


def cause_of(error: BaseException) -> str:
    """The cause of an error of SQLAlchemy, of a driver, or of the operating system."""
    for one in _chain(error):
        if (state := getattr(one, "sqlstate", None)) in _BY_STATE:
            return f"{_BY_STATE[state]} ({_text(one)})"
        if (known := _of_the_network(one)) is not None:
            return known
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {_text(cause)}" if str(cause) else type(cause).__name__


def _of_the_network(error: BaseException) -> str | None:  # noqa: PLR0911 - one for each cause
    match error:
        case ssl.SSLCertVerificationError():
            why = error.verify_message.rstrip(".")
            return f"its certificate is not accepted: {why}; name its authority by sslrootcert in ledger.url"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no TLS is spoken there'}; check sslmode and the port in ledger.url"
        case socket.gaierror():
            return "unknown host, its name does not resolve: check the host in ledger.url, and this machine's DNS"
        case TimeoutError():
            return "no answer in time: check host and port in ledger.url, and that no firewall is in between"
        case ConnectionError() if "SSL upgrade" in str(error):
            return "it speaks no TLS: turn ssl on at the server, or check host and port in ledger.url"
        case ConnectionResetError() | ConnectionAbortedError() | BrokenPipeError():
            return "it hung up: check that PostgreSQL is at that host and port"
        case ConnectionError() if "connection_lost" in str(error):  # asyncpg's, for a server that hangs up
            return "it hung up: check that PostgreSQL is at that host and port"
        case OSError() if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
            return "nothing listens there, connection refused: start PostgreSQL, or check host and port in ledger.url"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what its library wraps, and what it was raised from."""
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _text(error: BaseException) -> str:
    """The first line of what it says: behind it may stand a statement."""
    lines = str(error).splitlines() or [""]
    return without_logins(lines[0].rpartition("'>: ")[2])


def is_hopeless(error: Exception) -> bool:
    """Whether it lies in what was asked, not in the database: trying again can't help."""
    if isinstance(error, (DataError, IntegrityError)):
        return True
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or ""
    # asyncpg refuses a value that fits no column with a ValueError, before anything is sent.
    return state.startswith(_HOPELESS_STATES) or isinstance(getattr(original, "__cause__", None), ValueError)


def is_lost(error: Exception) -> bool:
    """Whether a connection to PostgreSQL that was there has gone: ended by the server, by an operator, or cut."""
    original = getattr(error, "orig", None)
    if original is None or not hasattr(original, "sqlstate"):  # not PostgreSQL, or there was no connection
        return False
    return original.sqlstate is None or original.sqlstate.startswith(_LOST_STATES)


def is_deadlock(error: Exception) -> bool:
    """Whether PostgreSQL has ended the transaction because it and another one waited for each other."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == "40P01"
