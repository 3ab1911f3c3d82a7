"""Why a ledger can't be opened or used, what to do about it (no statement, no value), and whether to try again."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.exc import DataError, IntegrityError

from signalq import causes
from signalq.causes import advice_on
from signalq.kinds import Kind
from signalq.secrets.masking import without_logins


@dataclass(frozen=True, slots=True)
class LedgerCause:
    """The kind of an error of the ledger, and a sentence that says why, and what to do."""

    kind: Kind
    sentence: str

    def __str__(self) -> str:
        return self.sentence


# SQLSTATEs, which asyncpg's errors carry: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_STATE = {
    "28P01": (
        Kind.WRONG_PASSWORD,
        "it refused the user name or the password: check them in ledger.url (in a URL, @ is written %40)",
    ),
    "28000": (
        Kind.DATABASE_REFUSED,
        "it refused this user: check ledger.url, sslmode, and the server's pg_hba.conf",
    ),
    "3D000": (Kind.UNKNOWN_DATABASE, "there is no such database: create it, or check the path of ledger.url"),
    "42501": (Kind.PERMISSION_DENIED, "this user lacks a right there: grant it"),
    "53100": (Kind.DISK_FULL, "the server's disk is full: make room there"),
    "53300": (Kind.DATABASE_BUSY, "it has too many connections: raise its max_connections, or the pooler's limit"),
    "25006": (Kind.READ_ONLY, "it takes no writes: name the primary in ledger.url, not a standby"),
    "57P03": (Kind.DATABASE_BUSY, "it is starting or stopping: try again"),
    "08003": (Kind.HUNG_UP, "the connection was cut: check that PostgreSQL is up, and at that host and port"),
    "08P01": (Kind.DATABASE_REFUSED, "the server, or a pooler before it, refused how we connect: see its log"),
}
# SQLite's result codes: https://sqlite.org/rescode.html
_BY_CODE = {
    sqlite3.SQLITE_BUSY: (Kind.LEDGER_LOCKED, "another process holds it: end a consumer that stands still"),
    sqlite3.SQLITE_LOCKED: (Kind.LEDGER_LOCKED, "another process holds it: end a consumer that stands still"),
    sqlite3.SQLITE_READONLY: (Kind.READ_ONLY, "it can't be written: check the rights on the file and on its folder"),
    sqlite3.SQLITE_FULL: (Kind.DISK_FULL, "the disk is full: make room"),
    sqlite3.SQLITE_PERM: (Kind.PERMISSION_DENIED, "this user may not: check the rights on the file and on its folder"),
    sqlite3.SQLITE_CANTOPEN: (
        Kind.PERMISSION_DENIED,
        "no file can be opened or made there: check the path, and the rights on its folder",
    ),
    sqlite3.SQLITE_NOTADB: (Kind.LEDGER_DAMAGED, "it is no ledger: check ledger.url, or restore the file"),
    sqlite3.SQLITE_CORRUPT: (Kind.LEDGER_DAMAGED, "it is damaged: stop the consumers, and restore it from a backup"),
    sqlite3.SQLITE_IOERR: (Kind.FILE_UNUSABLE, "the disk fails: check it, and its file system"),
}
_PRIMARY_CODE = 0xFF
# The advice where it is particular to PostgreSQL.
_ADVICE = {
    Kind.CONNECTION_REFUSED: "start PostgreSQL, or check host and port in ledger.url",
    Kind.HUNG_UP: "check that PostgreSQL is at that host and port",
    Kind.CERTIFICATE_AUTHORITY: "name its authority by sslrootcert in ledger.url",
    Kind.NO_TLS: "check sslmode and the port in ledger.url",
    Kind.TLS_REFUSED: "check sslcert and sslkey in ledger.url, if it wants a certificate of ours",
}
# SQLSTATE classes: data exception (a value out of range, a text too long), integrity constraint violation.
_HOPELESS_STATES = ("22", "23")
# Connection exception, operator intervention.
_LOST_STATES = ("08", "57")


def cause_of(error: BaseException) -> LedgerCause:
    """The cause of an error of SQLAlchemy, of a driver, or of the operating system."""
    for one in _chain(error):
        if (state := getattr(one, "sqlstate", None)) in _BY_STATE:
            kind, sentence = _BY_STATE[state]
            return LedgerCause(kind, f"{sentence}; it says: {_text(one)}")
        if isinstance(one, sqlite3.Error) and (known := _BY_CODE.get(_code(one))) is not None:
            return LedgerCause(known[0], f"{known[1]}; SQLite says: {_text(one)}")
        if (found := _of_the_network(one)) is not None:
            return found
    cause = getattr(error, "orig", None) or error
    said = f"{type(cause).__name__}: {_text(cause)}" if str(cause) else type(cause).__name__
    return LedgerCause(Kind.LEDGER_UNAVAILABLE, said)


def _code(error: sqlite3.Error) -> int:
    """The primary code of an error: the extended ones say more than a person needs."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE


def _of_the_network(error: BaseException) -> LedgerCause | None:
    if isinstance(error, ConnectionError) and "SSL upgrade" in str(error):  # asyncpg's
        sentence = "it speaks no TLS: turn ssl on at the server, or check host and port in ledger.url"
        return LedgerCause(Kind.NO_TLS, sentence)
    cause = causes.cause_of(error)
    if cause is None:
        return None
    advice = _ADVICE.get(cause.kind) or advice_on(cause.kind, "ledger.url") or "check ledger.url"
    return LedgerCause(cause.kind, f"{cause.words}; {advice}")


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
