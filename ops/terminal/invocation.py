"""The common part of every command: its settings, and the shared options, before or after its name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signalq.ops.terminal.escaping import escaped, secrets

if TYPE_CHECKING:
    from signalq.settings.sections import Settings

HELP_COLUMNS_MAX = 100


@dataclass
class Invocation:
    """One run of the command, with the options that all commands have."""

    config: Path | None = None
    debug: bool = False
    quiet: bool = False
    # Whether a run fails if its output can't be written.
    output_counts: bool = True
    _has_said_file: bool = False

    def settings(self, *, with_secrets: bool = True, says_file: bool = True) -> Settings:
        """The settings of this run, see load_settings; `says_file`: see say_found_file. Raises SettingsError."""
        # Imported here: pydantic takes a quarter of a second, and --help needs none of it.
        from signalq.settings.sources import load_settings  # noqa: PLC0415

        if says_file:
            self.say_found_file()
        settings = load_settings(self.config, with_secrets=with_secrets)
        secrets.learn(settings.secret_values(), names=settings.shown_names())
        return settings

    def say_found_file(self) -> None:
        """Say on standard error, once, that the settings come from a file that nobody named."""
        from signalq.settings.config_file import found_file  # noqa: PLC0415

        file = found_file(self.config)
        if file is not None and not self._has_said_file and not self.quiet:
            self._has_said_file = True
            click.echo(f"signalq: the settings are those of {escaped(str(file))}", err=True)


pass_invocation = click.make_pass_decorator(Invocation)


def is_quiet() -> bool:
    """Whether this run was asked for rows, warnings and errors alone: no summary, no remark, no progress."""
    context = click.get_current_context(silent=True)
    invocation = context.find_object(Invocation) if context is not None else None
    return invocation is not None and invocation.quiet


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Keep a shared option in the Invocation; the same option may stand before or after the command's name."""
    if value:
        setattr(context.ensure_object(Invocation), str(option.name), value)


def _shared_options() -> list[click.Parameter]:
    """Fresh objects each time: click keeps state in a parameter."""
    return [
        click.Option(
            ["--config"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            expose_value=False,
            callback=_remember,
            help="The settings file (TOML); else the one that SIGNALQ_CONFIG names, else ./signalq.toml, else none.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Show the traceback of an error.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Leave summaries, remarks and progress out of standard error: warnings and errors alone are there.",
        ),
    ]


class SignalqCommand(click.Command):
    """A command with the shared options; `example` ends its help."""

    def __init__(self, name: str | None, *, example: str, **options: Any) -> None:
        # `\b` keeps click from rewrapping the lines.
        epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())
        super().__init__(name, epilog=epilog, context_settings={"max_content_width": HELP_COLUMNS_MAX}, **options)
        self.params += _shared_options()

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """The options that show the help, whatever the context that a command is looked at in."""
        del ctx
        return ["-h", "--help"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them. An error names this command, also one of click's parser, which knows no command."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


class SignalqGroup(SignalqCommand, click.Group):
    """A group with the shared options, whose commands are imported when they are called.

    `lazy` has the help of each command that a module of its name in ops/commands exports, as `command`.
    """

    command_class = SignalqCommand

    def __init__(self, name: str | None, *, lazy: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(name, **options)
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in their given order, in which people need them."""
        del ctx
        return [*self._lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported now."""
        if cmd_name in self._lazy:
            command: click.Command = import_module(f"signalq.ops.commands.{cmd_name}").command
            return command
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for an unknown one names the nearest known one."""
        known = self.list_commands(ctx)
        if not args[0].startswith("-") and args[0] not in known:
            from signalq.message.near_names import nearest_clause  # noqa: PLC0415

            ctx.fail(f"there is no command {args[0]}{nearest_clause(args[0], known)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands with a line each, without importing them."""
        del ctx
        rows = self._lazy | {name: one.get_short_help_str(HELP_COLUMNS_MAX) for name, one in self.commands.items()}
        with formatter.section("Commands"):
            formatter.write_dl(list(rows.items()))


def as_stored(argument: str) -> str:
    """A command-line argument in the form in which foreign text is kept: bytes that are no UTF-8 become escapes."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def utf8(argument: str) -> str:
    """A command-line argument that is to be sent. Raises BadParameter for bytes that are no UTF-8."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("it is no UTF-8") from None
    return argument


class NearChoice(click.Choice[str]):
    """A choice between some words; the error for another one names the nearest, if one is near."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The error's sentence."""
        # Imported here: --help needs none of it.
        from signalq.message.near_names import nearest_clause  # noqa: PLC0415

        sentence = super().get_invalid_choice_message(value, ctx).removesuffix(".")
        return f"{sentence}{nearest_clause(str(value), list(self.choices))}"


def one_of(what: str, known: Collection[str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """The callback of an option that takes one of some names; the error for another one suggests the nearest."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is None or value in known:
            return value
        # Imported here: --help needs none of it.
        from signalq.message.near_names import nearest_clause  # noqa: PLC0415

        raise click.BadParameter(
            f"{escaped(value)} is no {what}{nearest_clause(value, known)}: it is one of {', '.join(known)}"
        )

    return check
