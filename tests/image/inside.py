"""Programs in the image's files, as a container would run them: its user, its environment, its root read-only.

A mount namespace of their own, and chroot: what is mounted for one of them is gone when it ends.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.image.build import Built

# $1: the files, $2: the folder for /var/lib/signalq, $3: the user; the rest is the program. It keeps its process id.
ENTER = r"""
set -e
root=$1 state=$2 user=$3
shift 3
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=16m,mode=1777 tmpfs "$root/tmp"
mount --bind "$state" "$root/var/lib/signalq"
mount -o remount,bind,ro "$root"
cd /
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs \
    --bounding-set=-all "$@"
"""
TIMEOUT_S = 60.0


def command_line(built: Built, state: Path, *program: str, environment: Mapping[str, str]) -> list[str]:
    """What runs a program of the image there."""
    own = [f"{name}={value}" for name, value in environment.items()]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]
    outside = [str(built.files), str(state), built.config["User"]]
    return [*enter, *outside, "/usr/bin/env", "-i", *built.config["Env"], *own, *program]


def run(
    built: Built, state: Path, *program: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    command = command_line(built, state, *program, environment=environment or {})
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # noqa: S603
