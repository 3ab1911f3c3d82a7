"""`signalq completion`."""

import click

from signalq.ops.completion.shells import SHELLS, script
from signalq.ops.terminal.invocation import SignalqCommand


@click.command(cls=SignalqCommand, example='eval "$(signalq completion bash)"     # at once, in this bash')
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def command(*, shell: str) -> None:
    """Print the script that completes commands, options and values of signalq at a Tab, in bash, zsh or fish.

    It completes the names of commands and options; actions, reasons, statuses and columns; connectors and
    strategies of the settings in force; and the ids of orders, dead letters and delayed intents, the newest
    first, of the ledger. It asks no server but the ledger's, writes nothing, and takes two seconds at most.

    \b
    To have it in every new shell:
      bash   echo 'eval "$(signalq completion bash)"' >> ~/.bashrc
      zsh    echo 'eval "$(signalq completion zsh)"' >> ~/.zshrc
      fish   signalq completion fish > ~/.config/fish/completions/signalq.fish

    In ~/.zshrc the line stands below `autoload -Uz compinit && compinit`. A script never gets old: signalq
    itself answers, in the version that is called.
    """
    click.echo(script(shell), nl=False)
