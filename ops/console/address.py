"""The address of a console, and the one-time link: as the start prints them for a person."""

from rich.text import Text

from signalq.ops.terminal.environment import is_for_people
from signalq.ops.terminal.one_time_link import link_at
from signalq.ops.terminal.render import console
from signalq.settings.sections import Settings

# Addresses to listen at that no browser can call.
_CALLED = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - nothing listens there


def local_address(settings: Settings, host: str, port: int) -> str:
    """The address on this machine, without a slash at its end."""
    called = _CALLED.get(host, host)
    return f"http://{f'[{called}]' if ':' in called else called}:{port}{settings.console.base}"


def address(settings: Settings, host: str, port: int) -> str:
    """The address that people open."""
    return settings.console.url or f"{local_address(settings, host, port)}/"


def say_address(settings: Settings, host: str, port: int, link: str | None) -> None:
    """Say on standard error, above a log for people, where the console is, and the link with which a person may act.

    A log for programs has the address alone: logs last, and have more readers.
    """
    if not is_for_people(settings):
        return
    console(stderr=True).print(Text(f"the console is at {address(settings, host, port)}"))
    if link is not None:
        opened = link_at(local_address(settings, host, port), link)
        console(stderr=True).print(Text.assemble("to act there, open once ", (opened, "bold")))
