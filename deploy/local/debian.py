"""Get RabbitMQ and PostgreSQL from Debian's or Ubuntu's own packages: installed by apt, or unpacked without root."""

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from signalq.local import apt
from signalq.local.apt import last_line, run
from signalq.local.errors import FetchFailed

Say = Callable[[str], None]

UNPACKED = "debian"
"""The folder, below the cache folder, of a whole unpacked server."""

LOCK_TIMEOUT_S = 120
"""How long apt waits for another apt (unattended upgrades) to finish."""

PACKAGE = "rabbitmq-server"
"""Of RabbitMQ."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STATUS = Path("/var/lib/dpkg/status")
_OURS = re.compile(r"^Package: (erlang-|rabbitmq-server$)", re.MULTILINE)
_POSTGRES = "postgresql"
_POSTGRES_OURS = re.compile(r"^Package: postgresql(-.*)?$", re.MULTILINE)
# The server and its libraries. Not what makes clusters and wrappers (postgresql-common and its Perl), nor the
# compiler for queries, which is larger than all the rest and only loaded with `jit = on`.
_POSTGRES_NEEDED = re.compile(r"postgresql-\d+|lib(?!llvm|z3-|.*-perl$).*")
_ROOTDIR = re.compile(r"\bROOTDIR=/usr/lib/erlang\b")
# Erlang's own folder, seen from its `erl`: so the unpacked folder can be moved, and is whole after one rename.
_OWN_ROOTDIR = 'ROOTDIR="$(cd "$(dirname "$0")/{up}" && pwd)"'


def privilege() -> Sequence[str] | None:
    """The words before a command that run it as root: none for root, else `sudo -n`; None where neither works."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and run([sudo, "-n", "true"]).returncode == 0:
        return (sudo, "-n")
    return None


