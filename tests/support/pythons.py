"""Pythons of other versions than this system's, each in a folder of its own: to test with.

`python -m tests.support.pythons VERSION FOLDER` makes a virtual environment of one; `./run test-python` does so. As
with RabbitMQ (signalq/local/versions.py), a Python comes from another release of Debian with all that it needs, down to
the C library: it installs nothing, needs no root, and leaves the system's own Python as it is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from signalq.local import apt, debian
from signalq.local.errors import FetchFailed
from signalq.local.install import cache_folder
from signalq.local.own_loader import find_loader

RELEASES = {"3.13": "trixie", "3.14": "forky"}
"""Each version that can be had, and the release of Debian that it is from."""

# Packages with compiled parts need C++'s library beside Python's own.
PACKAGES = ("python{version}-venv", "libstdc++6")
NEEDED = r"(lib)?python{version}(-.*)?|python3-pip-whl|zlib1g|lib(?!python).*"
# A library that is missing shows here.
TRIAL = "import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib; ctypes.CDLL('libstdc++.so.6')"
ASIDE = ".program"


def find_python(version: str, cache: Path) -> Path | None:
    """The program of this Python as it was fetched earlier; None where it was not."""
    program = cache / version / "usr/bin" / f"python{version}"
    return program if os.access(program, os.X_OK) else None


def ensure_python(version: str, cache: Path | None = None) -> Path:
    """The program of this Python, one of RELEASES, fetched first where it is missing. Raises FetchFailed.

    `cache` is where it lies (default: the cache folder).
    """
    cache = cache or cache_folder("python")
    if find_python(version, cache) is None:
        _fetch(version, cache)
    found = find_python(version, cache)
    if found is None:
        raise FetchFailed(f"Python {version} was fetched, but its program is not where Debian puts it")
    return found


def make_venv(version: str, folder: Path) -> None:
    """Make a virtual environment of this Python, with pip, in the place of what is there. Raises FetchFailed."""
    program = ensure_python(version)
    shutil.rmtree(folder, ignore_errors=True)
    _do(str(program), "-m", "venv", "--without-pip", str(folder))
    # Debian's own way looks for pip at a fixed place, where the system's is, which may be too old for this Python.
    (wheel,) = (program.parents[1] / "share/python-wheels").glob("pip-*.whl")
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-index"]
    _do(*pip, "--find-links", str(wheel.parent), "pip", environment={**os.environ, "PYTHONPATH": str(wheel)})


def start_line(root: Path, place: Path, version: str) -> str:
    """The words of a script that start this Python, unpacked in `root`, once it lies at `place`.

    The name by which it was called is passed on, as Python finds its virtual environment by that name. The place is in
    full: the name may be a link from there.
    """
    loader, libraries = (place / path.relative_to(root) for path in find_loader(root))
    program = place / "usr/bin" / f"python{version}{ASIDE}"
    words = shlex.join([str(loader), "--library-path", str(libraries)])
    return f'exec {words} --argv0 "$0" {shlex.quote(str(program))} "$@"'


def _fetch(version: str, cache: Path) -> None:
    """Fetch and unpack it. All of it appears at once, by a rename, after it has run."""
    release = RELEASES[version]
    source = debian.source(f"Python {version}", release)
    _say(f"unpacking Python {version}, of Debian {release}, into {cache / version} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / version
        for package in PACKAGES:
            scratch = Path(staging) / package
            # To this apt nothing is installed, so it names all that the package needs.
            own = apt.own_apt(scratch, installed="", sources=source)
            needed = re.compile(NEEDED.format(version=re.escape(version)))
            apt.unpack(own, package.format(version=version), root, scratch, needed)
        program = root / "usr/bin" / f"python{version}"
        program.rename(f"{program}{ASIDE}")
        _do("sh", "-c", start_line(root, root, version), str(program), "-c", TRIAL)
        program.write_text(f"#!/bin/sh\n{start_line(root, cache / version, version)}\n", encoding="utf-8")
        program.chmod(0o755)
        debian.move_into_place(root, cache / version)


def _do(*command: str, environment: dict[str, str] | None = None) -> None:
    ran = apt.run(command, environment=environment)
    if ran.returncode != 0:
        raise FetchFailed(f"{Path(command[0]).name} of that Python failed ({apt.last_line(ran.stderr)})")


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


def main(arguments: list[str]) -> int:
    """Make the environment; 0, or 1 with one sentence on standard error."""
    version, folder = arguments
    try:
        make_venv(version, Path(folder))
    except FetchFailed as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
