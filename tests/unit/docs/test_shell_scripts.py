"""Shell scripts are plain POSIX, but for completion in bash, and shellcheck finds nothing in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.tools import tool

ROOT = Path(__file__).parents[3]
SCRIPTS = [ROOT / "run", *sorted((ROOT / "examples").rglob("*.sh"))]
IN_BASH = ROOT / "ops" / "completion" / "scripts" / "signalq.bash"


def shellcheck(file: Path, shell: str = "sh") -> str:
    """What it has to say."""
    command = [tool("shellcheck"), f"--shell={shell}", "--format=gcc", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_shellcheck_finds_nothing(script: Path) -> None:
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    assert shellcheck(script) == ""


def test_shellcheck_finds_nothing_in_the_script_for_bash() -> None:
    assert shellcheck(IN_BASH, "bash") == ""


def test_shellcheck_finds_a_planted_mistake(tmp_path: Path) -> None:
    script = tmp_path / "wrong.sh"
    script.write_text("#!/bin/sh\nif [[ -n $1 ]]; then rm -rf $1/*; fi\n", encoding="utf-8")
    assert "SC3010" in shellcheck(script)