def install(privilege: Sequence[str], say: Say) -> None:
    """Install the server for the whole system; raises FetchFailed with apt's last words."""
    say("installing RabbitMQ with apt (about a minute at most)")
    as_root = [*privilege, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y"]
    as_root += ["-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}"]
    command = [*as_root, "install", "--no-install-recommends", PACKAGE]
    # The lists are missing in most images and stale in some. Both show as a failure before anything is installed.
    if run(command).returncode == 0:
        return
    run([*as_root, "update"])
    result = run(command)
    if result.returncode != 0:
        raise FetchFailed(f"apt could not install {PACKAGE} ({last_line(result.stderr)})")


def unpack(cache: Path, say: Say) -> None:
    """Unpack RabbitMQ, and the dependencies that are not installed, into `cache`, without any right to install.

    All of it appears at once, by a rename, after its Erlang has run: an unfinished folder is never taken for a whole
    one. Raises FetchFailed where the packages cannot be had or do not run here.
    """
    refuse_spaces(cache)
    say(f"unpacking RabbitMQ into {cache} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / UNPACKED
        own = apt.own_apt(Path(staging), installed=_installed_without(_OURS))
        apt.unpack(own, PACKAGE, root, Path(staging))
        make_movable(root)
        try_erlang(root, libraries(root))
        move_into_place(root, cache / UNPACKED)


def unpack_postgres(cache: Path, say: Say) -> None:
    """Unpack PostgreSQL's server into `cache`, as `unpack` does RabbitMQ's; raises FetchFailed.

    Also the choice for root: the package itself would make a cluster in /var/lib, and start it on port 5432.
    """
    say(f"unpacking PostgreSQL into {cache} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / UNPACKED
        own = apt.own_apt(Path(staging), installed=_installed_without(_POSTGRES_OURS))
        apt.unpack(own, _POSTGRES, root, Path(staging), _POSTGRES_NEEDED)
        _try_postgres(root)
        move_into_place(root, cache / UNPACKED)


def libraries(root: Path) -> tuple[Path, ...]:
    """The folders of shared libraries in an unpacked server, for LD_LIBRARY_PATH."""
    return tuple(sorted([*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")]))


def source(what: str, release: str) -> str:
    """The line of a sources.list for a release of Debian, by the mirror that apt has for this system's own release.

    `what` comes from there: it begins the sentence of the FetchFailed that says that apt is not set to Debian here.
    """
    if apt.is_here():
        system = platform.freedesktop_os_release()
        targets = ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(SITE)", "Created-By: Packages"]
        for line in run(targets).stdout.splitlines():
            own_release, component, site = line.split(" ", 2)
            if (system["ID"], component) == ("debian", "main") and own_release == system.get("VERSION_CODENAME"):
                signed = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
                return f"deb {signed}{site} {release} main\n"
    raise FetchFailed(
        f"{what} comes from Debian's archive, and apt is not set to that here: "
        "run this command on a Debian (a container will do)"
    )


def refuse_spaces(cache: Path) -> None:
    """Raise FetchFailed where RabbitMQ's scripts could not run: rabbitmq-env uses its own path unquoted."""
    if re.search(r"\s", str(cache)):
        raise FetchFailed(f"RabbitMQ's scripts cannot run from a path with spaces ({cache}; see XDG_CACHE_HOME)")


def make_movable(root: Path) -> None:
    """Let the unpacked Erlang find itself wherever its folder lies: also where a node starts another to ask it.

    Doing it again changes nothing, so what an earlier signalq has unpacked can be made whole.
    """
    erlang = root / "usr/lib/erlang"
    if not (erlang / "bin/erl").is_file():
        raise FetchFailed("Debian's Erlang has no bin/erl where it was expected")
    for erl in (erlang / "bin/erl", *erlang.glob("erts-*/bin/erl")):
        up = os.path.relpath(erlang, erl.parent)
        before = erl.read_text("utf-8")
        after = _ROOTDIR.sub(_OWN_ROOTDIR.format(up=up), before)
        if after != before:
            # By a rename: a node that runs may start another from it just now.
            moving = erl.with_name("erl.new")
            moving.write_text(after, "utf-8")
            moving.chmod(erl.stat().st_mode)
            moving.replace(erl)


def try_erlang(root: Path, folders: Sequence[Path] = ()) -> None:
    """Run the unpacked Erlang once, with its cryptography: a library that is missing shows here, not at first use.

    `folders` are those of its libraries, where it does not know them by itself. Raises FetchFailed.
    """
    path = os.pathsep.join(str(folder) for folder in folders)
    erl = root / "usr/lib/erlang/bin/erl"
    trial = run(
        [str(erl), "-noinput", "-eval", "ok = application:start(crypto), halt(0)."],
        environment={**os.environ, "ERL_CRASH_DUMP_SECONDS": "0"} | ({"LD_LIBRARY_PATH": path} if path else {}),
    )
    if trial.returncode != 0:
        raise FetchFailed(f"the unpacked Erlang does not run here ({last_line(trial.stderr + trial.stdout)})")


def _installed_without(ours: re.Pattern[str]) -> str:
    """dpkg's record of the installed packages, without `ours`: so apt names those that this system lacks, and ours."""
    stanzas = _STATUS.read_text("utf-8", errors="replace").split("\n\n")
    return "\n\n".join(stanza for stanza in stanzas if not ours.search(stanza))


def _try_postgres(root: Path) -> None:
    """Ask each program for its version, which loads all its libraries."""
    path = os.pathsep.join(str(folder) for folder in libraries(root))
    for name in ("postgres", "initdb"):
        program = next(root.glob(f"usr/lib/postgresql/*/bin/{name}"), None)
        if program is None:
            raise FetchFailed(f"Debian's PostgreSQL has no bin/{name} where it was expected")
        trial = run([str(program), "--version"], environment={**os.environ, "LD_LIBRARY_PATH": path})
        if trial.returncode != 0:
            raise FetchFailed(f"the unpacked PostgreSQL does not run here ({last_line(trial.stderr)})")


def move_into_place(root: Path, place: Path) -> None:
    """Let a whole folder appear at its place at once."""
    try:
        root.rename(place)
    except OSError:
        # Another process was first: its folder is whole too, and ours goes with the staging folder.
        if not place.is_dir():
            raise
