"""`signalq consume`."""

import signal
from functools import partial

import click

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation


@click.command(cls=SignalqCommand, example="signalq --config signalq.toml consume")
@pass_invocation
def command(invocation: Invocation) -> int:
    """Run the consumer: take order intents from RabbitMQ and POST each to the webhook.

    SIGTERM or Ctrl-C drains: no new POST begins, POSTs on the wire finish and are settled, and all
    other orders stay in their queues, in order. SIGHUP, or a changed settings file, applies changed
    connectors, strategies, limits and tokens. The console is at / of its ops.host and ops.port, beside
    the health checks and the metrics. Logs go to standard error.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be followed: before that, it would end the process
    from signalq.consumer.__main__ import run  # noqa: PLC0415
    from signalq.ops.console.mounted import Mounted  # noqa: PLC0415
    from signalq.ops.terminal.environment import say_environment  # noqa: PLC0415

    settings = invocation.settings(says_file=False)
    say_environment(settings)
    return run(settings, config=invocation.config, pages=partial(Mounted, config=invocation.config))
