"""`signalq notify`."""

import asyncio
import signal
import sys

import click
from rich.text import Text

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.ops.terminal.render import console, note, say


@click.command(
    cls=SignalqCommand,
    example="signalq notify --dry-run\n"
    "SIGNALQ_NOTIFY__URLS=tgram://BOT_TOKEN/CHAT_ID signalq notify\n"
    "signalq --config signalq.toml notify",
)
@click.option("--dry-run", is_flag=True, help="Show the message that would be sent now, send nothing, and end.")
@pass_invocation
def command(invocation: Invocation, *, dry_run: bool) -> None:
    """Tell people by Telegram, Slack, Discord, mail and the like that something needs them.

    It watches for orders in doubt, dead letters, connectors that are paused or close-only, and the loss of
    all consumers, of RabbitMQ or of the ledger, and says when such a state is over. All news goes into one
    message, at most one in notify.every_s to each service of notify.urls; a service that is away gets it
    later. No message holds a token or a body. SIGTERM or Ctrl-C sends what is gathered, and ends it. Logs
    go to standard error.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # settings hold until a restart; the signal must not end it
    if dry_run:
        asyncio.run(_preview(invocation))
        return
    from signalq.ops.notify.run import run  # noqa: PLC0415

    run(invocation.settings())


async def _preview(invocation: Invocation) -> None:
    from signalq.ops.notify.run import preview  # noqa: PLC0415

    message, names = await preview(invocation.settings())
    if message is None:
        note("nothing needs a person now: no message would be sent")
        return
    out = console()
    # A person's terminal would break words in the middle.
    is_whole = not out.is_terminal
    out.print(Text(message.title, style="bold"), soft_wrap=is_whole)
    out.print()
    out.print(Text(message.body), soft_wrap=is_whole)
    sys.stdout.flush()
    if names:
        note(f"this would go to {', '.join(names)}")
    else:
        say("notify.urls is not set: it would go to nobody")
