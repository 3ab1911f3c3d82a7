"""What must not be in the files of an image; each finding is a sentence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

OWNER = 10001
STATE = "var/lib/signalq"
CODE = "opt/signalq"
PROGRAM_FOLDERS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", f"{CODE}/bin")
BUILD_TOOLS = ("gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "cmake", "cargo", "git", "curl", "wget")
INSTALLERS = ("pip", "ensurepip", "setuptools", "wheel", "hatchling", "pluggy", "trove_classifiers", "uv")
# The kernel's own.
NOT_OURS = ("proc", "sys", "dev")


def findings(root: Path) -> list[str]:
    """All that is wrong with them."""
    return [*_tools(root), *_installers(root), *_modes(root), *_state(root), *_code(root)]


def _tools(root: Path) -> Iterator[str]:
    for folder in PROGRAM_FOLDERS:
        for file in sorted((root / folder).glob("*")):
            name = file.name
            if name in BUILD_TOOLS or name.startswith(("gcc-", "pip")):
                yield f"/{folder}/{name} builds or installs"


def _installers(root: Path) -> Iterator[str]:
    for python in sorted(
        [*root.glob("usr/lib/python3*"), *root.glob("usr/local/lib/python3*"), *root.glob(f"{CODE}/lib/*")]
    ):
        for packages in (python, python / "site-packages", python / "dist-packages"):
            for name in INSTALLERS:
                if (packages / name).exists():
                    yield f"/{(packages / name).relative_to(root)} builds or installs"


def _modes(root: Path) -> Iterator[str]:
    for path, status in _all(root):
        mode, name = status.st_mode, f"/{path.relative_to(root)}"
        if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
            yield f"{name} changes who runs it"
        if not stat.S_ISLNK(mode) and mode & stat.S_IWOTH and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            yield f"{name} can be written by everybody"
        if OWNER in {status.st_uid, status.st_gid} and path != root / STATE:
            yield f"{name} belongs to the user that runs it"


def _state(root: Path) -> Iterator[str]:
    try:
        status = (root / STATE).stat()
    except FileNotFoundError:
        yield f"/{STATE} is missing"
        return
    if (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) != (OWNER, OWNER, 0o700):
        yield f"/{STATE} is not 0700 of {OWNER}"


def _code(root: Path) -> Iterator[str]:
    """All of it root's, and compiled: nothing could be compiled later."""
    packages = sorted(root.glob(f"{CODE}/lib/python3*/site-packages"))
    if not packages or not (packages[0] / "signalq" / "consumer" / "service.py").exists():
        yield f"/{CODE} does not hold signalq"
        return
    for path, status in _all(root / CODE):
        name = f"/{path.relative_to(root)}"
        if status.st_uid or status.st_gid or (not stat.S_ISLNK(status.st_mode) and status.st_mode & stat.S_IWGRP):
            yield f"{name} can be changed by others than root"
    for source in (packages[0] / "signalq" / "consumer").rglob("*.py"):
        if not list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")):
            yield f"/{source.relative_to(root)} is not compiled"


def _all(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if here == root:
            folders[:] = [name for name in folders if name not in NOT_OURS]
        for name in [*folders, *files]:
            yield here / name, (here / name).lstat()


def megabytes(root: Path) -> float:
    """What the files take, in MB."""
    return sum(status.st_size for _, status in _all(root) if stat.S_ISREG(status.st_mode)) / 1e6
