"""The console script: runs the command line, and turns any error into one sentence and an exit status."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

from signalq.kinds import Kind
from signalq.ops import completion
from signalq.ops.terminal.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    OUTPUT_LOST,
    WRONG_USAGE,
    Failure,
    failure_of,
    wrong_usage,
)
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.streams import Streams
from signalq.secrets.masking import without_logins

if TYPE_CHECKING:
    from click import ClickException

    from signalq.ops.terminal.invocation import Invocation


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
            lost = Failure(f"{OUTPUT_LOST} ({streams.failure.strerror})", Kind.OUTPUT_LOST)
            _say(lost.with_address, invocation)
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
    failure = wrong_usage(error)
    _say(failure.sentence, invocation)
    return failure.status


def _failed(error: Exception, invocation: Invocation | None) -> int:
    failure = failure_of(error)
    # Without an invocation there is no `signalq help` either: a package that it needs is missing.
    _say(failure.with_address if invocation is not None else failure.sentence, invocation)
    return failure.status


def _say(sentence: str, invocation: Invocation | None) -> None:
    if invocation is not None and invocation.debug and sys.exc_info()[0] is not None:
        for line in traceback.format_exc().splitlines():
            sys.stderr.write(f"{escaped(without_logins(line))}\n")
    said = f"signalq: {escaped(sentence)}"
    sys.stderr.write(f"{_wrapped(said) if sys.stderr.isatty() else said}\n")


def _wrapped(text: str) -> str:
    """The text broken between words: a terminal itself breaks a line anywhere. A path stays whole, to be copied."""
    # Imported here: without an error on a terminal nothing needs them.
    import shutil  # noqa: PLC0415
    import textwrap  # noqa: PLC0415

    columns = shutil.get_terminal_size().columns
    return textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
