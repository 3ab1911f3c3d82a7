"""The console script: runs the command line, and turns any error into one sentence and an exit status."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from signalq.errors import SettingsError, SignalQError
from signalq.ops import completion
from signalq.ops.terminal.errors import DONE, FAILED, INTERRUPTED, WRONG_USAGE
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.streams import Streams
from signalq.secrets.masking import shown_path, shown_words, without_logins
from signalq.version import how_to_install

if TYPE_CHECKING:
    from click import ClickException

    from signalq.ops.terminal.invocation import Invocation

# The packages that are installed only with an extra.
EXTRAS = frozenset({"aiohttp", "click", "prometheus_client", "pydantic_settings", "rich", "structlog"})


def main() -> None:
    """Run `signalq` with this process's arguments, and leave with its exit status."""
    streams = Streams()
    # Python's TLS would write the keys of every connection, and so the tokens in it, to the file that this names. It is
    # removed before the import of any module that makes a TLS context.
    os.environ.pop("SSLKEYLOGFILE", None)
    if completion.ASKS in os.environ:
        # A shell asks, at a Tab: without click and all that comes below.
        from signalq.ops.completion.answer import answer  # noqa: PLC0415

        answer()
    _quiet_libraries()
    if streams.are_own:
        # The files that signalq makes (ledger, progress of files, demo) are its user's alone.
        os.umask(0o077)
        # After the loop is closed, errors in a library's clean-up are no news.
        sys.unraisablehook = lambda _unraisable: None
    try:
        # Here, not above: without the extras this import fails.
        from signalq.ops.terminal.invocation import Invocation  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(_failed(error, None))
    invocation = Invocation()
    status = _run(invocation, streams)
    # After an error, too: the interpreter exits with 120 if it can't write the rest at its end.
    with suppress(OSError):
        sys.stdout.flush()
    if streams.failure is not None and invocation.output_counts:
        status = FAILED
        # A reader that closed the pipe needs no sentence.
        if not isinstance(streams.failure, BrokenPipeError):
            _say(f"standard output can't be written ({streams.failure.strerror})", invocation)
    sys.exit(status)


def _quiet_libraries() -> None:
    """Silence the libraries: the error that follows says the same. The consumer sets up logging of its own."""
    for name in ("aio_pika", "aiohttp", "aiormq", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _run(invocation: Invocation, streams: Streams) -> int:
    from click import Abort, ClickException  # noqa: PLC0415

    from signalq.ops.terminal.cli import cli  # noqa: PLC0415

    try:
        status = cli.main(prog_name="signalq", obj=invocation, standalone_mode=False)
        sys.stdout.flush()
    except ClickException as error:
        return _wrong_usage(error, invocation)
    except (Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a sentence, not a traceback
        # A standard output that fails is reported once, at the end.
        return FAILED if streams.failure else _failed(error, invocation)
    return status if isinstance(status, int) else DONE


def _wrong_usage(error: ClickException, invocation: Invocation) -> int:
    """Write one sentence that names the command; without a command, show the help instead."""
    from click.exceptions import NoArgsIsHelpError  # noqa: PLC0415

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return WRONG_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "signalq"
    # Click lists choices a line each.
    sentence = error.format_message().removesuffix(".").replace("\n\t", " ")
    if sentence.startswith("Got unexpected extra argument"):
        sentence = f"there is an argument too many: {sentence.partition('(')[2].removesuffix(')')}"
    _say(f"{_without_secret_words(sentence)} (see {command} --help)", invocation)
    return WRONG_USAGE


def _without_secret_words(sentence: str) -> str:
    """Click's sentence without the words of the command line that may be a token in a wrong place or flag."""
    for argument in sorted(sys.argv[1:], key=len, reverse=True):
        for word in {argument, argument.partition("=")[0], argument.partition("=")[2]}:
            if word and shown_words(word) != word != shown_path(word):
                sentence = sentence.replace(word, shown_words(word)).replace(escaped(word), shown_words(word))
    return sentence


def _failed(error: Exception, invocation: Invocation | None) -> int:
    status = WRONG_USAGE if isinstance(error, SettingsError) else FAILED
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        sentence, status = f"the package {error.name} is not installed: {how_to_install('all')}", WRONG_USAGE
    elif isinstance(error, SignalQError):
        sentence = str(error)
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        sentence = f"{where}{error.strerror}: a file, a stream or the network can't be used"
    else:
        # The type alone: the error's text may hold secrets.
        sentence = f"something unexpected went wrong ({type(error).__name__}): run with --debug for the traceback"
    _say(sentence, invocation)
    return status


def _say(sentence: str, invocation: Invocation | None) -> None:
    if invocation is not None and invocation.debug and sys.exc_info()[0] is not None:
        for line in traceback.format_exc().splitlines():
            sys.stderr.write(f"{escaped(without_logins(line))}\n")
    sys.stderr.write(f"signalq: {escaped(sentence)}\n")


if __name__ == "__main__":
    main()
