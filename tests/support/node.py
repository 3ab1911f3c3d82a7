"""Node, and its packages: `./run setup` installs those of examples/node and of the check of the AsyncAPI document,
`./run bench` those of its peer.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.skipping import skip_outside_ci

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "node"
ASYNCAPI = ROOT / "tests" / "asyncapi"
PEER = ROOT / "benchmarks" / "peers" / "node"
PROJECTS = (EXAMPLE, ASYNCAPI, PEER)


def node() -> str:
    """The path of Node. Skips (in CI: fails) where it lacks."""
    path = shutil.which("node")
    if path is None:
        skip_outside_ci("there is no Node here: ./run setup installs it")
    return path


def package(project: Path, name: str) -> Path:
    """The folder of an installed package of one of PROJECTS. Skips (in CI: fails) where it lacks."""
    folder = project / "node_modules" / name
    if not folder.is_dir():
        skip_outside_ci(f"{name} is not installed: ./run setup does so where there is npm")
    return folder
