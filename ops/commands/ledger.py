"""`signalq ledger upgrade`."""

import asyncio

import click

from signalq.kinds import Kind
from signalq.ops.ledger import upgrade_ledger
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, pass_invocation
from signalq.ops.terminal.render import console, print_json


@click.group(cls=SignalqGroup, example="signalq --config signalq.toml ledger upgrade")
def command() -> None:
    """The ledger's tables: bring them to the form that this version of signalq wants."""


@command.command("upgrade", example="signalq --config signalq.toml ledger upgrade")
@click.option("--if-there", is_flag=True, help="Where there is no ledger yet, say so and exit 0: for a first rollout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: ledger, from_schema, to_schema.")
@pass_invocation
def upgrade(invocation: Invocation, *, if_there: bool, as_json: bool) -> None:
    """Upgrade the tables of a ledger that is there, as `consume` does at its start.

    In one transaction: it is done, or nothing has changed. Consumers of the version before may run on
    meanwhile and afterwards, but can't be started again. Where there is no ledger yet none is made, for
    `consume` does that.
    """
    shown, upgraded = asyncio.run(upgrade_ledger(invocation.settings()))
    if upgraded is None and not if_there:
        raise CommandFailed(f"there is no ledger at {shown} yet: `signalq consume` makes it", kind=Kind.NO_LEDGER)
    if as_json:
        schemas = (upgraded.from_schema, upgraded.to_schema) if upgraded else (None, None)
        print_json({"ledger": shown, "from_schema": schemas[0], "to_schema": schemas[1]})
    elif upgraded is None:
        console().print(f"there is no ledger at {shown} yet: `signalq consume` makes it")
    elif upgraded.from_schema == upgraded.to_schema:
        console().print(f"the ledger at {shown} has schema {upgraded.to_schema} already")
    else:
        console().print(
            f"the ledger at {shown} was upgraded from schema {upgraded.from_schema} to {upgraded.to_schema}"
        )
