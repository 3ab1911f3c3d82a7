"""`signalq demo`."""

import click

from signalq.ops.terminal.invocation import SignalqCommand


@click.command(cls=SignalqCommand, example="signalq demo")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a story.")
def command(*, as_json: bool) -> int:
    """See all of signalq on this machine: a private RabbitMQ, a sandbox, a consumer, some orders.

    It needs no settings, touches no broker of yours, ends by itself and leaves nothing behind.
    """
    from signalq.ops.demo.run import run_demo  # noqa: PLC0415

    return run_demo(as_json=as_json)
