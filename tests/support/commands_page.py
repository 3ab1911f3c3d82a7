"""docs/commands.md: the help of every command, as the command line prints it; and the table for completion.

`./run docs` writes both anew; tests/unit/docs/test_commands_page.py and tests/unit/ops/test_completion.py fail where
they are not what the commands say. It also copies docs/errors.md into the package.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from signalq.ops.completion import table
from signalq.ops.completion.place import COMMANDS_FILE
from signalq.ops.terminal.cli import cli
from signalq.ops.terminal.error_page import PAGE as CARRIED_ERRORS

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
COMMAND = "./run docs"
COLUMNS = 100

HEAD = f"""# Commands

The help of every command, as `signalq COMMAND --help` prints it. This page is made by `{COMMAND}`.

"""


def commands_page() -> str:
    """The text of the page: a table of all commands, then the help of each."""
    helps = dict(every_help())
    rows = [f"| [`{path}`](#{path.replace(' ', '-')}) | {summary(text)} |" for path, text in helps.items()]
    table = "\n".join(["| command | does |", "|---|---|", *rows[1:]])
    sections = [f"## {path}\n\n```\n{text}\n```\n" for path, text in helps.items()]
    return HEAD + table + "\n\n" + "\n".join(sections)


def every_help() -> Iterator[tuple[str, str]]:
    """Each command with its help, groups before their commands."""
    return help_below(cli, click.Context(cli, info_name="signalq", terminal_width=COLUMNS))


def help_below(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The help of one command, and of those below it."""
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from help_below(below, click.Context(below, context, name, terminal_width=COLUMNS))


def summary(text: str) -> str:
    """The first paragraph of a help, below its usage."""
    return " ".join(text.split("\n\n")[1].split()).replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
    # A wheel has no docs: `signalq help KIND` reads this copy.
    shutil.copyfile(PAGE.with_name("errors.md"), CARRIED_ERRORS)
    COMMANDS_FILE.write_text(table.as_json(table.table_of(cli)), encoding="utf-8")
