"""An environment that holds the wheel without extras, and what it needs: nothing else of this one can be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
BUILD_TIMEOUT_S = 60


def build_wheel(folder: Path) -> Path:
    """The wheel, built by the build backend alone: no isolation, no network."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", build, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


class BareEnvironment:
    """Programs started by `command` and with `environment` find the standard library, the wheel and its needs."""

    def __init__(self, folder: Path) -> None:
        wheel = build_wheel(folder)
        self.site = folder / "site"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        (info,) = self.site.glob("*.dist-info")
        self.needed = dict(_needed_by(Distribution.at(info)))
        for found in self.needed.values():
            _link(found, self.site)

    def command(self, *arguments: str) -> list[str]:
        """Without the folders of this environment (-S), of this user (-s) and of the program (-P)."""
        return [sys.executable, "-S", "-s", "-P", *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        """Nothing of this process's, but for the way to the bare packages."""
        return {"PYTHONPATH": str(self.site), "PATH": os.defpath, **variables}


def _needed_by(root: Distribution) -> Iterator[tuple[str, Distribution]]:
    """The distributions that pip would install beside it, by name, as they are installed here."""
    left, seen = [root], set()
    while left:
        for text in left.pop().requires or []:
            requirement = Requirement(text)
            name = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
                continue
            seen.add(name)
            found = distribution(name)
            yield name, found
            left.append(found)


def _link(found: Distribution, site: Path) -> None:
    tops = {file.parts[0] for file in found.files or [] if file.parts[0] not in {"..", "__pycache__"}}
    for top in tops:
        place = site / top
        if not place.exists():
            place.symlink_to(Path(str(found.locate_file(top))))
