"""Folders and files of ours are our user's alone, whoever of us comes first."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from consumer.settings import state_folder

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def make_private_folder(folder: Path) -> None:
    """Make it, and what is missing above it, our user's alone. In signalq's own folder also what is there is tightened;
    a folder that somebody else made elsewhere is his to judge. Raises OSError.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    own = state_folder()
    if own in (folder, *folder.parents):
        for one in (own, folder):
            _tighten(one)


def make_private_file(file: Path) -> None:
    """Make it empty where it is missing, and our user's alone in any case, as far as we may."""
    with suppress(OSError):
        # One that is there is not opened: closing it would end the locks that another part of us may have on it.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))
    tighten_file(file)


def tighten_file(file: Path) -> None:
    """Make it our user's alone, where it is there and ours."""
    with suppress(OSError):
        if file.stat().st_mode & 0o077:
            file.chmod(PRIVATE_FILE)


def _tighten(folder: Path) -> None:
    with suppress(OSError):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(PRIVATE_FOLDER)
