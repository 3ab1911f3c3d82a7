"""RabbitMQ of other versions, each in a folder of its own: what fetching one promises, without fetching one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from signalq.local import RELEASES, FetchFailed, ensure_version, find_version
from signalq.local.own_loader import give_own_loader

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("arguments", [[], ["3.9"], ["4"]])
def test_without_a_version_that_there_is_the_command_names_them_all_and_exits_2(arguments: list[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own script
        [REPOSITORY / "run", "test-rabbitmq", *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert all(version in done.stderr for version in RELEASES)
    assert len(done.stderr.splitlines()) == 1


def test_without_apt_one_sentence_says_where_it_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalq.local.apt.is_here", lambda: False)
    with pytest.raises(FetchFailed, match=r"RabbitMQ 4\.3 comes from Debian's archive.*run this command on a Debian"):
        ensure_version("4.3", print, cache=tmp_path)


def test_a_release_that_has_moved_on_is_named_and_nothing_of_it_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(_apt: Sequence[str], _package: str, root: Path, *_rest: object) -> None:
        (root / "usr/lib/rabbitmq/lib/rabbitmq_server-4.9.1").mkdir(parents=True)

    said: list[str] = []
    monkeypatch.setattr("signalq.local.debian.source", lambda _what, _release: "deb file:/nowhere any main")
    monkeypatch.setattr("signalq.local.apt.unpack", unpack)
    with pytest.raises(FetchFailed, match=r"Debian forky has RabbitMQ 4\.9\.1, not 4\.3"):
        ensure_version("4.3", said.append, cache=tmp_path)
    assert len(said) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_half_made_folder_is_not_taken_for_whole(tmp_path: Path) -> None:
    for place in ("4.3", "unpacking-x/4.3"):
        (tmp_path / place / "usr/lib/rabbitmq/bin").mkdir(parents=True)
    assert find_version("4.3", cache=tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="the loader is Linux's")
def test_a_program_runs_by_its_own_folders_loader_wherever_that_is_moved_and_however_it_is_called(
    tmp_path: Path,
) -> None:
    root = tmp_path / "made"
    programs = root / "usr/lib/erlang/bin"
    programs.mkdir(parents=True)
    copy_with_libraries(Path("/bin/readlink").resolve(), programs / "program", root)
    (programs / "link").symlink_to("program")
    (programs / "script").write_text("#!/bin/sh\n", "utf-8")
    give_own_loader(root, programs)
    moved = root.rename(tmp_path / "moved")
    assert (moved / "usr/lib/erlang/bin/script").read_text("utf-8") == "#!/bin/sh\n", "no program, left alone"
    for name in ("program", "link"):
        done = subprocess.run(  # noqa: S603 - made just now
            [moved / "usr/lib/erlang/bin" / name, "/proc/self/exe"], capture_output=True, text=True, check=True
        )
        assert Path(done.stdout.strip()).is_relative_to(moved), "what the kernel runs is this folder's loader"


def copy_with_libraries(program: Path, place: Path, root: Path) -> None:
    """Copy it with its loader and its libraries, as a Debian release would have them."""
    shutil.copy2(program, place)
    libraries = root / "usr/lib/any-linux-gnu"
    libraries.mkdir()
    (root / "usr/lib64").mkdir()
    needed = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=True)  # noqa: S603
    for word in needed.stdout.split():
        if word.startswith("/"):
            folder = root / "usr/lib64" if "/ld-linux" in word else libraries
            shutil.copy2(Path(word), folder)
