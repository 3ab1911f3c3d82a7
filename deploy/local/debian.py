"""RabbitMQ and PostgreSQL from Debian's or Ubuntu's own packages: installed by apt, or unpacked by anybody.

Both judge by what came out, not by `apt-get update`'s exit status: one broken third-party source makes that
fail, and is no reason to give up.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local.errors import FetchFailed

Say = Callable[[str], None]

UNPACKED = "debian"
"""The folder, below the cache folder, of a whole unpacked server."""

APT_TIMEOUT_S = 600.0
"""For one call of apt: on a slow line, 60 MB of packages or the lists of all sources."""
LOCK_TIMEOUT_S = 120
"""How long apt waits for another apt (unattended upgrades) to finish."""

_PACKAGE = "rabbitmq-server"
_OURS = re.compile(r"^Package: (erlang-|rabbitmq-server$)", re.MULTILINE)
_POSTGRES = "postgresql"
_POSTGRES_OURS = re.compile(r"^Package: postgresql(-.*)?$", re.MULTILINE)
# The server and its libraries. Not what makes clusters and wrappers (postgresql-common and its Perl), nor the
# compiler for queries, which is larger than all the rest and only loaded with `jit = on`.
_POSTGRES_NEEDED = re.compile(r"postgresql-\d+|lib(?!llvm|z3-|.*-perl$).*")
_TO_INSTALL = re.compile(r"^Inst (\S+)", re.MULTILINE)
_ROOTDIR = re.compile(r"\bROOTDIR=/usr/lib/erlang\b")
# Erlang's own folder, seen from its `erl`: so the unpacked folder can be moved, and is whole after one rename.
_OWN_ROOTDIR = 'ROOTDIR="$(cd "$(dirname "$0")/.." && pwd)"'


def is_here() -> bool:
    """Whether this system has apt and dpkg."""
    return all(shutil.which(program) for program in ("apt-get", "apt-cache", "dpkg-deb"))


def privilege() -> Sequence[str] | None:
    """What to put before a command to run it as root: nothing for root, else `sudo -n`; None where neither works."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and _run([sudo, "-n", "true"]).returncode == 0:
        return (sudo, "-n")
    return None


