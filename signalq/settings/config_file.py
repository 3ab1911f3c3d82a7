"""The settings file of a process: the one that was named, else `signalq.toml` of the working folder.

Nothing here needs more than the standard library: `signalq probe` asks every few seconds.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from signalq.errors import SettingsError
from signalq.kinds import Kind

CONFIG_ENV = "SIGNALQ_CONFIG"
FOUND_NAME = "signalq.toml"


def settings_file(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that the settings come from: `path`, else the one of SIGNALQ_CONFIG, else the found one, else none."""
    return path or (Path(environ[CONFIG_ENV]) if environ.get(CONFIG_ENV) else None) or found_file(environ=environ)


def found_file(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """`signalq.toml` of the working folder, by its absolute path; None if a file was named, or there is none.

    Raises SettingsError for a file that another user may have written: in a folder such as /tmp, a stranger could lay
    one down and so send the orders, with their tokens, elsewhere.
    """
    if path is not None or environ.get(CONFIG_ENV) or not Path(FOUND_NAME).is_file():
        return None
    file = Path(FOUND_NAME).absolute()
    found = file.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
        raise SettingsError(
            f"{file} is not taken by itself, for another user may have written it: "
            f"name it with --config or {CONFIG_ENV}, or make it yours alone (chown, chmod 600)",
            kind=Kind.SETTINGS_FILE,
        )
    return file
