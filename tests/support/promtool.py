"""promtool, which checks and tests alert rules, out of Debian's package `prometheus`.

`python -m tests.support.promtool` puts it beside the other tools; `./run setup` and `./run test` do so. The package is
unpacked and never installed: installing it would start a server on a machine with systemd.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from signalq.local import apt
from signalq.local.errors import FetchFailed
from tests.support.tools import PROGRAMS

PROMTOOL = PROGRAMS / "promtool"
PACKAGE = "prometheus"


def fetch() -> None:
    """Put promtool where the tools are: this system's own, else the one of the package. Raises FetchFailed."""
    installed = shutil.which("promtool")
    if installed is not None:
        PROMTOOL.unlink(missing_ok=True)
        PROMTOOL.symlink_to(installed)
        return
    if not apt.is_here():
        raise FetchFailed("there is no apt here to get promtool with")
    _say(f"unpacking promtool from Debian's package {PACKAGE}")
    with tempfile.TemporaryDirectory(prefix="signalq-promtool-") as folder:
        staging = Path(folder)
        root = staging / "root"
        # promtool needs libc alone: nothing of what the server depends on is fetched.
        command = apt.own_apt(staging, installed=_all_but_it())
        apt.unpack(command, PACKAGE, root, staging, needed=re.compile(re.escape(PACKAGE)))
        # Moved into place at the end: what is there is always whole.
        arriving = PROMTOOL.with_suffix(".new")
        shutil.copy2(root / "usr/bin/promtool", arriving)
    ran = subprocess.run([str(arriving), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        arriving.unlink()
        raise FetchFailed(f"Debian's promtool does not run here ({apt.last_line(ran.stderr)})")
    arriving.replace(PROMTOOL)


def _all_but_it() -> str:
    """What this system has, as dpkg records it: apt fetches only what is not in there."""
    status = Path("/var/lib/dpkg/status").read_text("utf-8")
    paragraphs = status.split("\n\n")
    return "\n\n".join(text for text in paragraphs if not text.startswith(f"Package: {PACKAGE}\n"))


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    try:
        fetch()
    except FetchFailed as error:
        _say(str(error))
        sys.exit(1)
