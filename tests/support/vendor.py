"""The files of others that the console's pages load: fetched with npm, checked, and copied.

`python -m tests.support.vendor` does it; `./run vendor` calls that. The packages, their versions and hashes stand in
VERSIONS.toml beside the files.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "ops" / "console" / "static" / "vendor"
VERSIONS = FOLDER / "VERSIONS.toml"
PACK_TIMEOUT_S = 120


@dataclass(frozen=True)
class File:
    """A file of a package: its name here, its path in the tarball, and its SHA-512 in hex."""

    name: str
    path: str
    sha512: str


@dataclass(frozen=True)
class Package:
    """A package of the npm registry; `sha512` is of its tarball."""

    name: str
    version: str
    licence: str
    sha512: str
    files: tuple[File, ...]


class NotAsWritten(Exception):
    """A package, or a file of it, is another one than VERSIONS.toml says."""


def packages() -> list[Package]:
    """The packages of VERSIONS.toml."""
    return [_package(name, entry) for name, entry in tomllib.loads(VERSIONS.read_text("utf-8")).items()]


def sha512_of(file: Path) -> str:
    """The SHA-512 of a file in hex."""
    return hashlib.sha512(file.read_bytes()).hexdigest()


def check(what: str, file: Path, expected: str) -> None:
    """Check a file. Raises NotAsWritten, with the hash that it has."""
    found = sha512_of(file)
    if found != expected:
        raise NotAsWritten(f"the SHA-512 of {what} is {found}, and VERSIONS.toml has another one")


def take(package: Package, tarball: Path, folder: Path) -> None:
    """Copy the files of a package into the folder, once all of them are as they are written. Raises NotAsWritten."""
    check(f"{package.name} {package.version}", tarball, package.sha512)
    with tempfile.TemporaryDirectory() as unpacked, tarfile.open(tarball) as archive:
        archive.extractall(unpacked, filter="data")
        for file in package.files:
            check(file.path, Path(unpacked, file.path), file.sha512)
        for file in package.files:
            shutil.copyfile(Path(unpacked, file.path), folder / file.name)


def _package(name: str, entry: Mapping[str, Any]) -> Package:
    files = tuple(File(file, facts["path"], facts["sha512"]) for file, facts in entry["files"].items())
    return Package(name, entry["version"], entry["licence"], entry["sha512"], files)


def _packed(package: Package, folder: Path) -> Path:
    """The tarball of a package, fetched from the registry that npm is set to."""
    command = ["npm", "pack", "--silent", "--pack-destination", str(folder), f"{package.name}@{package.version}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PACK_TIMEOUT_S, check=True)  # noqa: S603
    return folder / ran.stdout.split()[-1]


def main() -> None:
    """Fetch all packages. Ends with status 1 at the first that can't be had, or is another one."""
    for package in packages():
        with tempfile.TemporaryDirectory() as folder:
            try:
                take(package, _packed(package, Path(folder)), FOLDER)
            except (NotAsWritten, OSError, subprocess.SubprocessError) as error:
                sys.exit(f"{package.name} {package.version}: {error}")
        sys.stderr.write(f"{package.name} {package.version} is as it is written\n")


if __name__ == "__main__":
    main()
