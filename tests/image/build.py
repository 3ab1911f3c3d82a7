"""Builds the image from its Dockerfile with buildah, on a base that mmdebstrap makes, all in one folder."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalq.local import debian

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "container" / "Dockerfile"
# The release whose Python is the one that the Dockerfile's base has.
RELEASE, PYTHON = "bookworm", "3.11"
BASE, IMAGE = "localhost/base:1", "localhost/signalq:test"
STEP_TIMEOUT_S = 900.0
# What the official image has and Debian's has not: an installer where that Python looks for it.
AS_IN_THE_OFFICIAL_IMAGE = (
    f'mkdir -p "$1/usr/local/lib/python{PYTHON}/site-packages/pip" '
    f'&& touch "$1/usr/local/lib/python{PYTHON}/site-packages/pip/__init__.py" "$1/usr/local/bin/pip3" '
    '&& chmod 755 "$1/usr/local/bin/pip3"'
)


@dataclass(frozen=True, slots=True)
class Built:
    """An image: its files, mounted read-write at `files`, and what it says of itself."""

    files: Path
    base_files: Path
    config: dict[str, Any]
    container: str


class Workshop:
    """A folder with a storage of its own: nothing of it is left when it is swept. Needs root.

    `driver` is how layers are kept: "vfs" works everywhere, and with "overlay" a container copies nothing.
    """

    def __init__(self, folder: Path, driver: str = "vfs") -> None:
        self._folder = folder
        self._driver = driver
        self._pip = folder / "pip.conf"
        self._wheels = folder / "wheels"

    def build(self) -> Built:
        """The image, built and mounted. Raises CalledProcessError, and FetchFailed without a mirror of Debian."""
        self.build_image()
        container = self.buildah("from", IMAGE)
        inspected = json.loads(self.buildah("inspect", "--type", "image", IMAGE))
        base = self.buildah("from", BASE)
        return Built(
            Path(self.buildah("mount", container)),
            Path(self.buildah("mount", base)),
            inspected["Docker"]["config"],
            container,
        )

    def build_image(self) -> None:
        """Base, wheels, image; a minute or two. Raises what `build` raises."""
        self.bootstrap(BASE, RELEASE, ("python3", "python3-venv", "ca-certificates"), AS_IN_THE_OFFICIAL_IMAGE)
        self.fetch_wheels(platform.machine(), self._wheels)
        self._pip.write_text(f"[global]\nno-index = true\nfind-links = {self._wheels}\n", encoding="utf-8")
        volumes = [f"{self._wheels}:{self._wheels}:ro", f"{self._pip}:/etc/pip.conf:ro"]
        self.buildah(
            *("bud", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={BASE}"),
            *("--build-arg", "VERSION=1.2.3", "--build-arg", "REVISION=abc"),
            *(word for volume in volumes for word in ("--volume", volume)),
            *("--tag", IMAGE, "--file", str(DOCKERFILE), str(ROOT)),
        )

    def bootstrap(self, image: str, release: str, packages: Sequence[str], hook: str) -> None:
        """Make an image of a release of Debian with these packages; `hook` is a script, with the root folder as $1.

        Raises what `build` raises.
        """
        tar = self._folder / "root.tar"
        self._do(
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
            *(f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "info", "locale", "man")),
            # Another release's mirror may be a snapshot of some time ago; its signature is still checked.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--customize-hook={hook}", release, str(tar)),
            debian.source(f"the base of {image}", release).strip(),
        )
        container = self.buildah("from", "scratch")
        self.buildah("add", container, str(tar), "/")
        self.buildah("commit", "--rm", container, image)
        tar.unlink()

    def fetch_wheels(self, machine: str, into: Path) -> None:
        """The lock's, by this machine's pip and its settings: a build then needs no network."""
        platforms = [f"--platform=manylinux{version}_{machine}" for version in ("2014", "_2_17", "_2_28")]
        self._do(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", f"--python-version={PYTHON}", *platforms),
            *("--dest", str(into), "--requirement", str(ROOT / "requirements.lock")),
        )

    def run(self, built: Built, *command: str) -> str:
        """Run a command in it as buildah does, and give what it says. Raises CalledProcessError."""
        return self.buildah("run", "--isolation", "chroot", built.container, "--", *command)

    def sweep(self) -> None:
        """Mounts, containers and images go."""
        for command in (("umount", "--all"), ("rm", "--all"), ("rmi", "--all", "--force")):
            self.buildah(*command)

    def buildah(self, *arguments: str) -> str:
        """Its standard output; what it says besides goes to build.log."""
        storage = [f"--{name}={self._folder / name}" for name in ("root", "runroot")]
        return self._do("buildah", *storage, "--storage-driver", self._driver, *arguments)

    def _do(self, *command: str) -> str:
        with (self._folder / "build.log").open("a", encoding="utf-8") as log:
            ran = subprocess.run(  # noqa: S603 - our own commands
                command, stdout=subprocess.PIPE, stderr=log, text=True, check=True, timeout=STEP_TIMEOUT_S
            )
            log.write(ran.stdout)
        return ran.stdout.strip()
