"""Sources of settings: a TOML file, and the environment on top (`SIGNALQ_BROKER__URL` sets `broker.url`).

Problems are told in one sentence: the key, and the nearest known key for an unknown one.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError as UnparsableVariable

from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.message.near_names import nearest_clause
from signalq.secrets.masking import shown_path, shown_words
from signalq.settings.base import Section
from signalq.settings.config_file import CONFIG_ENV, settings_file
from signalq.settings.noted_files import read_noted
from signalq.settings.secrets import UNREAD, twins_of
from signalq.settings.sections import ENV_PREFIX, NAMED_SECTIONS, SECTIONS, Settings

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

# Of tokens and of the URLs of `notify` it matters whether there are any, also where nobody reads them.
MATTER_UNREAD = frozenset({"token", "urls"})

Table = dict[str, Any]


def load_settings(path: Path | None = None, *, look: bool = True, with_secrets: bool = True) -> Settings:
    """The settings from `path` and the environment; without a path, from the file of settings_file() if `look`.

    Without secrets, a secret that the file has elsewhere (`*_file`, `*_env`) is not looked for: one of MATTER_UNREAD is
    some text then, any other its default.

    Raises SettingsError: one sentence that names the key and, for an unknown one, the nearest known.
    """
    file = settings_file(path) if look else path
    _refuse_unknown_variables()
    try:
        values = read_tables(file)
        if not with_secrets:
            _leave_secrets_unread(values)
        return Settings(**values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise SettingsError("; ".join(map(_problem, found))) from None
    except UnparsableVariable as error:
        raise SettingsError(f"{error}: in the environment, lists and tables are written as JSON") from None


def read_tables(file: Path | None) -> Table:
    """The tables of the file, without the secrets that the environment gives. Raises SettingsError."""
    values = _read_file(file) if file else {}
    _drop_overridden_secrets(values)
    return values


def known_keys() -> list[str]:
    """Every key as `section.key`, secret twins included; a key of a named table as `connectors.<name>.key`."""
    keys = []
    for section, model in SECTIONS.items():
        path = f"{section}.<name>" if section in NAMED_SECTIONS else section
        twins = [twin for secret in model.secrets() for twin in twins_of(secret)]
        keys += [f"{path}.{name}" for name in (*model.model_fields, *twins)]
    return keys


def _read_file(path: Path) -> Table:
    try:
        return tomllib.loads(read_noted(path))
    except OSError as error:
        why = f"the settings file {shown_path(str(path))} can't be read: {error.strerror}"
        raise SettingsError(why, kind=Kind.SETTINGS_FILE) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}", kind=Kind.SETTINGS_FILE) from None


def _refuse_unknown_variables() -> None:
    """Raise SettingsError for a misspelt variable, which would be ignored in silence; the sections check their keys."""
    sections = {name.upper() for name in SECTIONS}
    for variable, value in os.environ.items():
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


def _tables(values: Table) -> Iterator[tuple[tuple[str, ...], Table, type[Section]]]:
    """Each table of a file, with its path and its model. The sections refuse a value in the place of a table."""
    for section, model in SECTIONS.items():
        table = values.get(section)
        if isinstance(table, dict) and section in NAMED_SECTIONS:
            yield from (((section, name), one, model) for name, one in table.items() if isinstance(one, dict))
        elif isinstance(table, dict):
            yield (section,), table, model


def _drop_overridden_secrets(values: Table) -> None:
    """Take each secret out of the file that the environment gives, in whichever of the three forms either has it."""
    variables = {variable.upper() for variable in os.environ}
    for path, table, model in _tables(values):
        # The environment's names are in lower case: another spelling in the file is another connector.
        if path[-1] != path[-1].lower():
            continue
        for forms in ((secret, *twins_of(secret)) for secret in model.secrets()):
            if any(f"{ENV_PREFIX}{'__'.join([*path, form])}".upper() in variables for form in forms):
                for form in forms:
                    table.pop(form, None)


def _leave_secrets_unread(values: Table) -> None:
    """Put UNREAD in the place of a twin where it matters whether there is a secret. Others are left to a default."""
    for _, table, model in _tables(values):
        for secret in model.secrets():
            given = [twin for twin in twins_of(secret) if table.pop(twin, None) is not None]
            if given and secret in MATTER_UNREAD:
                table[secret] = UNREAD


def _problem(details: Any) -> str:
    """One problem of the settings, without a value."""
    location = [str(part) for part in details["loc"]]
    if details["type"] == "extra_forbidden":
        key = ".".join([*location[:-1], shown_words(location[-1])])
        return f"{key} is not a setting{_nearest_key(location)}"
    key = ".".join(location)
    message = details["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _nearest_key(location: list[str]) -> str:
    section, *rest = location
    if section in NAMED_SECTIONS and len(rest) > 1:
        known = [path.rsplit(".", 1)[1] for path in known_keys() if path.startswith(f"{section}.")]
        return nearest_clause(rest[-1], known, before=f"{section}.{rest[0]}.")
    return nearest_clause(".".join(location), [*known_keys(), *SECTIONS])
