"""Pythons of other versions, each in a folder of its own: what fetching one promises, without fetching one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from signalq.local.errors import FetchFailed
from tests.support.pythons import ASIDE, RELEASES, ensure_python, find_python, start_line

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("arguments", [[], ["3.9"], ["3"]])
def test_without_a_version_that_there_is_the_command_names_them_all_and_exits_2(arguments: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [REPOSITORY / "run", "test-python", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert all(version in done.stderr for version in RELEASES)
    assert len(done.stderr.splitlines()) == 1


def test_without_apt_one_sentence_says_where_it_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalq.local.apt.is_here", lambda: False)
    with pytest.raises(FetchFailed, match=r"Python 3\.14 comes from Debian's archive.*run this command on a Debian"):
        ensure_python("3.14", tmp_path)


def test_one_that_does_not_run_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(_apt: Sequence[str], _package: str, root: Path, *_rest: object) -> None:
        for place in ("usr/bin/python3.14", "lib64/ld-linux-any.so.2", "usr/lib/any-linux-gnu/libc.so.6"):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).touch()

    monkeypatch.setattr("signalq.local.debian.source", lambda _what, _release: "deb file:/nowhere any main")
    monkeypatch.setattr("signalq.local.apt.unpack", unpack)
    with pytest.raises(FetchFailed, match=r"python3\.14 of that Python failed|sh of that Python failed"):
        ensure_python("3.14", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert find_python("3.14", tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the loader is Linux's")
def test_the_program_is_run_by_its_own_folders_loader_under_the_name_it_was_called_by(tmp_path: Path) -> None:
    """By that name alone Python finds its virtual environment."""
    root = tmp_path / "made"
    for folder in ("lib64", "usr/bin", "usr/lib/any-linux-gnu"):
        (root / folder).mkdir(parents=True)
    shutil.copy2(Path("/bin/sh").resolve(), root / f"usr/bin/python3.14{ASIDE}")
    loader = next(path for place in ("/lib64", "/lib") for path in Path(place).glob("ld-linux*.so.*"))
    shutil.copy2(loader.resolve(), root / "lib64" / loader.name)
    place = root.rename(tmp_path / "place")
    program = place / "usr/bin/python3.14"
    program.write_text(f"#!/bin/sh\n{start_line(place, place, '3.14')}\n", "utf-8")
    program.chmod(0o755)
    link = tmp_path / "python"
    link.symlink_to(program)
    said = subprocess.run(  # noqa: S603 - made just now
        [link, "-c", 'tr "\\0" " " </proc/$$/cmdline; readlink /proc/$$/exe'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"--argv0 {link} " in said
    assert said.strip().endswith(str(place / "lib64" / loader.name))
