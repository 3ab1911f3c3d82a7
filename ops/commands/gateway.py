"""`signalq gateway`."""

import signal

import click

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation


@click.command(
    cls=SignalqCommand,
    example="signalq --config signalq.toml gateway\n"
    'curl -d \'{"connectorName":"main","connectorToken":"...","action":"openLong","percent":"50"}\' \\\n'
    "  http://127.0.0.1:8081/trading-signal/webhook",
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Take orders by HTTP at the platform's own path, and answer ok once the broker has them.

    A TradingView alert only changes its host. Every request must carry its connectorToken. Orders are
    taken for the connectors of the settings, with the tokens that they have there; for other connectors
    only with gateway.connectors = "any". A JSON array of 1 to 20 orders is taken as a whole, or not at
    all. The header Signalq-Intent-Id of an ok has the id of each order, for `signalq orders show`. An
    order that can't be queued within 3 s is answered 503, and its repeat is the same order. SIGTERM or
    Ctrl-C ends it, SIGHUP reads the settings again. Logs go to standard error.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be followed
    from signalq.ops.gateway import run  # noqa: PLC0415

    run(invocation.settings(says_file=False), invocation.config)
