"""Sources of settings: a TOML file, and the environment on top (`SIGNALQ_BROKER__URL` sets `broker.url`)."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError as UnparsableVariable

from signalq.errors import SettingsError
from signalq.message.near_names import nearest_clause
from signalq.secrets.masking import shown_path, shown_words
from signalq.settings.noted_files import read_noted
from signalq.settings.problems import known_keys, sentence_of
from signalq.settings.secrets import with_secrets_unread, without_secrets_given
from signalq.settings.sections import ENV_PREFIX, NAMED_SECTIONS, SECTIONS, Section, Settings

CONFIG_ENV = "SIGNALQ_CONFIG"
# Kubernetes sets these in every pod for a service with a name that begins with signalq; they are no settings of ours.
# Name and value tell them: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_IP = r"[0-9a-fA-F.:]+"
_SERVICE_URL = r"(?:tcp|udp|sctp)://\S+"
KUBERNETES_SERVICE_VARIABLES = re.compile(
    rf"""SIGNALQ(?:_[A-Z0-9]+)*?_(?:
        SERVICE_HOST={_IP} | SERVICE_PORT(?:_[A-Z0-9_]+)?=\d+
        | PORT_\d+_(?:TCP|UDP|SCTP)_(?:PROTO=\w+|PORT=\d+|ADDR={_IP})
        | (?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)={_SERVICE_URL}
    )""",
    re.VERBOSE,
)

Table = dict[str, Any]
# Of a table, the model of its section, and where it stands: ("broker",) or ("connectors", "main").
ChangeTable = Callable[[Table, type[Section], tuple[str, ...]], Table]


def load_settings(path: Path | None = None, *, with_secrets: bool = True) -> Settings:
    """The settings from `path` (else the file that SIGNALQ_CONFIG names, else none) and the environment.

    Without secrets, a secret that the file has elsewhere (`*_file`, `*_env`) is not looked for: a token is some text
    then, a URL its default. Raises SettingsError: one sentence that names the key and, for an unknown one, the nearest
    known.
    """
    named = settings_file(path)
    _refuse_unknown_variables(os.environ)
    try:
        values = _without_overridden_secrets(_read_file(named), os.environ) if named else {}
        return Settings(**(values if with_secrets else _with_each_table(values, _unread)))
    except ValidationError as error:
        raise SettingsError(sentence_of(error)) from None
    except UnparsableVariable as error:
        raise SettingsError(f"{error}: in the environment, lists and tables are written as JSON") from None


def settings_file(path: Path | None = None) -> Path | None:
    """The file that the settings come from: `path`, else the one that SIGNALQ_CONFIG names, else none."""
    return path or (Path(os.environ[CONFIG_ENV]) if os.environ.get(CONFIG_ENV) else None)


def _read_file(path: Path) -> Table:
    try:
        return tomllib.loads(read_noted(path))
    except OSError as error:
        raise SettingsError(f"the settings file {shown_path(str(path))} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from None


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """Raise SettingsError for a misspelt variable, which would be ignored in silence; the sections check their keys."""
    sections = {name.upper() for name in SECTIONS}
    for variable, value in environ.items():
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper == CONFIG_ENV:
            continue
        section, _, key = upper.removeprefix(ENV_PREFIX).partition("__")
        if (section in sections and key) or KUBERNETES_SERVICE_VARIABLES.fullmatch(f"{upper}={value}"):
            continue
        # Without the prefix, which would make any two alike.
        known = [CONFIG_ENV.removeprefix(ENV_PREFIX), *(path.upper().replace(".", "__") for path in known_keys())]
        nearest = nearest_clause(upper.removeprefix(ENV_PREFIX), known, before=ENV_PREFIX)
        raise SettingsError(f"{shown_words(variable)} is not a setting{nearest}")


def _without_overridden_secrets(values: Table, environ: Mapping[str, str]) -> Table:
    """The file without the secrets that the environment gives."""
    variables = {variable.upper() for variable in environ}

    def without_given(table: Table, model: type[Section], path: tuple[str, ...]) -> Table:
        # The environment's names are in lower case: another spelling in the file is another connector.
        if path[-1] != path[-1].lower():
            return table
        return without_secrets_given(table, model.secrets(), f"{ENV_PREFIX}{'__'.join(path)}__", variables)

    return _with_each_table(values, without_given)


def _unread(table: Table, model: type[Section], _path: tuple[str, ...]) -> Table:
    defaults = {name: model.model_fields[name].get_default(call_default_factory=True) for name in model.secrets()}
    return with_secrets_unread(table, {name: default is not None for name, default in defaults.items()})


def _with_each_table(values: Table, change: ChangeTable) -> Table:
    """The file with each of its tables changed. A value in the place of a table stays: the sections refuse it."""
    changed = dict(values)
    for section, model in SECTIONS.items():
        table = values.get(section)
        if isinstance(table, dict) and section in NAMED_SECTIONS:
            changed[section] = {
                name: change(one, model, (section, name)) if isinstance(one, dict) else one
                for name, one in table.items()
            }
        elif isinstance(table, dict):
            changed[section] = change(table, model, (section,))
    return changed
