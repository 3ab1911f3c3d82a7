"""The cause of a connection or a file that failed, by the errors that the system really raises."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest

from signalq.causes import Cause, advice_on, cause_of, kind_of, plain_words
from signalq.errors import BrokerUnreachable, InvalidIntent, Problem, SettingsError
from signalq.kinds import Kind

NETWORK = [
    (ConnectionRefusedError(errno.ECONNREFUSED, "x"), Kind.CONNECTION_REFUSED),
    (ConnectionResetError(errno.ECONNRESET, "x"), Kind.HUNG_UP),
    (ConnectionResetError(), Kind.HUNG_UP),
    (BrokenPipeError(errno.EPIPE, "x"), Kind.HUNG_UP),
    (TimeoutError(), Kind.NO_ANSWER),
    (OSError(errno.ETIMEDOUT, "x"), Kind.NO_ANSWER),
    (OSError(errno.ENETUNREACH, "x"), Kind.NO_ROUTE),
    (OSError(errno.EHOSTUNREACH, "x"), Kind.NO_ROUTE),
    (socket.gaierror(socket.EAI_NONAME, "x"), Kind.UNKNOWN_HOST),
    (socket.gaierror(socket.EAI_AGAIN, "x"), Kind.UNKNOWN_HOST),
    (OSError(errno.EADDRINUSE, "x"), Kind.CANNOT_LISTEN),
    (OSError(errno.EADDRNOTAVAIL, "x"), Kind.CANNOT_LISTEN),
]
FILES = [
    (FileNotFoundError(errno.ENOENT, "x"), Kind.FILE_MISSING),
    (NotADirectoryError(errno.ENOTDIR, "x"), Kind.FILE_MISSING),
    (PermissionError(errno.EACCES, "x"), Kind.PERMISSION_DENIED),
    (PermissionError(errno.EPERM, "x"), Kind.PERMISSION_DENIED),
    (OSError(errno.EROFS, "x"), Kind.READ_ONLY),
    (OSError(errno.ENOSPC, "x"), Kind.DISK_FULL),
    (OSError(errno.EDQUOT, "x"), Kind.DISK_FULL),
    (OSError(errno.EMFILE, "x"), Kind.FILE_UNUSABLE),
    (OSError(errno.EIO, "x"), Kind.FILE_UNUSABLE),
    (IsADirectoryError(errno.EISDIR, "x"), Kind.FILE_UNUSABLE),
]


@pytest.mark.parametrize(("error", "kind"), [*NETWORK, *FILES], ids=lambda one: repr(one)[:50])
def test_each_error_of_the_system_has_its_cause(error: OSError, kind: Kind) -> None:
    cause = cause_of(error)
    assert cause is not None
    assert (cause.kind, kind_of(error)) == (kind, kind)
    assert plain_words(error) == cause.words != "x"


@pytest.mark.parametrize("error", [ValueError("secret"), OSError(errno.ENOTEMPTY, "Directory not empty"), OSError()])
def test_another_error_has_no_cause_and_its_text_is_not_repeated(error: Exception) -> None:
    assert cause_of(error) is None
    assert "secret" not in plain_words(error)


async def test_a_name_with_two_addresses_where_nobody_listens_is_refused_too() -> None:
    """asyncio puts the errors of ::1 and of 127.0.0.1 into one, which has no number."""
    with pytest.raises(OSError, match=r"Errno|refused") as refused:
        await asyncio.open_connection("localhost", 1)
    assert kind_of(refused.value) is Kind.CONNECTION_REFUSED
    both = OSError("Multiple exceptions: [Errno 99] Cannot assign ('::1', 1, 0, 0), [Errno 111] Connect call failed")
    assert kind_of(both) is Kind.CONNECTION_REFUSED


async def test_an_error_of_aiohttp_has_the_cause_of_the_one_in_it() -> None:
    async with aiohttp.ClientSession() as session:
        for url, kind in (
            ("http://127.0.0.1:1/", Kind.CONNECTION_REFUSED),
            ("http://signalq-test.invalid/", Kind.UNKNOWN_HOST),
        ):
            with pytest.raises(aiohttp.ClientConnectorError) as refused:
                await session.post(url)
            assert kind_of(refused.value) is kind


def test_a_file_that_can_not_be_opened_says_why(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "a" / "b", "there is no such file"), (tmp_path, "it is a folder")):
        with pytest.raises((FileNotFoundError, IsADirectoryError)) as failed:
            path.open()
        assert plain_words(failed.value) == words


def test_a_certificate_is_refused_for_its_name_its_time_or_its_authority() -> None:
    def refused(code: int, message: str) -> Cause | None:
        error = ssl.SSLCertVerificationError(1, message)
        error.verify_code, error.verify_message = code, message
        return cause_of(error)

    assert refused(62, "Hostname mismatch, certificate is not valid for 'h'.") == Cause(
        Kind.CERTIFICATE_NAME, "its certificate is not accepted: Hostname mismatch, certificate is not valid for 'h'"
    )
    assert refused(10, "certificate has expired") == Cause(
        Kind.CERTIFICATE_TIME, "its certificate is not accepted: certificate has expired"
    )
    assert refused(18, "self-signed certificate") == Cause(
        Kind.CERTIFICATE_AUTHORITY, "its certificate is not accepted: self-signed certificate"
    )
    unknown = refused(20, "unable to get local issuer certificate")
    assert unknown is not None
    assert "no authority that is known here has signed it" in unknown.words


@pytest.mark.parametrize("kind", Kind)
def test_the_advice_names_the_setting_or_is_left_to_the_place(kind: Kind) -> None:
    advice = advice_on(kind, "broker.url")
    assert advice is None or ("{" not in advice and advice == advice.strip())


def test_an_error_keeps_its_kind_in_another_process() -> None:
    """A process pool pickles it."""
    for error in (
        BrokerUnreachable("no", "do", kind=Kind.NO_TLS),
        SettingsError("no", kind=Kind.NO_LEDGER),
        SettingsError("no"),
        InvalidIntent([Problem("action", "is missing")]),
    ):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(again), str(again), again.kind) == (type(error), str(error), error.kind)


def test_a_kind_is_a_word_for_programs() -> None:
    assert BrokerUnreachable("x", kind=Kind.CONNECTION_REFUSED).kind == "connection-refused"
    assert SettingsError("x").kind == "wrong-setting"
    assert os.strerror(errno.ECONNREFUSED) == "Connection refused"
