"""Options that take one of some names; the error for another name suggests the nearest one."""

from __future__ import annotations

from collections.abc import Callable, Collection

import click

Callback = Callable[[click.Context, click.Parameter, str | None], str | None]


def one_of(what: str, known: Collection[str]) -> Callback:
    """The callback of such an option."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is None or value in known:
            return value
        # Imported here: --help needs none of it.
        from signalq.message.near_names import nearest_clause  # noqa: PLC0415
        from signalq.ops.terminal.escaping import escaped  # noqa: PLC0415

        raise click.BadParameter(
            f"{escaped(value)} is no {what}{nearest_clause(value, known)}: it is one of {', '.join(known)}"
        )

    return check
