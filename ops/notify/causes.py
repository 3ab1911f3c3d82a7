"""The cause of an attempt that failed, by what apprise says of it.

apprise logs the error of a connection only as a text, for debugging, and a URL with a token may stand in it. So only
the cause is taken out of it, in our own words.
"""

import logging
import re

from signalq.causes import words_of_number

_SAID = "Socket Exception"
_CERTIFICATE = re.compile(r"certificate verify failed: ([^(]+)")
_NUMBER = re.compile(r"\[Errno (\d+)\]")
# The answers of a mail server that refuse a login: https://www.rfc-editor.org/rfc/rfc4954#section-6
_LOGIN_REFUSED = re.compile(r"\(53[0458], b")
_WORDS = {
    "Failed to resolve": "unknown host: its name does not resolve",
    "[Errno -": "unknown host: its name does not resolve",
    "WRONG_VERSION_NUMBER": "no TLS is spoken there",
    "STARTTLS extension not supported": "no TLS is spoken there",
    "timed out": "no answer in time",
    "RemoteDisconnected": "it hung up without a word",
    "unexpectedly closed": "it hung up without a word",
}


class CausesOnly(logging.Filter):
    """Lets warnings pass, and of what is for debugging the cause of an error alone, which becomes a warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        if record.levelno >= logging.WARNING:
            return True
        said = record.getMessage()
        words = words_in(said) if said.startswith(_SAID) else None
        if words is None:
            return False
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = f"({words})", ()
        return True


def words_in(said: str) -> str | None:
    """The cause in our own words; None if the text names none that is known."""
    if (certificate := _CERTIFICATE.search(said)) is not None:
        return f"its certificate is not accepted: {certificate[1].strip(' .')}"
    if _LOGIN_REFUSED.search(said):
        return "it refused the user name or the password"
    if (number := _NUMBER.search(said)) is not None and (words := words_of_number(int(number[1]))) is not None:
        return words
    return next((words for sign, words in _WORDS.items() if sign in said), None)
