"""`signalq dev`."""

from pathlib import Path

import click

from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation

# As in signalq.ops.dev.world, which the help does not need.
PORT_MAX = 65_517


@click.command(cls=SignalqCommand, example="signalq dev\nsignalq dev --folder ./try --port 18672")
@click.option(
    "--folder",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the world: its settings, its ledger, its messages. Default: signalq/dev in the state folder "
    "($XDG_STATE_HOME, else ~/.local/state).",
)
@click.option(
    "--port",
    type=click.IntRange(1, PORT_MAX),
    metavar="PORT",
    help="The port of RabbitMQ in a world that is made; the others are 8 (health), 9 (gateway), 10 (console) and 18 "
    "(sandbox) above it.",
    show_default="17672",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: the addresses, then what happens.")
@pass_invocation
def command(invocation: Invocation, *, folder: Path | None, port: int | None, as_json: bool) -> None:
    """Run a world of its own on this machine, until Ctrl-C: RabbitMQ, sandbox, consumer, gateway and console.

    It prints the console's link, a line to try, and what to export so that other commands use this world; then,
    an order a line, what happens. Orders go to its sandbox alone. It reads no settings but those of its folder,
    in the file signalq.toml, which is made at the first start and is yours to change. The same folder again is
    the same world; two worlds need two folders and two ports. If a part of it dies, all of it ends, with status 1.
    """
    from signalq.ops.dev.run import run_dev  # noqa: PLC0415
    from signalq.ops.dev.world import default_folder  # noqa: PLC0415

    if invocation.config is not None:
        raise click.UsageError("--config is not for dev: a world has its settings in its folder, see --folder")
    run_dev(folder or default_folder(), port, as_json=as_json)
