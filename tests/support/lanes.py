"""Own lanes that a test's consumers declared, by prefix: whoever cleans up after a test deletes them too."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator

from signalq.names import Names

_connectors: dict[str, set[str]] = defaultdict(set)


def note_lanes(prefix: str, config: str) -> None:
    """A consumer with this settings file makes a queue for each connector that has a lane of its own."""
    named = tomllib.loads(config).get("connectors", {})
    _connectors[prefix].update(name for name, table in named.items() if table.get("lane", "own") == "own")


def noted_queues(prefix: str) -> Iterator[str]:
    """Their queues."""
    return map(Names(prefix).lane, sorted(_connectors[prefix]))


def forget_lanes(prefix: str) -> None:
    """They were deleted."""
    _connectors.pop(prefix, None)
