"""`signalq console`."""

import signal

import click

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation


@click.command(
    cls=SignalqCommand,
    example="signalq --config signalq.toml console\nSIGNALQ_OPS__TOKEN_FILE=/run/secrets/ops-token signalq console",
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Serve the console: pages that say what needs a person, and that pause, replay and cancel.

    It listens on console.host and console.port, by default on http://127.0.0.1:8082/. With ops.token a
    person signs in with that and a name; without, the start prints a link on the terminal, which is good
    once. It reads the ledger and the broker, so it works while every consumer is dead. SIGTERM or Ctrl-C
    ends it, SIGHUP reads the settings again. Logs go to standard error.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be followed
    from signalq.ops.console.run import run  # noqa: PLC0415

    run(invocation.settings(says_file=False), invocation.config)
