"""Fetch Debian packages and unpack them without root, with lists, a cache and a status file apart from the system's.

So it needs no rights, leaves the system as it is, and works with missing or stale lists. The result counts, not the
exit status of `apt-get update`: one broken third-party source makes that fail, and is no reason to give up.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from signalq.local.errors import FetchFailed

APT_TIMEOUT_S = 600.0
"""For one call of apt: on a slow line, 60 MB of packages or the lists of all sources."""

_TO_INSTALL = re.compile(r"^Inst (\S+)", re.MULTILINE)


def is_here() -> bool:
    """Whether this system has apt and dpkg."""
    return all(shutil.which(program) for program in ("apt-get", "apt-cache", "dpkg-deb"))


def own_apt(staging: Path, *, installed: str, sources: str | None = None) -> list[str]:
    """The command of an apt-get with its lists and cache in `staging`.

    `installed` is the text of its status file: it must not list the packages that are to be fetched. `sources` are the
    lines of its sources.list, in place of the system's own sources.
    """
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (staging / folder).mkdir(parents=True)
    status = staging / "status"
    status.write_text(installed, "utf-8")
    options: dict[str, object] = {
        "Dir::State": staging / "state",
        "Dir::State::status": status,
        "Dir::Cache": staging / "cache",
        "APT::Sandbox::User": "root",
    }
    if sources is not None:
        (staging / "sources.list").write_text(sources, "utf-8")
        options |= {"Dir::Etc::sourcelist": staging / "sources.list", "Dir::Etc::sourceparts": "/dev/null"}
        # Another release's mirror may be a snapshot of some time ago; its signature is still checked.
        options |= {"Acquire::Check-Valid-Until": "false"}
    return ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def unpack(
    apt: Sequence[str], package: str, root: Path, staging: Path, needed: re.Pattern[str] = re.compile(".*")
) -> None:
    """Unpack `package` and its dependencies into `root`, those alone that match `needed`. Raises FetchFailed."""
    update = run([*apt, "update"])
    simulation = run([*apt, "--simulate", "--no-install-recommends", "install", package])
    names = _TO_INSTALL.findall(simulation.stdout)
    if simulation.returncode != 0 or package not in names:
        words = last_line(simulation.stderr + update.stderr)
        raise FetchFailed(f"apt knows no {package} that fits this system ({words})")
    archives = staging / "archives"
    archives.mkdir()
    download = run([*apt, "download", *filter(needed.fullmatch, names)], folder=archives)
    if download.returncode != 0:
        raise FetchFailed(f"apt could not download {package} ({last_line(download.stderr)})")
    for archive in sorted(archives.glob("*.deb")):
        extraction = run(["dpkg-deb", "--extract", str(archive), str(root)])
        if extraction.returncode != 0:
            raise FetchFailed(f"{archive.name} could not be unpacked ({last_line(extraction.stderr)})")


def run(
    command: Sequence[str], *, folder: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in English, and keep its output. Raises FetchFailed after APT_TIMEOUT_S."""
    try:
        return subprocess.run(  # noqa: S603 - commands are built here, without a shell
            command,
            cwd=folder,
            env={**(environment or os.environ), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=APT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchFailed(f"{Path(command[0]).name} took more than {APT_TIMEOUT_S:.0f} s") from error


def last_line(words: str) -> str:
    """The last line of a program's output; where it failed, that says why."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"
