"""Secrets of the settings: from `token` itself, from the file of `token_file`, or the variable of `token_env`."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from signalq.causes import plain_words
from signalq.secrets.masking import shown_path, shown_words
from signalq.settings.noted_files import read_noted

# Stands for a secret that was not looked for; it is as long as the longest that is asked for.
UNREAD = "unread-for-it-is-not-needed"


def twins_of(secret: str) -> tuple[str, str]:
    """The keys that name where to read a secret."""
    return f"{secret}_file", f"{secret}_env"


def read_secrets(table: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """The table with the value of each secret in the place of its twin. Raises ValueError, also for two of three."""
    filled = dict(table)
    for secret in secrets:
        given = [key for key in (secret, *twins_of(secret)) if filled.get(key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set: keep one")
        if given and given[0] != secret:
            filled[secret] = _read(given[0], str(filled.pop(given[0])))
    return filled


def _read(key: str, source: str) -> str:
    if key.endswith("_env"):
        value = os.environ.get(source)
        if not value:
            raise ValueError(f"{key} names the environment variable {shown_words(source)}, which is not set")
        return value
    try:
        value = read_noted(Path(source)).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{key} names {shown_path(source)}, which can't be read ({plain_words(error)})") from None
    if not value:
        raise ValueError(f"{key} names {source}, which is empty")
    return value
