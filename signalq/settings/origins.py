"""The settings in force, each with the place that its value comes from, for people to look at. Secrets are masked."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr
from pydantic_settings import EnvSettingsSource

from signalq.secrets.masking import MASK, masked
from signalq.settings.base import Section
from signalq.settings.config_file import settings_file
from signalq.settings.secrets import twins_of
from signalq.settings.sections import ENV_PREFIX, NAMED_SECTIONS, SECTIONS, Settings
from signalq.settings.sources import Table, load_settings, read_tables

Source = Literal["default", "file", "environment"]
# The secrets of which a part may be shown: these are URLs.
_SHOWN_IN_PART = ("broker.url", "console.broker_url", "webhook.proxy", "ledger.url")
# Without a setting it follows from webhook.url.
_ENVIRONMENT = "webhook.environment"
# A connector has it by its mere name.
_ALWAYS = frozenset({"lane"})


@dataclass(frozen=True, slots=True)
class InForce:
    """A setting: its key, its value as it may be shown, and where that comes from.

    `where` is the settings file, or the variable; `read_from` is the file or the variable that a `…_file` or `…_env`
    there names, and that holds the secret.
    """

    key: str
    value: object
    source: Source
    where: str | None
    read_from: str | None

    def row(self) -> dict[str, object]:
        """The fields, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def text(self) -> object:
        """The value as TOML writes it, texts without quotes."""
        if isinstance(self.value, float):
            return f"{self.value:.15g}"
        is_plain = not isinstance(self.value, (bool, list))
        return self.value if is_plain else json.dumps(self.value, ensure_ascii=False)

    def is_under(self, key: str) -> bool:
        """Whether the key names this setting, or the beginning of its path."""
        return self.key == key or self.key.startswith(f"{key}.")


class Origins:
    """The sources of the settings, as load_settings reads them."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._tables = read_tables(file)
        self._given = EnvSettingsSource(Settings)()

    def of(self, path: tuple[str, ...], *, secret: bool) -> tuple[Source, str | None, str | None]:
        """The source of one setting, the place in it, and where a secret is read from."""
        forms = (path[-1], *(twins_of(path[-1]) if secret else ()))
        for form in forms:
            value = _below(self._given, (*path[:-1], form))
            if value is not None:
                read_from = str(value) if form != path[-1] else None
                return "environment", _variable((*path[:-1], form)), read_from
        for form in forms:
            value = _below(self._tables, (*path[:-1], form))
            if value is not None:
                return "file", str(self._file), str(value) if form != path[-1] else None
        return "default", None, None


def in_force(path: Path | None = None) -> tuple[Settings, list[InForce]]:
    """Load the settings as load_settings does, and list them; of a connector or a strategy those keys that are set.

    Raises SettingsError.
    """
    file = settings_file(path)
    settings = load_settings(file, look=False)
    return settings, listed(settings, file)


def listed(settings: Settings, file: Path | None) -> list[InForce]:
    """List settings that hold already, with the sources as they are now. Raises SettingsError."""
    return list(_listed(settings, Origins(file)))


def _listed(settings: Settings, origins: Origins) -> Iterator[InForce]:
    for section, model in SECTIONS.items():
        if section not in NAMED_SECTIONS:
            for one in _table((section,), getattr(settings, section), model, origins):
                is_derived = one.key == _ENVIRONMENT and one.value is None
                yield replace(one, value=next(iter(settings.environments()))) if is_derived else one
            continue
        for name, table in getattr(settings, section).items():
            for one in _table((section, name), table, model, origins):
                if one.source != "default" or one.key.rpartition(".")[2] in _ALWAYS:
                    yield one


def _table(path: tuple[str, ...], table: Section, model: type[Section], origins: Origins) -> Iterator[InForce]:
    secrets = model.secrets()
    for name in model.model_fields:
        key = ".".join((*path, name))
        source, where, read_from = origins.of((*path, name), secret=name in secrets)
        yield InForce(key, _shown(key, getattr(table, name)), source, where, read_from)


def _shown(key: str, value: Any) -> object:
    """The value as JSON has it, without a secret."""
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value()) if key in _SHOWN_IN_PART else MASK
    if isinstance(value, (tuple, list)):
        return [_shown(key, one) for one in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, str):
        return masked(value) if "://" in value else value
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _below(table: Table, path: tuple[str, ...]) -> object:
    """The value at the end of the path; None where there is none."""
    found: object = table
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _variable(path: tuple[str, ...]) -> str | None:
    """The variable that gives it: its own, or one that gives the whole table as JSON."""
    wanted = [f"{ENV_PREFIX}{'__'.join(path[:length])}".upper() for length in range(len(path), 1, -1)]
    return next((name for one in wanted for name in os.environ if name.upper() == one), None)
