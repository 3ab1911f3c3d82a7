"""The lock files of Node's packages: no address in them, and nothing that is not pinned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.node import PROJECTS, ROOT


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: str(project.relative_to(ROOT)))
def test_a_lock_names_no_address_and_has_a_hash_for_each_package(project: Path) -> None:
    text = (project / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in text
    packages = [package for name, package in json.loads(text)["packages"].items() if name]
    assert packages
    assert all(package["integrity"].startswith("sha512-") and package["version"] for package in packages)


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: str(project.relative_to(ROOT)))
def test_a_new_lock_file_gets_no_addresses_either(project: Path) -> None:
    assert "omit-lockfile-registry-resolved=true" in (project / ".npmrc").read_text(encoding="utf-8").splitlines()
