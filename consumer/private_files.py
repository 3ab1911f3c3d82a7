"""Folders and files that are this user's alone, whatever the umask is: 0700 and 0600."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder, and the missing ones above it; those that are there stay as they are. Raises OSError.

    Path.mkdir gives its mode to the last one alone.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)


def open_private(path: Path) -> TextIO:
    """Open a file for writing text, made anew or emptied; nobody else may read it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return os.fdopen(descriptor, "w", encoding="utf-8")
