"""RabbitMQ of other versions than this system's, each in a folder of its own: to test against.

They come from other releases of Debian, by way of the mirror that apt is set to, and lie unpacked in the cache folder
with all their dependencies, down to the C library (see own_loader.py). It installs nothing, needs no root, and leaves
the system's own RabbitMQ as it is. Rejected: a whole system by mmdebstrap, run in a chroot. It takes root, mounts that
may be left behind, and three times the space.
"""

import re
import tempfile
from pathlib import Path

from signalq.local import apt, debian
from signalq.local.debian import Say
from signalq.local.errors import FetchFailed
from signalq.local.install import Installation, cache_folder, complete
from signalq.local.own_loader import give_own_loader

RELEASES = {"4.0": "trixie", "4.3": "forky"}
"""Each version that can be had, and the release of Debian that it is from."""

# The server and its libraries: not the many programs that its packages call for installing and for service managers.
_NEEDED = re.compile(rf"{re.escape(debian.PACKAGE)}|erlang-.*|zlib1g|lib(?!python|systemd|pam).*")
_SERVER = "usr/lib/rabbitmq/lib/rabbitmq_server-"


def find_version(version: str, *, cache: Path | None = None) -> Installation | None:
    """RabbitMQ of this version (such as `4.3`) as it was fetched earlier; None where it was not.

    `cache` is where it lies (default: `cache_folder()`).
    """
    root = (cache or cache_folder()) / version
    return complete(Installation(root / "usr/lib/rabbitmq/bin", root / "usr/lib/erlang/bin"))


def ensure_version(version: str, say: Say, *, cache: Path | None = None) -> Installation:
    """RabbitMQ of this version, one of RELEASES, fetched first where it is missing.

    `say` is called before that, for it is slow. Raises FetchFailed where it can't be had.
    """
    cache = cache or cache_folder()
    found = find_version(version, cache=cache)
    if found is not None:
        debian.make_movable(cache / version)
    else:
        _fetch(version, cache, say)
        found = find_version(version, cache=cache)
    if found is None:
        raise FetchFailed(f"RabbitMQ {version} was fetched, but its programs are not where Debian puts them")
    return found


def _fetch(version: str, cache: Path, say: Say) -> None:
    """Fetch and unpack it. All of it appears at once, by a rename, after its Erlang has run."""
    release = RELEASES[version]
    source = debian.source(f"RabbitMQ {version}", release)
    debian.refuse_spaces(cache)
    say(f"unpacking RabbitMQ {version}, of Debian {release}, into {cache / version} (about a minute at most)")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=cache) as staging:
        root = Path(staging) / version
        # To this apt nothing is installed, so it names all that the server needs.
        own = apt.own_apt(Path(staging), installed="", sources=source)
        apt.unpack(own, debian.PACKAGE, root, Path(staging), _NEEDED)
        _check(version, root)
        debian.make_movable(root)
        give_own_loader(root, root / "usr/lib/erlang")
        debian.try_erlang(root)
        debian.move_into_place(root, cache / version)


def _check(version: str, root: Path) -> None:
    """Raise FetchFailed where the release has moved on to another version, as one that is not out yet does."""
    found = [path.name.rpartition("-")[2] for path in root.glob(f"{_SERVER}*")]
    if not any(number.startswith(f"{version}.") for number in found):
        raise FetchFailed(f"Debian {RELEASES[version]} has RabbitMQ {', '.join(found) or 'no more'}, not {version}")
