"""The common parts of these strategies: the broker's address, the connector's token, and the end after an error.

The environment names the broker, as for signalq's own commands: SIGNALQ_BROKER__URL, or SIGNALQ_BROKER__URL_FILE for a
file that holds it; SIGNALQ_BROKER__ALLOW_PLAIN; SIGNALQ_BROKER__PREFIX. No flag takes the URL or a token, since every
user of a machine can read its command lines.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signalq import InvalidIntent, SignalQError
from signalq.amqp.address import check_url
from signalq.causes import plain_words
from signalq.secrets.masking import shown_path, shown_words

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/"


class WrongInput(Exception):
    """The program can't use its input; the sentence says what to do. The program exits 2."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The broker to publish to; `url` holds a password."""

    url: str = field(repr=False)
    prefix: str


def broker(environment: Mapping[str, str] = os.environ) -> BrokerAddress:
    """The broker that the environment names. Raises WrongInput."""
    file = environment.get("SIGNALQ_BROKER__URL_FILE")
    found = _secret_in(Path(file), "SIGNALQ_BROKER__URL_FILE") if file else environment.get("SIGNALQ_BROKER__URL")
    url = found or DEFAULT_URL
    allow_plain = (environment.get("SIGNALQ_BROKER__ALLOW_PLAIN") or "").casefold() in {"1", "true", "yes", "on"}
    try:
        check_url(url, allow_plain=allow_plain)
    except ValueError as error:
        raise WrongInput(f"SIGNALQ_BROKER__URL {error}") from None
    return BrokerAddress(url, environment.get("SIGNALQ_BROKER__PREFIX") or "signalq")


def parser(name: str, about: str, *, examples: str, strategy: str) -> argparse.ArgumentParser:
    """A parser with the flags of all strategies; `about` is the program's docstring."""
    made = argparse.ArgumentParser(
        prog=f"python -m producers.strategies.{name}",
        description=about,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--strategy", default=strategy, help="the name the orders go by (default: %(default)s)")
    made.add_argument("--token-env", metavar="NAME", help="the environment variable that holds the connector's token")
    made.add_argument(
        "--token-file", metavar="FILE", type=Path, help="the file that holds it; with neither, the consumer has it"
    )
    return made


def token(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token that the flags name; None if the consumer is to fill it in. Raises WrongInput."""
    if arguments.token_env and arguments.token_file:
        raise WrongInput("of --token-env and --token-file give at most one")
    if arguments.token_file:
        return _secret_in(arguments.token_file, "--token-file")
    if arguments.token_env and not environment.get(arguments.token_env):
        raise WrongInput(f"--token-env names {shown_words(arguments.token_env)}, which is not set or empty")
    return environment[arguments.token_env] if arguments.token_env else None


def run(program: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run a program to its exit status: an error is one sentence on standard error, and status 1 or 2."""
    os.environ.pop("SSLKEYLOGFILE", None)  # Python's TLS would write the keys of every connection to that file
    for name in ("aio_pika", "aiormq"):
        # Our own sentence says it; without a handler, the library's line would stand beside it.
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        return program(sys.argv[1:] if arguments is None else arguments)
    except (WrongInput, InvalidIntent) as error:
        sentence, status = str(error), 2
    except OSError as error:
        sentence, status = f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
    except SignalQError as error:
        sentence, status = str(error), 1
    except KeyboardInterrupt:
        sentence, status = "stopped", 130
    print(sentence, file=sys.stderr)
    return status


def _secret_in(file: Path, named_by: str) -> str:
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = f"which can't be read ({plain_words(error)})"
        raise WrongInput(f"{named_by} names {shown_path(str(file))}, {why}") from None
    if not secret:
        raise WrongInput(f"{named_by} names {file}, which is empty")
    return secret
