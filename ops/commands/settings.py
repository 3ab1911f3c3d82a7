"""`signalq settings`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from signalq.message.near_names import nearest_clause
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.ops.terminal.render import Column, print_rows

if TYPE_CHECKING:
    from signalq.settings.origins import InForce

COLUMNS = [
    Column("key", "SETTING", style="bold"),
    Column("value", "VALUE", least=8),
    Column("origin", "FROM", style=lambda origin: "dim" if origin == "default" else "", least=8),
]


@click.command(
    cls=SignalqCommand,
    example="signalq settings\nsignalq settings webhook connectors.main\nsignalq settings broker.url --json",
)
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: key, value, source, where, read_from.")
@pass_invocation
def command(invocation: Invocation, *, keys: tuple[str, ...], as_json: bool) -> None:
    """Show the settings in force, and where each value comes from: the default, the file, or the environment.

    Of a connector or a strategy it shows the keys that are set. KEY is a setting or the beginning of some, such as
    webhook or connectors.main. Secrets are masked; of a secret that a ..._file or a ..._env names, the place is
    shown. Nothing is connected to.
    """
    # Imported here: pydantic takes a quarter of a second, and --help needs none of it.
    from signalq.settings.origins import in_force  # noqa: PLC0415

    invocation.settings()
    _, found = in_force(invocation.config)
    chosen = _chosen(found, keys)
    if as_json:
        print_rows([], [one.row() for one in chosen], as_json=True)
    else:
        rows = [{"key": one.key, "value": one.text, "origin": _origin(one)} for one in chosen]
        print_rows(COLUMNS, rows, as_json=False)


def _chosen(found: list[InForce], keys: tuple[str, ...]) -> list[InForce]:
    """The settings that the keys name. Raises UsageError for a key that names none."""
    for key in keys:
        if not any(one.is_under(key) for one in found):
            nearest = nearest_clause(key, [one.key for one in found])
            raise click.UsageError(f"{escaped(key)} is no setting here{nearest}")
    return [one for one in found if not keys or any(one.is_under(key) for key in keys)]


def _origin(one: InForce) -> str:
    """The source in few words: `default`, the variable, or the file; and the place that a secret is read from."""
    if one.where is None:
        return one.source
    here = Path.cwd() if one.source == "file" else None
    where = str(Path(one.where).relative_to(here)) if here and Path(one.where).is_relative_to(here) else one.where
    return f"{where} ({one.read_from})" if one.read_from is not None else where
