"""Find a RabbitMQ server to run privately, or fetch one: the first step of `./run demo` and `./run test`.

    what is there                                   what happens
    a server and Erlang on this machine             they are used
    one unpacked earlier in the cache folder        it is used
    Debian or Ubuntu, root or sudo, no /sbin/init   apt-get install
    any other Debian or Ubuntu                      apt-get download and unpack into the cache folder
    anything else                                   BrokerUnavailable, with the choices

Where an init system could start it, Debian's package would put an unwanted broker on port 5672, now and at every
boot. Unpacking leaves the system as it was, so that is the choice there even for root.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from signalq.local import apt, debian
from signalq.local.debian import Say
from signalq.local.errors import BrokerUnavailable, FetchFailed

# The scripts of the server itself. Debian's own wrapper in /usr/sbin is not among them: it insists on the
# user `rabbitmq`. In this order: Debian and Fedora, Homebrew (ARM, Intel), the official container image.
_SYSTEM_SCRIPTS = (
    Path("/usr/lib/rabbitmq/bin"),
    Path("/opt/homebrew/opt/rabbitmq/sbin"),
    Path("/usr/local/opt/rabbitmq/sbin"),
    Path("/opt/rabbitmq/sbin"),
)
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_ERLANG_PLACES = (*_SYSTEM_PATH, "/opt/homebrew/bin", "/opt/erlang/bin")


@dataclass(frozen=True, slots=True)
class Installation:
    """One RabbitMQ server with its Erlang, by their folders."""

    scripts: Path
    """The folder of rabbitmq-server and rabbitmqctl."""
    erlang: Path
    """The folder of erl and epmd."""
    libraries: tuple[Path, ...] = ()
    """Folders of shared libraries that came with an unpacked Erlang."""

    def environment(self) -> dict[str, str]:
        """The variables that its programs need, and none of the caller's: a stray RABBITMQ_* must not leak in."""
        path = os.pathsep.join([str(self.erlang), str(self.scripts), *_SYSTEM_PATH])
        variables = {"PATH": path, "LANG": "C.UTF-8"}
        if self.libraries:
            variables["LD_LIBRARY_PATH"] = os.pathsep.join(str(folder) for folder in self.libraries)
        return variables


def find_installation(*, system: bool = True, cache: Path | None = None) -> Installation | None:
    """The server of this machine, else the one unpacked earlier; None where there is neither.

    `system=False` overlooks the machine's own one. `cache` is where unpacked ones lie (default: `cache_folder()`).
    """
    found = _installed() if system else None
    return found or _unpacked(cache or cache_folder())


def ensure_installed(say: Say, *, system: bool = True, cache: Path | None = None) -> Installation:
    """A RabbitMQ server to run, fetched first where there is none; `say` is called before each slow step.

    It leaves no server running that was not running before. Raises BrokerUnavailable where none can be had.
    """
    cache = cache or cache_folder()
    found = find_installation(system=system, cache=cache)
    if found is None:
        try:
            _fetch(say, cache, system=system)
        except FetchFailed as error:
            raise BrokerUnavailable(str(error)) from error
        found = find_installation(system=system, cache=cache)
    if found is None:
        raise BrokerUnavailable("RabbitMQ was fetched, but its programs are not where Debian puts them")
    return found


def cache_folder(server: str = "rabbitmq") -> Path:
    """The folder of unpacked servers: `$XDG_CACHE_HOME/signalq/rabbitmq`, or below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "signalq" / server


def _fetch(say: Say, cache: Path, *, system: bool) -> None:
    if not apt.is_here():
        raise FetchFailed("there is no RabbitMQ server here, and no apt to get one with")
    privilege = debian.privilege() if system and not Path("/sbin/init").exists() else None
    if privilege is None:
        debian.unpack(cache, say)
    else:
        debian.install(privilege, say)


def _installed() -> Installation | None:
    erl = shutil.which("erl", path=os.pathsep.join(_ERLANG_PLACES))
    scripts = next((folder for folder in _SYSTEM_SCRIPTS if (folder / "rabbitmq-server").exists()), None)
    if erl is None or scripts is None:
        return None
    return complete(Installation(scripts, Path(erl).resolve().parent))


def _unpacked(cache: Path) -> Installation | None:
    root = cache / debian.UNPACKED
    scripts, erlang = root / "usr/lib/rabbitmq/bin", root / "usr/lib/erlang/bin"
    return complete(Installation(scripts, erlang, debian.libraries(root)))


def complete(candidate: Installation) -> Installation | None:
    """The candidate where all its programs are there, else None."""
    needed = (
        candidate.scripts / "rabbitmq-server",
        candidate.scripts / "rabbitmqctl",
        candidate.erlang / "erl",
        candidate.erlang / "epmd",
    )
    return candidate if all(os.access(program, os.X_OK) for program in needed) else None
