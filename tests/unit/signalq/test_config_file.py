"""The settings file: the named one, else signalq.toml of the working folder, if nobody else may have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import structlog

from signalq.errors import SettingsError
from signalq.settings.config_file import found_file, settings_file
from signalq.settings.reload import log_found_file
from signalq.settings.sources import load_settings


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, without any setting around."""
    for variable in list(os.environ):
        if variable.upper().startswith("SIGNALQ_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(file: Path, prefix: str) -> Path:
    file.write_text(f'[broker]\nprefix = "{prefix}"\n', "utf-8")
    file.chmod(0o600)
    return file


def test_the_working_folders_file_is_found_by_its_absolute_path(here: Path) -> None:
    assert settings_file() is None
    file = written(here / "signalq.toml", "found")
    assert settings_file() == found_file() == file
    assert load_settings().broker.prefix == "found"


def test_a_named_file_goes_before_the_found_one_and_then_none_was_found(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(here / "signalq.toml", "found")
    by_variable, by_option = written(here / "variable.toml", "variable"), written(here / "option.toml", "option")
    assert settings_file(by_option) == by_option
    monkeypatch.setenv("SIGNALQ_CONFIG", str(by_variable))
    assert settings_file() == by_variable
    assert settings_file(by_option) == by_option
    assert found_file() is None
    monkeypatch.setenv("SIGNALQ_CONFIG", "")
    assert (found_file(by_option), found_file()) == (None, here / "signalq.toml")


def test_a_process_that_has_its_file_looks_for_no_other(here: Path) -> None:
    """A file that is swapped is missing for a moment: the settings of that moment must not be taken for none."""
    written(here / "signalq.toml", "found")
    assert load_settings(None, look=False).broker.prefix == "signalq"
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(here / "gone.toml", look=False)


def test_a_process_that_logs_says_it_there_unless_its_file_was_named(here: Path) -> None:
    file = written(here / "signalq.toml", "found")
    with structlog.testing.capture_logs() as logged:
        log_found_file(here / "other.toml")
        log_found_file(None)
    assert logged == [{"event": "settings.found", "file": str(file), "log_level": "info"}]


def test_a_folder_of_that_name_is_no_file(here: Path) -> None:
    (here / "signalq.toml").mkdir()
    assert settings_file() is None


@pytest.mark.parametrize(("mode", "owner"), [(0o602, "mine"), (0o666, "mine"), (0o600, "a stranger")])
def test_a_file_that_a_stranger_may_have_written_is_refused_unless_it_is_named(
    mode: int, owner: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(here / "signalq.toml", "strange")
    file.chmod(mode)
    if owner != "mine":
        uid = file.stat().st_uid
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
        if uid == 0:
            os.chown(file, 12_345, -1)
    with pytest.raises(SettingsError, match=r"signalq\.toml is not taken by itself.*--config"):
        load_settings()
    assert load_settings(file).broker.prefix == "strange"


def test_a_file_of_the_group_or_of_root_is_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(here / "signalq.toml", "ours")
    file.chmod(0o664)
    assert load_settings().broker.prefix == "ours"
    if file.stat().st_uid == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert load_settings().broker.prefix == "ours"
