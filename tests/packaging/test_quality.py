"""What `./run check` holds the code to: lint, format, types, and imports that point one way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 110
SCRIPTS = Path(sys.executable).parent

CHECKS = {
    "ruff check": [sys.executable, "-m", "ruff", "check"],
    "ruff format": [sys.executable, "-m", "ruff", "format", "--check"],
    "mypy": [sys.executable, "-m", "mypy"],
    "import-linter": [str(SCRIPTS / "lint-imports")],
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_repository_passes(check: str) -> None:
    done = subprocess.run(  # noqa: S603 - fixed commands
        CHECKS[check], cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
