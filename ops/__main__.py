"""The console script: run the command line and turn whatever goes wrong into one sentence and an exit status."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from click import ClickException

    from ops.invocation import Invocation

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

# What the distribution brings only with an extra.
EXTRAS = frozenset({"aiohttp", "click", "prometheus_client", "pydantic_settings", "rich", "structlog"})


def main() -> None:
    """Run `signalq` with this process's arguments, and leave with its exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show a character gets its escape, not a traceback.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # Python's TLS would write the keys of every connection to the file that it names, for whoever can read it: tokens
    # are in these connections. Before anything is imported that makes a TLS context.
    os.environ.pop("SSLKEYLOGFILE", None)
    _quiet_libraries()
    try:
        # Here, not above: without the extras this import is what fails.
        from ops.invocation import Invocation  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(_failed(error, None))
    sys.exit(_run(Invocation()))


def _quiet_libraries() -> None:
    """What libraries log and warn of is in the error that follows; the consumer sets up logging of its own."""
    for name in ("aio_pika", "aiohttp", "aiormq", "asyncio"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _run(invocation: Invocation) -> int:
    from click import Abort, ClickException  # noqa: PLC0415

    from ops.cli import cli  # noqa: PLC0415

    try:
        status = cli.main(prog_name="signalq", obj=invocation, standalone_mode=False)
        sys.stdout.flush()
    except ClickException as error:
        return _wrong_usage(error, invocation)
    except (Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough of it; the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the last one: a person gets a sentence, not a traceback
        return _failed(error, invocation)
    return status if isinstance(status, int) else DONE


def _wrong_usage(error: ClickException, invocation: Invocation) -> int:
    """One sentence with the command it is about; asking for help by giving no command is not an error's sentence."""
    from click.exceptions import NoArgsIsHelpError  # noqa: PLC0415

    if isinstance(error, NoArgsIsHelpError):
        error.show()
        return WRONG_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "signalq"
    _say(f"{error.format_message().removesuffix('.')} (see {command} --help)", invocation)
    return WRONG_USAGE


def _failed(error: Exception, invocation: Invocation | None) -> int:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRAS:
        from signalq.version import how_to_install  # noqa: PLC0415

        _say(f"the package {error.name} is not installed: {how_to_install('all')}", invocation)
        return WRONG_USAGE
    from signalq.errors import SettingsError, SignalQError  # noqa: PLC0415

    if isinstance(error, SettingsError):
        _say(str(error), invocation)
        return WRONG_USAGE
    if isinstance(error, SignalQError):
        _say(str(error), invocation)
        return FAILED
    # The type alone: nobody has looked at this text for secrets.
    _say(f"something unexpected went wrong ({type(error).__name__}): run with --debug for the traceback", invocation)
    return FAILED


def _say(sentence: str, invocation: Invocation | None) -> None:
    from ops.escaping import escaped  # noqa: PLC0415

    if invocation is not None and invocation.debug:
        traceback.print_exc()
    sys.stderr.write(f"signalq: {escaped(sentence)}\n")


if __name__ == "__main__":
    main()
