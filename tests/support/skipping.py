"""The one way in which a test that needs a server, or a right on this machine, is skipped: never in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_outside_ci(why: str) -> NoReturn:
    """Skip for lack of something that a test needs; in CI, where nothing that talks to a broker is skipped, fail."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
