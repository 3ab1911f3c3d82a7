"""The cause of a connection or a file that failed, in plain words, the same for every place that connects.

The place adds what it tried, and what to do: see advice_on for the cases in which that is alike everywhere.
"""

import errno
import re
import socket
import ssl
from dataclasses import dataclass

from signalq.kinds import Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """The kind of an error, and its cause in a few words."""

    kind: Kind
    words: str


# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/#error-codes
_OTHER_NAME = frozenset({62, 63, 64})
_OTHER_TIME = frozenset({9, 10})
_NO_AUTHORITY = frozenset({19, 20, 21})

_BY_ERRNO = {
    errno.ECONNREFUSED: Cause(Kind.CONNECTION_REFUSED, "connection refused: nothing listens there"),
    errno.ETIMEDOUT: Cause(Kind.NO_ANSWER, "no answer in time"),
    errno.EADDRINUSE: Cause(Kind.CANNOT_LISTEN, "another program listens there"),
    errno.EADDRNOTAVAIL: Cause(Kind.CANNOT_LISTEN, "this machine has no such address"),
    errno.ENOENT: Cause(Kind.FILE_MISSING, "there is no such file"),
    errno.ENOTDIR: Cause(Kind.FILE_MISSING, "a part of its path is no folder"),
    errno.EISDIR: Cause(Kind.FILE_UNUSABLE, "it is a folder"),
    errno.EROFS: Cause(Kind.READ_ONLY, "the file system is read-only"),
    errno.ENOSPC: Cause(Kind.DISK_FULL, "the disk is full"),
    errno.EDQUOT: Cause(Kind.DISK_FULL, "this user's share of the disk is full"),
    errno.EMFILE: Cause(Kind.FILE_UNUSABLE, "this process has too many files open"),
    errno.ENFILE: Cause(Kind.FILE_UNUSABLE, "this machine has too many files open"),
    errno.EIO: Cause(Kind.FILE_UNUSABLE, "the disk fails"),
    **{
        number: Cause(Kind.NO_ROUTE, "no way leads there: the network, a route or the host is down")
        for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
    },
    **{
        number: Cause(Kind.PERMISSION_DENIED, "permission denied: this user may not")
        for number in (errno.EACCES, errno.EPERM)
    },
    **{
        number: Cause(Kind.HUNG_UP, "it hung up without a word")
        for number in (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)
    },
}

# Alike wherever it is; what is particular to a place stands there.
_ADVICE = {
    Kind.UNKNOWN_HOST: "check the host in {setting}, and this machine's DNS",
    Kind.NO_ANSWER: "check host and port in {setting}, and that no firewall is in between",
    Kind.NO_ROUTE: "check the host in {setting}, and this machine's network",
    Kind.HUNG_UP: "check host and port in {setting}, and the log of the server",
    Kind.CERTIFICATE_NAME: "use the name that it is for in {setting}; certificates are always checked",
    Kind.CERTIFICATE_TIME: "renew it at the server, or set this machine's clock right",
    Kind.PERMISSION_DENIED: "give this user the right, or run the command as the user who has it",
    Kind.FILE_MISSING: "check the path",
    Kind.READ_ONLY: "mount it for writing, or name another place",
    Kind.DISK_FULL: "make room, or name another place",
    Kind.FILE_UNUSABLE: "check the path, and the machine",
}

# asyncio puts the errors of several addresses into one, in words alone: "Multiple exceptions: [Errno 111] …, …".
_ERRNO_IN_TEXT = re.compile(r"\[Errno (\d+)\]")


def cause_of(error: BaseException) -> Cause | None:  # noqa: PLR0911 - one for each cause
    """The cause by an error of the operating system, of TLS, or of a wait; None for any other."""
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None)  # aiohttp's wrap theirs
    if isinstance(inner, BaseException):
        return cause_of(inner)
    match error:
        case ssl.SSLCertVerificationError():
            return _of_certificate(error)
        case ssl.SSLError():
            return _of_tls(error)
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return Cause(Kind.UNKNOWN_HOST, "unknown host: no DNS server answers for its name")
        case socket.gaierror():
            return Cause(Kind.UNKNOWN_HOST, "unknown host: its name does not resolve")
        case TimeoutError():
            return _BY_ERRNO[errno.ETIMEDOUT]
        case OSError():
            return _of_system(error)
    return None


def advice_on(kind: Kind, setting: str) -> str | None:
    """The advice for a kind, where it is alike everywhere; `setting` is the key that says where to connect to."""
    advice = _ADVICE.get(kind)
    return advice.format(setting=setting) if advice is not None else None


def kind_of(error: BaseException) -> Kind | None:
    """The kind of an error, as far as its cause is known."""
    cause = cause_of(error)
    return cause.kind if cause is not None else None


def words_of_number(number: int) -> str | None:
    """The cause of an errno, in plain words."""
    cause = _BY_ERRNO.get(number)
    return cause.words if cause is not None else None


def plain_words(error: BaseException) -> str:
    """The cause in plain words, else what the system says, else the type of the error: its text may hold secrets."""
    found = cause_of(error)
    if found is not None:
        return found.words
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


def _of_certificate(error: ssl.SSLCertVerificationError) -> Cause:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        return Cause(Kind.CERTIFICATE_NAME, f"its certificate is not accepted: {said}")
    if error.verify_code in _OTHER_TIME:
        return Cause(Kind.CERTIFICATE_TIME, f"its certificate is not accepted: {said}")
    if error.verify_code in _NO_AUTHORITY:
        said = f"no authority that is known here has signed it ({said})"
    return Cause(Kind.CERTIFICATE_AUTHORITY, f"its certificate is not accepted: {said}")


def _of_tls(error: ssl.SSLError) -> Cause:
    reason = error.reason or ""
    if "ALERT" in reason:
        return Cause(Kind.TLS_REFUSED, f"it refused the TLS handshake: {reason}")
    return Cause(Kind.NO_TLS, "no TLS is spoken there")


def _of_system(error: OSError) -> Cause | None:
    number = error.errno
    if number is None:
        # The last one: after IPv6, which many machines have not, comes IPv4.
        in_text = _ERRNO_IN_TEXT.findall(str(error))
        number = int(in_text[-1]) if in_text else None
    if number is None and isinstance(error, ConnectionError):
        number = errno.ECONNRESET
    return _BY_ERRNO.get(number) if number is not None else None