def install(privilege: Sequence[str], say: Say) -> None:
    """Install the server for the whole system; raises FetchFailed with apt's last words."""
    say("installing RabbitMQ with apt (about a minute at most)")
    apt = [*privilege, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    apt += ["-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}"]
    command = [*apt, "install", "--no-install-recommends", _PACKAGE]
    # The lists are missing in most images and stale in some. Both show as a failure before anything is installed.
    if _run(command).returncode == 0:
        return
    _run([*apt, "update"])
    result = _run(command)
    if result.returncode != 0:
        raise FetchFailed(f"apt could not install {_PACKAGE} ({_last_line(result.stderr)})")


def unpack(cache: Path, say: Say) -> None:
    """Unpack the server and what it needs that is not installed into `cache`, without any right to install.

    All of it appears at once, by a rename, after its Erlang has run: a half-finished one is never taken for whole.
    Raises FetchFailed where the packages cannot be had or do not run here.
    """
    if re.search(r"\s", str(cache)):
        # rabbitmq-env uses its own path unquoted.
        raise FetchFailed(f"RabbitMQ's scripts cannot run from a path with spaces ({cache}; see XDG_CACHE_HOME)")
    say(f"unpacking RabbitMQ into {cache} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / UNPACKED
        _unpack_into(root, Path(staging), _PACKAGE, _OURS)
        _make_movable(root / "usr/lib/erlang/bin/erl")
        _try_erlang(root)
        _move_into_place(root, cache / UNPACKED)


def unpack_postgres(cache: Path, say: Say) -> None:
    """Unpack PostgreSQL's server into `cache`, as `unpack` does RabbitMQ's; raises FetchFailed.

    Also the choice for root: the package itself would make a cluster in /var/lib, and start it on port 5432.
    """
    say(f"unpacking PostgreSQL into {cache} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / UNPACKED
        _unpack_into(root, Path(staging), _POSTGRES, _POSTGRES_OURS, _POSTGRES_NEEDED)
        _try_postgres(root)
        _move_into_place(root, cache / UNPACKED)


def libraries(root: Path) -> tuple[Path, ...]:
    """The folders of shared libraries in an unpacked server, for LD_LIBRARY_PATH."""
    return tuple(sorted([*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")]))


def _unpack_into(
    root: Path, staging: Path, package: str, ours: re.Pattern[str], needed: re.Pattern[str] = re.compile(".*")
) -> None:
    apt = _own_apt(staging, ours)
    update = _run([*apt, "update"])
    simulation = _run([*apt, "--simulate", "--no-install-recommends", "install", package])
    names = _TO_INSTALL.findall(simulation.stdout)
    if simulation.returncode != 0 or package not in names:
        words = _last_line(simulation.stderr + update.stderr)
        raise FetchFailed(f"apt knows no {package} that fits this system ({words})")
    archives = staging / "archives"
    archives.mkdir()
    download = _run([*apt, "download", *filter(needed.fullmatch, names)], folder=archives)
    if download.returncode != 0:
        raise FetchFailed(f"apt could not download {package} ({_last_line(download.stderr)})")
    for archive in sorted(archives.glob("*.deb")):
        extraction = _run(["dpkg-deb", "--extract", str(archive), str(root)])
        if extraction.returncode != 0:
            raise FetchFailed(f"{archive.name} could not be unpacked ({_last_line(extraction.stderr)})")


def _own_apt(staging: Path, ours: re.Pattern[str]) -> list[str]:
    """apt-get with lists and a cache of its own, and with a record of what is installed without what is `ours`.

    So it needs no rights, never minds missing or stale lists, and names exactly what this system lacks.
    """
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (staging / folder).mkdir(parents=True)
    stanzas = Path("/var/lib/dpkg/status").read_text("utf-8", errors="replace").split("\n\n")
    status = staging / "status"
    status.write_text("\n\n".join(stanza for stanza in stanzas if not ours.search(stanza)), "utf-8")
    options = {
        "Dir::State": staging / "state",
        "Dir::State::status": status,
        "Dir::Cache": staging / "cache",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def _make_movable(erl: Path) -> None:
    if not erl.is_file():
        raise FetchFailed("Debian's Erlang has no bin/erl where it was expected")
    erl.write_text(_ROOTDIR.sub(lambda _: _OWN_ROOTDIR, erl.read_text("utf-8")), "utf-8")


def _try_erlang(root: Path) -> None:
    """Run the unpacked Erlang once, with its cryptography: a library that is missing shows here, not at first use."""
    path = os.pathsep.join(str(folder) for folder in libraries(root))
    erl = root / "usr/lib/erlang/bin/erl"
    trial = _run(
        [str(erl), "-noinput", "-eval", "ok = application:start(crypto), halt(0)."],
        environment={**os.environ, "LD_LIBRARY_PATH": path, "ERL_CRASH_DUMP_SECONDS": "0"},
    )
    if trial.returncode != 0:
        raise FetchFailed(f"the unpacked Erlang does not run here ({_last_line(trial.stderr + trial.stdout)})")


def _try_postgres(root: Path) -> None:
    """Ask each program for its version, which loads all its libraries."""
    path = os.pathsep.join(str(folder) for folder in libraries(root))
    for name in ("postgres", "initdb"):
        program = next(root.glob(f"usr/lib/postgresql/*/bin/{name}"), None)
        if program is None:
            raise FetchFailed(f"Debian's PostgreSQL has no bin/{name} where it was expected")
        trial = _run([str(program), "--version"], environment={**os.environ, "LD_LIBRARY_PATH": path})
        if trial.returncode != 0:
            raise FetchFailed(f"the unpacked PostgreSQL does not run here ({_last_line(trial.stderr)})")


def _move_into_place(root: Path, place: Path) -> None:
    try:
        root.rename(place)
    except OSError:
        # Somebody else was first: theirs is whole too, ours goes with the staging folder.
        if not place.is_dir():
            raise


def _run(
    command: Sequence[str], *, folder: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
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


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"
