"""Find a PostgreSQL server to run privately, or fetch one.

    what is there                              what happens
    a server on this machine                   it is used
    one unpacked earlier in the cache folder   it is used
    Debian or Ubuntu                           apt-get download and unpack into the cache folder
    anything else                              PostgresUnavailable, with what to do

It is never installed, not even by root: Debian's package would make a cluster, and start it on port 5432.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signalq.local import apt, debian
from signalq.local.debian import Say
from signalq.local.errors import FetchFailed, PostgresUnavailable
from signalq.local.install import cache_folder

# Debian; PostgreSQL's own packages for Red Hat; Homebrew (ARM, Intel). Their programs are not on the PATH.
_SYSTEM_PROGRAMS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
)
# PostgreSQL refuses to run as root, so root's copy has to lie where its stand-in may read it.
_CACHE_OF_ROOT = Path("/var/cache/signalq/postgresql")


@dataclass(frozen=True, slots=True)
class PostgresInstallation:
    """One PostgreSQL server, by its folders."""

    programs: Path
    """The folder of postgres and initdb."""
    libraries: tuple[Path, ...] = ()
    """Folders of shared libraries that came with an unpacked one."""

    def environment(self) -> dict[str, str]:
        """The variables that its programs need, and none of the caller's: a stray PG* must not leak in."""
        # A time zone that is known without any files.
        variables = {"PATH": f"{self.programs}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "GMT"}
        if self.libraries:
            variables["LD_LIBRARY_PATH"] = os.pathsep.join(str(folder) for folder in self.libraries)
        return variables


def find_postgres(*, system: bool = True, cache: Path | None = None) -> PostgresInstallation | None:
    """The newest server of this machine, else the one unpacked earlier; None where there is neither.

    `system=False` overlooks the machine's own ones. `cache` is where unpacked ones lie.
    """
    found = next((programs for programs in _installed() if _is_complete(programs)), None) if system else None
    return PostgresInstallation(found) if found else _unpacked(cache or _cache())


def ensure_postgres_installed(say: Say, *, system: bool = True, cache: Path | None = None) -> PostgresInstallation:
    """A PostgreSQL server to run, fetched first where there is none; `say` is called before the slow step.

    Nothing is installed or started on the system. Raises PostgresUnavailable where none can be had.
    """
    cache = cache or _cache()
    found = find_postgres(system=system, cache=cache)
    if found is None:
        _fetch(say, cache)
        found = find_postgres(system=system, cache=cache)
    if found is None:
        raise PostgresUnavailable("PostgreSQL was fetched, but its programs are not where Debian puts them")
    return found


def _cache() -> Path:
    return _CACHE_OF_ROOT if os.geteuid() == 0 else cache_folder("postgresql")


def _fetch(say: Say, cache: Path) -> None:
    if not apt.is_here():
        raise PostgresUnavailable("there is no PostgreSQL server here, and no apt to get one with")
    try:
        debian.unpack_postgres(cache, say)
    except FetchFailed as error:
        raise PostgresUnavailable(str(error)) from error


def _installed() -> Iterator[Path]:
    for pattern in _SYSTEM_PROGRAMS:
        yield from sorted(Path("/").glob(pattern), key=_version, reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _version(programs: Path) -> int:
    numbers = re.findall(r"\d+", programs.parent.name)
    return int(numbers[0]) if numbers else 0


def _unpacked(cache: Path) -> PostgresInstallation | None:
    root = cache / debian.UNPACKED
    for programs in root.glob("usr/lib/postgresql/*/bin"):
        if _is_complete(programs):
            return PostgresInstallation(programs, debian.libraries(root))
    return None


def _is_complete(programs: Path) -> bool:
    return all(os.access(programs / name, os.X_OK) for name in ("postgres", "initdb"))
