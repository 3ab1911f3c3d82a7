"""`signalq help`: a command's help, or the entry of a kind of error."""

from __future__ import annotations

from collections.abc import Sequence

import click

from signalq.kinds import Kind
from signalq.ops.terminal.error_page import sections, summary_of, wrapped
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import SignalqCommand

ERRORS = "errors"


@click.command(
    cls=SignalqCommand,
    example="signalq help dead replay\nsignalq help connection-refused\nsignalq help errors",
)
@click.argument("words", nargs=-1, metavar="[COMMAND... | KIND]")
@click.pass_context
def command(context: click.Context, *, words: tuple[str, ...]) -> None:
    """Explain a command, as its --help does, or a kind of error: what it means, and what to do about it.

    The sentence of an error ends with its KIND, such as connection-refused; `signalq help errors` lists all of
    them. No network is needed.
    """
    root = context.find_root()
    if words == (ERRORS,):
        click.echo(_list_of_kinds(root))
    elif len(words) == 1 and words[0] in set(Kind):
        click.echo(_entry(root, Kind(words[0])))
    else:
        click.echo(_context_of(root, words).get_help())


def _list_of_kinds(root: click.Context) -> str:
    formatter = root.make_formatter()
    for title, entries in sections().items():
        with formatter.section(title):
            formatter.write_dl([(kind, summary_of(entry)) for kind, entry in entries.items()])
    return formatter.getvalue().strip("\n")


def _entry(root: click.Context, kind: Kind) -> str:
    (entry,) = (entries[kind] for entries in sections().values() if kind in entries)
    return f"{kind}\n\n{wrapped(entry, root.make_formatter().width)}"


def _context_of(root: click.Context, words: Sequence[str]) -> click.Context:
    """The context of the command that the words name. Raises UsageError, which names the nearest, if one is near."""
    context = root
    for word in words:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{context.command_path} has no commands of its own", context)
        found = group.get_command(context, word)
        if found is None:
            raise click.UsageError(_unknown(context, group, word), context)
        context = click.Context(found, parent=context, info_name=word, **found.context_settings)
    return context


def _unknown(context: click.Context, group: click.Group, word: str) -> str:
    # Imported here: what is known needs none of it.
    from signalq.message.near_names import nearest_clause  # noqa: PLC0415

    known = group.list_commands(context)
    if context.parent is not None:
        return f"there is no command {escaped(word)}{nearest_clause(word, known)}"
    return f"no command and no kind of error is {escaped(word)}{nearest_clause(word, [*known, *Kind, ERRORS])}"
