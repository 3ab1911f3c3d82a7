"""Let the programs of another Debian release run here as they are: with that release's own C library.

Each program moves aside. In its place comes a script that starts it by the dynamic loader of its own folder, and passes
that the path of the folder's libraries (ld.so(8)). Every step is an `exec`: the process keeps its number. The
environment stays as it is: an LD_LIBRARY_PATH would break the system's own programs that a server calls, since a loader
and a C library fit only each other. So it needs no chroot, no mount and no root, and the folder can be moved.
"""

import os
from pathlib import Path

from signalq.local.errors import FetchFailed

_ASIDE = ".program"
_ELF = b"\x7fELF"
# The kernel gives a script its path as it was called, so it has a slash whenever it was found on the PATH.
_SCRIPT = """\
#!/bin/sh
here=${{0%/*}}
root=$here/{to_root}
exec "$root/{loader}" --library-path "$root/{libraries}" --argv0 "$0" "$here/{program}" "$@"
"""


def give_own_loader(root: Path, programs: Path) -> None:
    """Let every program below `programs`, a folder in the unpacked system `root`, run with `root`'s own libraries.

    Raises FetchFailed where `root` has no dynamic loader.
    """
    loader, libraries = find_loader(root)
    found = [path for path in programs.rglob("*") if _is_program(path)]
    # Where each really lies has to be known before the first one moves.
    for path, program in [(path, path.resolve()) for path in found]:
        aside = program.with_name(program.name + _ASIDE)
        if path.is_symlink():
            path.unlink()
        else:
            path.rename(aside)
        script = _SCRIPT.format(
            to_root=os.path.relpath(root, path.parent),
            loader=loader.relative_to(root),
            libraries=libraries.relative_to(root),
            program=os.path.relpath(aside, path.parent.resolve()),
        )
        path.write_text(script, "utf-8")
        path.chmod(0o755)


def find_loader(root: Path) -> tuple[Path, Path]:
    """The dynamic loader of the unpacked system `root`, and the folder of its libraries. Raises FetchFailed."""
    loader = next((path for place in ("usr/lib*", "lib*") for path in root.glob(f"{place}/ld-linux*.so.*")), None)
    libraries = next(root.glob("usr/lib/*-linux-*"), None)
    if loader is None or libraries is None:
        raise FetchFailed("the unpacked system has no dynamic loader where it was expected")
    return loader, libraries


def _is_program(path: Path) -> bool:
    """An executable ELF file, or a link to one; shared libraries are not executable on Debian."""
    if not path.is_file() or not os.access(path, os.X_OK):
        return False
    with path.open("rb") as file:
        return file.read(len(_ELF)) == _ELF
