"""The mark of where orders go, in the colour of its danger."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.render import console
from signalq.secrets.masking import masked
from signalq.settings.environment import LIVE, SANDBOX, told

if TYPE_CHECKING:
    from signalq.settings.sections import Settings

_STYLES = {LIVE: "bold white on red", SANDBOX: "bold green"}
_ELSEWHERE = "bold yellow"


def environment_mark(settings: Settings) -> Text:
    """`orders go to sandbox`; live in red as soon as any order goes there."""
    environments = settings.environments()
    named = LIVE if LIVE in environments else next(iter(environments))
    return Text.assemble("orders go to ", (escaped(told(environments)), _STYLES.get(named, _ELSEWHERE)))


def say_environment(settings: Settings) -> None:
    """Say it on standard error, above a log for people; a log for programs has it in `service.started`."""
    if is_for_people(settings):
        where = Text(f" ({escaped(masked(settings.webhook.url))})", style="dim")
        console(stderr=True).print(environment_mark(settings) + where)


def is_for_people(settings: Settings) -> bool:
    """Whether the log has the form for people."""
    return settings.log.format == "console" or (settings.log.format is None and sys.stderr.isatty())
