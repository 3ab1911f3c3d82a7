"""The table of all commands for completion. It is made of the command line, whose import takes too long for a Tab.

`./run docs` writes it anew; a test fails where it is not what the commands say.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import click

from signalq.consumer.ledger.queries.orders import STATUSES
from signalq.consumer.orders.state import REASONS
from signalq.ops.completion.place import COMMAND, CONNECTOR, FILE, FOLDER, ID, NAMED_KEY, STRATEGY, VARIABLE
from signalq.ops.terminal.cli import COMMANDS
from signalq.settings.named import Action
from signalq.settings.sections import NAMED_SECTIONS, SECTIONS

SINCE = ["15m", "1h", "24h", "7d"]
# Beside the longest name of an option it fits a terminal of 80 columns.
SAID_CHARACTERS_MAX = 52
_PLAIN_SECTIONS = {name: model for name, model in SECTIONS.items() if name not in NAMED_SECTIONS}
_KEYS = [f"{section}.{name}" for section, model in _PLAIN_SECTIONS.items() for name in model.model_fields]
_ANY_TEXT = [
    *("batch", "clientOrderId", "cluster", "connectorToken", "delaySeconds", "delaySecondsFilter", "extra_fields"),
    *("fixed", "host", "limit", "log", "loss", "message_id", "path", "percent", "profit", "url", "vhost", "why"),
]

# The values of a parameter, by its name, or by its command and its name where commands differ: words, or sources. The
# type of a parameter, or its own `shell_complete`, goes before.
VALUES: dict[str, list[str]] = {
    **{name: [] for name in _ANY_TEXT},
    "action": list(get_args(Action)),
    "connector": [CONNECTOR],
    "connectorName": [CONNECTOR],
    "ids": [ID],
    "intent_id": [ID],
    "intent_ids": [ID],
    "keys": [*_KEYS, NAMED_KEY],
    "orders list status": list(STATUSES),
    "reason": list(REASONS),
    "refused": [CONNECTOR],
    "since": SINCE,
    "strategy": [STRATEGY],
    "tokenEnv": [VARIABLE],
    "tokenFile": [FILE],
}
# The options whose value is a list with commas.
LISTS = frozenset({"chosen"})


def table_of(cli: click.Group) -> dict[str, Any]:
    """The commands by their path, the whole command line under the empty one."""
    return dict(_below(cli, click.Context(cli, info_name="signalq"), ""))


def as_json(table: dict[str, Any]) -> str:
    """The table as text, an option a line."""
    return _block(table, levels=3) + "\n"


def _block(rows: dict[str, Any], levels: int, indent: str = "") -> str:
    """An object, so many levels of it a line a row."""
    if not rows or not levels:
        return _line(rows)
    inner = indent + " "
    lines = (f"{inner}{_line(name)}: {_block(row, levels - 1, inner)}" for name, row in rows.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _line(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _below(command: click.Command, context: click.Context, path: str) -> Iterator[tuple[str, Any]]:
    """The rows of a command, then those of the commands below it."""
    below = _commands(command, context)
    parameters = command.get_params(context)
    options = [one for one in parameters if isinstance(one, click.Option) and not one.hidden]
    arguments = [one for one in parameters if isinstance(one, click.Argument)]
    yield (
        path,
        {
            "commands": {name: _said(one.help if path else COMMANDS.get(name)) for name, one in below.items()},
            "options": {max(one.opts, key=len): _option(one, context, path) for one in options},
            "arguments": {one.make_metavar(context): _argument(one, context, path) for one in arguments},
        },
    )
    for name, one in below.items():
        yield from _below(one, click.Context(one, context, name), f"{path} {name}".strip())


def _commands(command: click.Command, context: click.Context) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {}
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: one for name, one in found.items() if one is not None and not one.hidden}


def _argument(argument: click.Argument, context: click.Context, path: str) -> dict[str, Any]:
    return {"values": _values(argument, context, path)} | ({"repeats": True} if argument.nargs < 0 else {})


def _option(option: click.Option, context: click.Context, path: str) -> dict[str, Any]:
    whole = max(option.opts, key=len)
    row: dict[str, Any] = {"help": _said(option.help)}
    if also := [name for name in option.opts if name != whole]:
        row["also"] = also
    if not (option.is_flag or option.count or _may_lack_its_value(option)):
        row["values"] = _values(option, context, path)
    if option.multiple:
        row["repeats"] = True
    if option.name in LISTS:
        row["list"] = True
    return row


def _may_lack_its_value(option: click.Option) -> bool:
    """Whether the next word need not be the option's value, which then follows an equals sign."""
    return option._flag_needs_value or str(option.metavar).startswith("[")


def _values(parameter: click.Parameter, context: click.Context, path: str) -> list[str]:
    """The words and sources for a value. Raises LookupError for a new parameter that nothing is said of."""
    if path == "help":
        return [COMMAND]
    if isinstance(parameter.type, click.Path):
        return [FILE if parameter.type.file_okay else FOLDER]
    if own := [str(item.value) for item in parameter.shell_complete(context, "")]:
        return own
    if not isinstance(parameter.type, (click.types.StringParamType, click.types.FuncParamType)):
        return []
    for name in (f"{path} {parameter.name}", str(parameter.name)):
        if name in VALUES:
            return VALUES[name]
    raise LookupError(f"say in VALUES what completes {parameter.name} of `signalq {path}`")


def _said(text: str | None) -> str:
    """The beginning of the first sentence, in a few words."""
    sentence = re.split(r"(?<=[\w)]{2})[.;:]\s", " ".join((text or "").split("\n\n")[0].split()))[0].removesuffix(".")
    if len(sentence) <= SAID_CHARACTERS_MAX:
        return sentence
    return f"{sentence[:SAID_CHARACTERS_MAX].rpartition(' ')[0].rstrip(',')} …"
