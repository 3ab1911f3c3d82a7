"""The exit statuses, and the sentence, the kind and the status that any error becomes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signalq.errors import SettingsError, SignalQError
from signalq.kinds import Kind
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import shown_path, shown_words
from signalq.version import how_to_install

if TYPE_CHECKING:
    from click import ClickException

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
# The packages that are installed only with an extra.
EXTRAS = frozenset({
    *("aiohttp", "aiohttp_sse", "click", "itsdangerous", "jinja2", "prometheus_client", "pydantic_settings", "rich"),
    "structlog",
})  # fmt: skip


class CommandFailed(SignalQError):
    """The command failed; the sentence says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a command by an error: its sentence, its kind, and the exit status."""

    sentence: str
    kind: Kind
    status: int = FAILED

    @property
    def with_address(self) -> str:
        """The sentence, and where to read on: in what a wheel installs, without a network.

        Of a command that failed for a reason of its own, the sentence says all that there is.
        """
        if self.kind is Kind.COMMAND_FAILED:
            return self.sentence
        return f"{self.sentence.removesuffix('.')}; see `signalq help {self.kind}`"


OUTPUT_LOST = "standard output can't be written"


def failure_of(error: Exception) -> Failure:
    """The failure that an error is to a person. An error that nobody foresaw is told by its type alone."""
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        sentence = f"the package {error.name} is not installed: {how_to_install('all')}"
        return Failure(sentence, Kind.PACKAGE_MISSING, WRONG_USAGE)
    if isinstance(error, SignalQError):
        return Failure(str(error), error.kind, WRONG_USAGE if isinstance(error, SettingsError) else FAILED)
    if isinstance(error, OSError) and error.strerror:
        return _of_system(error)
    # The type alone: the error's text may hold secrets.
    sentence = f"something unexpected went wrong ({type(error).__name__}): run with --debug for the traceback"
    return Failure(sentence, Kind.UNEXPECTED)


def wrong_usage(error: ClickException) -> Failure:
    """One sentence that names the command, and its help as where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "signalq"
    # Click lists choices a line each.
    sentence = error.format_message().removesuffix(".").replace("\n\t", " ")
    if sentence.startswith("Got unexpected extra argument"):
        sentence = f"there is an argument too many: {sentence.partition('(')[2].removesuffix(')')}"
    return Failure(f"{_without_secret_words(sentence)} (see {command} --help)", Kind.WRONG_USAGE, WRONG_USAGE)


def _of_system(error: OSError) -> Failure:
    """An error of the operating system that no place has put into words of its own."""
    # Imported here: the import of the command line imports no TLS, see main.
    from signalq.causes import advice_on, cause_of  # noqa: PLC0415

    where = f"{error.filename}: " if error.filename else ""
    cause = cause_of(error)
    if cause is None:
        sentence = f"{where}{error.strerror}: a file, a stream or the network can't be used"
        return Failure(sentence, Kind.FILE_UNUSABLE)
    advice = advice_on(cause.kind, "the settings") or "check the settings"
    return Failure(f"{where}{cause.words}; {advice}", cause.kind)


def _without_secret_words(sentence: str) -> str:
    """Click's sentence without the words of the command line that may be a token in a wrong place or flag."""
    for argument in sorted(sys.argv[1:], key=len, reverse=True):
        for word in {argument, argument.partition("=")[0], argument.partition("=")[2]}:
            if word and shown_words(word) != word != shown_path(word):
                sentence = sentence.replace(word, shown_words(word)).replace(escaped(word), shown_words(word))
    return sentence
