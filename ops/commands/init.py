"""`signalq init`."""

import os
from pathlib import Path

import click

from signalq.causes import kind_of
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.settings.config_file import CONFIG_ENV, FOUND_NAME
from signalq.settings.private_files import FILE_MODE

TEMPLATE = Path(__file__).with_name("init.toml")


@click.command(cls=SignalqCommand, example="signalq init\nsignalq --config /etc/signalq/signalq.toml init")
@pass_invocation
def command(invocation: Invocation) -> None:
    """Write a commented signalq.toml into the working folder, which every command there finds by itself.

    With --config it is that file. All of it is commented out, so that it changes nothing yet; the file is its
    user's alone (0600). A file that is there stays as it is, and the exit status is 1.
    """
    file = invocation.config or Path(FOUND_NAME)
    try:
        # Exclusive, and so for no link either: it would lead to a file that is there, or is to be made elsewhere.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    except FileExistsError:
        raise CommandFailed(f"{file} is there already, and stays as it is: `signalq settings` shows it") from None
    except OSError as error:
        raise CommandFailed(f"{file} can't be written: {error.strerror}", kind=kind_of(error)) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(TEMPLATE.read_text(encoding="utf-8"))
    click.echo(f"wrote {escaped(str(file))}: say in it what differs, then run `signalq check`")
    if invocation.config is None and (named := os.environ.get(CONFIG_ENV)):
        click.echo(f"signalq: {CONFIG_ENV} names {escaped(named)}, which goes before it", err=True)
