"""The candidates for a place, of the settings in force, the ledger and the environment."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from signalq.ops.completion.place import (
    COMMAND,
    CONNECTOR,
    ID,
    NAMED_KEY,
    STRATEGY,
    VARIABLE,
    Candidate,
    Place,
    commands,
)
from signalq.settings.config_file import settings_file
from signalq.settings.secrets import twins_of

ENV_PREFIX = "signalq_"
CONNECTORS, STRATEGIES, LEDGER = "connectors", "strategies", "ledger"
LEDGER_URL = ("url", *twins_of("url"))
# A person looks at no more, and bash asks before it shows more than a hundred.
CANDIDATES_MAX = 100


def candidates(place: Place) -> list[Candidate]:
    """The candidates that begin as the word does, whatever their case; whole words, in a useful order."""
    typed = place.typed.casefold()
    found: dict[str, str] = {}
    for text, says in _all(place):
        # A control character, or a lone byte, could be no part of a command line.
        if text.casefold().startswith(typed) and text.isprintable() and text:
            found.setdefault(text, says)
        if len(found) == CANDIDATES_MAX:
            break
    return [(place.before + text, says) for text, says in found.items()]


def _all(place: Place) -> Iterator[Candidate]:
    yield from place.known
    for source in place.sources:
        # A source that fails has no candidates, and the others still have theirs.
        with suppress(Exception):
            yield from _of(source, place)


def _of(source: str, place: Place) -> Iterator[Candidate]:
    if source == COMMAND:
        yield from commands().get(" ".join(place.arguments), {}).get("commands", {}).items()
    elif source == VARIABLE:
        yield from ((name, "") for name in sorted(os.environ) if name.isidentifier())
    elif source == ID:
        # Imported here: names and options need none of it.
        from signalq.ops.completion.ledger_ids import ids  # noqa: PLC0415

        yield from ids(place.command.split()[0], tables(place.config)[LEDGER])
    elif source in (CONNECTOR, STRATEGY, NAMED_KEY):
        yield from _named(source, tables(place.config))


def _named(source: str, settings: dict[str, Any]) -> Iterator[Candidate]:
    """The connectors or the strategies by name; or both as keys of the settings."""
    for section in (CONNECTORS, STRATEGIES):
        for name in settings[section]:
            if source == NAMED_KEY:
                yield f"{section}.{name}", ""
            elif source == (CONNECTOR if section == CONNECTORS else STRATEGY):
                yield name, ""


def tables(config: str | None) -> dict[str, Any]:
    """The named tables and the ledger's of the settings in force, unchecked: the file's, and the environment's on top.

    Raises OSError, SettingsError or ValueError.
    """
    file = settings_file(Path(os.path.expandvars(config)).expanduser() if config else None)
    found: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    given = _environment()
    if not given[LEDGER].keys().isdisjoint(LEDGER_URL):
        # As load_settings has it: a secret of the environment is meant instead of the file's, however each is given.
        found[LEDGER] = {key: value for key, value in found.get(LEDGER, {}).items() if key not in LEDGER_URL}
    return {section: found.get(section, {}) | table for section, table in given.items()}


def _environment() -> dict[str, dict[str, Any]]:
    """The tables of the variables, whose names are in lower case."""
    given: dict[str, dict[str, Any]] = {CONNECTORS: {}, STRATEGIES: {}, LEDGER: {}}
    for variable, value in os.environ.items():
        section, _, key = variable.lower().removeprefix(ENV_PREFIX).partition("__")
        if not variable.lower().startswith(ENV_PREFIX) or section not in given or not key:
            continue
        if section == LEDGER:
            given[section][key] = value
        else:
            given[section].setdefault(key.partition("__")[0], {})
    return given
