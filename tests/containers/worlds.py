"""Namespaces of their own, in which all is run: mounts, processes and networks that end with them, however they end.

The test itself runs inside, as the first process: where it is gone, by Ctrl-C or by a kill, the kernel ends every
process of the containers, and takes mounts, bridges and firewall rules away. So the ports of compose.yaml are free, the
machine's own podman is not touched, and nothing is open on the machine.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

CLONE_NEWNET = 0x40000000
ENTER = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
CGROUPS = Path("/sys/fs/cgroup")
PROGRAMS = ("podman", "runc", "buildah", "mmdebstrap", "iptables", "unshare", "ip")
# What buildah and podman write to whatever storage they are given.
HIDDEN = (Path("/etc/containers/networks"), Path("/run/containers"), Path("/var/lib/containers"))
# podman's own, below each hierarchy of control groups.
PARENT = "libpod_parent"
# How long the kernel may take to end what was killed.
EMPTY_S, POLL_S = 5.0, 0.1


def enter(*command: str) -> int:
    """Run a command in a world of its own; its exit status. Whatever ends this ends the world; Ctrl-C goes to both."""
    ours = [place for place in HIDDEN if not place.exists()]
    process = subprocess.Popen((*ENTER, *command))  # noqa: S603 - our own command
    try:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # It ends by itself; a second one makes it short.
            return process.wait()
    finally:
        process.kill()
        process.wait()
        for place in ours:
            with suppress(OSError):
                place.rmdir()


def hide_the_machines_own() -> None:
    """From now on, this process and its children see nothing of the machine's containers, and leave nothing there."""
    for place in HIDDEN:
        place.mkdir(parents=True, exist_ok=True)
        do("mount", "-t", "tmpfs", "tmpfs", str(place))


def leave_the_network(folder: Path) -> None:
    """From now on, this process and its children have a network of their own, of a loopback alone.

    `folder` keeps the file that says so to whatever looks for a name server.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of one's own")
    do("ip", "link", "set", "lo", "up")
    # podman's name server hands on what one of its networks doesn't know: it is refused at once, and need not wait.
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="utf-8")
    do("mount", "--bind", str(folder / "resolv.conf"), str(Path("/etc/resolv.conf").resolve()))
    # podman has its sockets, its networks and its locks there, the machine's own one as well.
    for place in ("/run", "/dev/shm"):  # noqa: S108 - an empty one of our own
        do("mount", "-t", "tmpfs", "tmpfs", place)


def missing() -> str | None:
    """Why nothing can be run here, as a sentence; None where it can."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        return "this needs Linux, and root: podman makes networks and mounts"
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        return f"there is no {' and no '.join(lacking)} here: ./run test-containers installs that on a Debian"
    tried = subprocess.run((*ENTER, "true"), capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if tried.returncode != 0:
        return f"no namespaces of one's own can be made here ({tried.stderr.strip()})"
    if not os.access(CGROUPS, os.W_OK):
        return f"{CGROUPS} can't be written to, so no container can have a limit here"
    return None


def sweep_cgroups() -> None:
    """Take podman's control groups away, once they are empty; one that another podman uses stays."""
    deadline_s = time.monotonic() + EMPTY_S
    while not _swept() and time.monotonic() < deadline_s:
        time.sleep(POLL_S)


def _swept() -> bool:
    """Whether nothing is left."""
    parents = [path for pattern in (PARENT, f"*/{PARENT}") for path in CGROUPS.glob(pattern)]
    for parent in parents:
        for folder, _, _ in os.walk(parent, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)  # noqa: PTH106 - as os.walk gives it
    return not any(parent.exists() for parent in parents)


def do(*command: str) -> None:
    """Run a command that has to work."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)  # noqa: S603 - our own commands
