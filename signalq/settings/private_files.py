"""Files and folders of ours, which no other user may read (0600, 0700), whatever the umask is."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

FOLDER_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077


def state_folder() -> Path:
    """The folder signalq below $STATE_DIRECTORY, $XDG_STATE_HOME or ~/.local/state; it may not exist yet."""
    # systemd gives several folders separated by colons; ours is the first.
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_STATE_HOME")
    state = Path(given) if given else Path.home() / ".local" / "state"
    return (state / "signalq").absolute()


def make_private_folder(folder: Path) -> None:
    """Make a folder, and the missing ones above it (Path.mkdir gives its mode to the last one alone). Raises OSError.

    Within the state folder, folders that exist are tightened, too; elsewhere their owner may judge.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
    own = state_folder()
    if own in (folder, *folder.parents):
        for one in (own, folder):
            _tighten(one, FOLDER_MODE)


def make_private_file(file: Path) -> None:
    """Make an empty file where it is missing; let no other user read it in any case, as far as we may."""
    with suppress(OSError):
        # A file that exists is not opened: closing it would end the locks that this process may have on it.
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    tighten_file(file)


def tighten_file(file: Path) -> None:
    """Let no other user read a file, where it exists and is ours."""
    _tighten(file, FILE_MODE)


def open_private(path: Path) -> TextIO:
    """Open a file for writing text, made anew or emptied; no other user may read it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def replace_private(path: Path, text: str) -> None:
    """Replace a file as a whole; no other user may read it. It is on disk when this returns. Raises OSError."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with open_private(beside) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _tighten(path: Path, mode: int) -> None:
    with suppress(OSError):
        if path.stat().st_mode & OTHERS:
            path.chmod(mode)
