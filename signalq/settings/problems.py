"""Problems of the settings, in one sentence: the key, and the nearest known key for an unknown one."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from signalq.message.near_names import nearest_clause
from signalq.secrets.masking import shown_words
from signalq.settings.secrets import twins_of
from signalq.settings.sections import NAMED_SECTIONS, SECTIONS


def known_keys() -> list[str]:
    """Every key as `section.key`, secret twins included; a key of a named table as `connectors.<name>.key`."""
    keys = []
    for section, model in SECTIONS.items():
        path = f"{section}.<name>" if section in NAMED_SECTIONS else section
        twins = [twin for secret in model.secrets() for twin in twins_of(secret)]
        keys += [f"{path}.{name}" for name in (*model.model_fields, *twins)]
    return keys


def sentence_of(error: ValidationError) -> str:
    """All problems of the settings, without a value."""
    return "; ".join(_problem(details) for details in error.errors(include_url=False, include_input=False))


def _problem(details: Any) -> str:
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
