"""The connector that a person may have meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signalq.ops.terminal.render import say

if TYPE_CHECKING:
    from signalq.settings.sections import Settings


def say_near_connector(settings: Settings, connector: str | None) -> None:
    """Name the connector of the settings that is near one that they don't name; say nothing if none is near."""
    if connector is None or connector in settings.connectors:
        return
    from signalq.message.near_names import NearNames  # noqa: PLC0415

    near = NearNames(settings.connectors).of(connector)
    if near is not None:
        say(f"the settings name no connector {connector}, the nearest is {near}")
