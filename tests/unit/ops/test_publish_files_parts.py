"""The parts of `signalq publish FILE` that need no broker: the pace, and the progress on disk."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from signalq.ops.publish.pace import CATCH_UP_S, EvenPace
from signalq.ops.publish.progress import FILES_MAX, OfAnEarlierVersion, Progress
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark
from signalq.settings.sources import load_settings


def times_of(pace: EvenPace, arrivals_s: list[float]) -> list[float]:
    """When each goes, of those that come at these times."""
    return [now_s + pace.wait_s(now_s) for now_s in arrivals_s]


def test_a_pace_is_even() -> None:
    assert times_of(EvenPace(4), [0, 0, 0.3, 0.5]) == pytest.approx([0, 0.25, 0.5, 0.75])
    assert times_of(EvenPace(0.5), [10, 10]) == [10, 12]


def test_after_a_long_hold_up_no_burst_follows_and_a_small_lateness_is_caught_up() -> None:
    assert times_of(EvenPace(100), [0, 60, 60, 60, 60]) == pytest.approx([0, 60, 60, 60, 60])
    late = times_of(EvenPace(10), [0, 60, 60, 60])
    assert late[2] - late[1] >= 0.1 - CATCH_UP_S
    assert late[3] - late[2] == pytest.approx(0.1)


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Progress:
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://user:topsecret@127.0.0.1:1/")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return Progress(load_settings(None), "orders.csv", strategy="momentum", kind="csv")


def test_progress_is_read_as_it_was_written_and_holds_no_password(progress: Progress) -> None:
    progress.begin(b"salt", known_holds=True)
    progress.reached(Mark(7, "digest"))
    progress.write()
    read = progress.load()
    assert read is not None
    assert (read.mark, bytes.fromhex(read.salt), read.strategy) == (Mark(7, "digest"), b"salt", "momentum")
    assert "topsecret" not in progress.path.read_text("utf-8")


def test_another_broker_prefix_strategy_or_format_has_a_progress_of_its_own(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(None)
    others = [
        Progress(settings, "orders.csv", strategy=None, kind="csv"),
        Progress(settings, "orders.csv", strategy="momentum", kind="jsonl"),
        Progress(settings, "other/orders.csv", strategy="momentum", kind="csv"),
        Progress(settings, "orders.csv", strategy="momentum", kind="csv", batch="b"),
    ]
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", "another")
    others.append(Progress(load_settings(None), "orders.csv", strategy="momentum", kind="csv"))
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://user:changed@127.0.0.1:1/")
    monkeypatch.delenv("SIGNALQ_BROKER__PREFIX")
    same = Progress(load_settings(None), "orders.csv", strategy="momentum", kind="csv")
    assert same.path == progress.path, "a password that was changed is the same broker"
    assert len({progress.path, *(other.path for other in others)}) == 6


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 2}', '{"version": 99}'])
def test_progress_that_cannot_be_read_is_refused_with_its_path(progress: Progress, text: str) -> None:
    progress.path.parent.mkdir(parents=True)
    progress.path.write_text(text, encoding="utf-8")
    with pytest.raises(CommandFailed, match=r"it is not known what of the file was published before") as refusal:
        progress.load()
    assert str(progress.path) in str(refusal.value)


def test_without_a_run_before_nothing_is_known(progress: Progress) -> None:
    assert progress.load() is None


def test_progress_of_an_earlier_version_is_recognised_and_keeps_its_mark(progress: Progress) -> None:
    """Its lines had identities of their bytes alone."""
    progress.path.parent.mkdir(parents=True)
    old = {"file": "f", "broker": "b", "prefix": "p", "strategy": None, "lines": 7, "digest": "d", "salt": ""}
    progress.path.write_text(json.dumps({"version": 1} | old), encoding="utf-8")
    with pytest.raises(OfAnEarlierVersion) as refusal:
        progress.load()
    assert refusal.value.mark == Mark(7, "d")


def test_known_lines_outlast_a_run_with_other_identities_and_one_that_begins_again(progress: Progress) -> None:
    progress.begin(b"", known_holds=True)
    progress.reached(Mark(7, "seven"))
    progress.begin(b"salt", known_holds=True)
    progress.reached(Mark(9, "nine"))
    progress.write()
    read = progress.load()
    assert read is not None
    assert (read.mark, read.known) == (Mark(9, "nine"), Mark(7, "seven"))
    progress.begin(b"", known_holds=True)
    progress.reached(Mark(2, "two"))
    progress.write()
    read = progress.load()
    assert read is not None
    assert (read.mark, read.known) == (Mark(2, "two"), Mark(7, "seven"))
    progress.begin(b"", known_holds=False)
    progress.write()
    read = progress.load()
    assert read is not None
    assert read.known == Mark(7, "seven"), "a run of no line changes nothing"
    progress.reached(Mark(1, "one"))
    progress.write()
    read = progress.load()
    assert read is not None
    assert read.known == Mark(1, "one")


def test_two_writers_neither_fail_nor_put_an_older_mark_back(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that runs beside the publishing is at its file when the last one comes."""
    progress.begin(b"", known_holds=True)
    at_it, go_on, sync = threading.Event(), threading.Event(), os.fsync

    def slowly(file: int) -> None:
        at_it.set()
        go_on.wait(10)
        sync(file)

    progress.reached(Mark(1, "one"))
    monkeypatch.setattr(os, "fsync", slowly)
    beside = threading.Thread(target=progress.write)
    beside.start()
    assert at_it.wait(10)
    progress.reached(Mark(2, "two"))
    threading.Timer(0.05, go_on.set).start()
    progress.write()
    beside.join()
    assert progress.why_not_kept is None
    read = progress.load()
    assert read is not None
    assert read.mark == Mark(2, "two")
    assert [file.name for file in progress.path.parent.iterdir()] == [progress.path.name]


def test_the_folder_and_the_file_are_their_users_alone(progress: Progress) -> None:
    previous = os.umask(0)
    try:
        progress.begin(b"", known_holds=True)
    finally:
        os.umask(previous)
    modes = [path.stat().st_mode & 0o777 for path in (progress.path, *list(progress.path.parents)[:2])]
    assert modes == [0o600, 0o700, 0o700]


def test_the_oldest_of_too_many_files_are_forgotten(progress: Progress) -> None:
    folder = progress.path.parent
    folder.mkdir(parents=True)
    for number in range(FILES_MAX + 3):
        (folder / f"{number}.json").write_text(json.dumps({}), encoding="utf-8")
    progress.begin(b"", known_holds=True)
    assert len(list(folder.glob("*.json"))) == FILES_MAX
    assert progress.path.exists()
