"""Settings that change while the consumer runs: what is applied, what is refused, what takes a restart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from signalq.errors import SettingsError
from signalq.settings import reload
from signalq.settings.reload import CurrentSettings, Reloader, change
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings
from tests.support.waiting import wait_until


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


SHARED = {"lane": "shared", "token": "a"}


@pytest.mark.parametrize(
    ("now", "wanted", "keys"),
    [
        ({"main": SHARED}, {"main": {**SHARED, "token": "b"}}, ["connectors.main.token"]),
        ({}, {"main": SHARED}, ["connectors.main"]),
        ({"main": SHARED}, {}, ["connectors.main"]),
        (
            {"main": {"rate_per_s": 1}},
            {"main": {"url": "https://x.example/", "percent_max": 5}},
            ["connectors.main.percent_max", "connectors.main.url", "connectors.main.rate_per_s"],
        ),
        ({"main": SHARED}, {"main": SHARED}, []),
    ],
)
def test_connectors_are_applied_and_what_changed_is_named(
    now: dict[str, Any], wanted: dict[str, Any], keys: list[str]
) -> None:
    found = change(settings(connectors=now), settings(connectors=wanted))
    assert sorted(found.keys) == sorted(keys)
    assert found.settings.connectors == settings(connectors=wanted).connectors
    assert found.need_restart == ()


def test_strategies_and_limits_are_applied() -> None:
    now = settings(strategies={"one": {"user": "u", "fixed_max": 1}, "two": {}})
    wanted = settings(strategies={"one": {"user": "u", "fixed_max": 2}})
    found = change(now, wanted)
    assert found.keys == ("strategies.one.fixed_max", "strategies.two")
    assert found.settings.strategies == wanted.strategies


def test_without_a_change_the_settings_stay_the_same_object() -> None:
    now = settings(connectors={"main": SHARED})
    assert change(now, settings(connectors={"main": SHARED})).settings is now


def test_a_setting_that_takes_a_restart_stays_as_it_is_and_is_named() -> None:
    unordered = {"ordering": "none", "concurrency": 2}
    now = settings(connectors={"main": unordered})
    wanted = settings(
        connectors={"main": {**unordered, "concurrency": 3, "token": "b"}},
        delivery={"attempts_max": 3},
        webhook={"timeout_s": 4},
        log={"level": "debug"},
    )
    found = change(now, wanted)
    assert found.keys == ("connectors.main.token",)
    assert set(found.need_restart) == {
        "delivery.attempts_max",
        "webhook.timeout_s",
        "log.level",
        "connectors.main.concurrency",
    }
    assert found.settings.connectors["main"].concurrency == 2
    assert found.settings.delivery == now.delivery


OWN, OTHER = {"token": "a"}, {"lane": "shared", "token": "b"}


@pytest.mark.parametrize(
    ("now", "wanted", "says"),
    [
        (OWN, {"lane": "shared"}, 'connectors.main.lane stays "own"'),
        ({"lane": "shared"}, {}, 'connectors.main.lane stays "shared"'),
        (OWN, {"ordering": "none", "concurrency": 3}, 'connectors.main.ordering stays "strict"'),
        ({"ordering": "none", "concurrency": 3}, {}, 'connectors.main.ordering stays "none"'),
        (None, OWN, "connectors.main is new, with a lane of its own"),
        (OWN, None, "connectors.main is gone, and stays as it was"),
    ],
)
def test_a_change_of_lanes_is_refused_alone_and_everything_else_is_applied(
    now: dict[str, Any] | None, wanted: dict[str, Any] | None, says: str
) -> None:
    def with_main(main: dict[str, Any] | None, other: dict[str, Any], **sections: Any) -> Settings:
        return settings(connectors={"other": other} | ({"main": main} if main is not None else {}), **sections)

    before = with_main(now, OTHER)
    found = change(before, with_main(wanted, OTHER | {"token": "c"}, strategies={"one": {"user": "u"}}))
    (sentence,) = found.refused
    assert says in sentence
    assert "until the consumer is restarted" in sentence
    assert {"connectors.other.token", "strategies.one"} <= set(found.keys)
    assert found.settings.connectors["other"] == settings(connectors={"x": OTHER | {"token": "c"}}).connectors["x"]
    assert found.settings.own_lanes() == before.own_lanes()
    assert found.settings.connector("main").ordering == before.connector("main").ordering
    assert found.need_restart == ()


def test_the_other_keys_of_a_connector_whose_lane_is_refused_are_applied() -> None:
    now = settings(connectors={"main": {"token": "a", "percent_max": 50}})
    found = change(now, settings(connectors={"main": {"token": "b", "percent_max": 50, "lane": "shared"}}))
    assert found.keys == ("connectors.main.token",)
    assert found.settings.connectors["main"].lane == "own"
    assert len(found.refused) == 1


def test_each_of_many_changes_of_lanes_has_a_sentence_and_nothing_is_applied() -> None:
    now = settings()
    found = change(now, settings(connectors={f"c{number}": {} for number in range(100)}))
    assert len(found.refused) == 100
    assert found.settings is now


def test_the_settings_without_a_change_of_lanes_must_go_together() -> None:
    """A connector that stays, with extra fields, and a strategy whose size limits these would pass by."""
    now = settings(connectors={"main": {"extra_fields": ["notional"]}})
    with pytest.raises(SettingsError, match="extra_fields"):
        change(now, settings(strategies={"one": {"fixed_max": 1, "connectors": ["main"]}}))


def test_strategies_are_known_by_their_new_users_after_a_change() -> None:
    now = settings(strategies={"one": {"user": "before"}})
    assert now.strategy_by_user == {"before": "one"}
    found = change(now, settings(strategies={"one": {"user": "after"}}))
    assert found.settings.strategy_by_user == {"after": "one"}
    assert now.strategy_by_user == {"before": "one"}


# --- looking at files ------------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """A reloader at work, and what came of it."""

    file: Path
    current: CurrentSettings
    reloader: Reloader
    logs: list[Any]
    told: list[Settings] = field(default_factory=list)

    def said(self, event: str) -> list[str]:
        """What was logged as this event: its one field."""
        return [line.get("keys") or line["why"] for line in self.logs if line["event"] == f"settings.{event}"]

    async def says(self, event: str, count: int = 1) -> str:
        """Wait until this was logged so often; the last one's field."""
        await wait_until(lambda: len(self.said(event)) >= count, what=f"settings.{event} in {self.logs}")
        return self.said(event)[-1]

    @property
    def token(self) -> str | None:
        """The token of the connector `main` that holds now."""
        found = self.current.settings.connector("main").token
        return found.get_secret_value() if found else None


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_PERIOD_S", 0.02)
    monkeypatch.setattr(reload, "STILL_S", 0.03)


Looking = Callable[[Path], Any]


@asynccontextmanager
async def looking_at(file: Path | None) -> AsyncIterator[Desk]:
    current = CurrentSettings(load_settings(file))
    told: list[Settings] = []

    def on_change(changed: Settings) -> None:
        told.append(changed)
        reload.warn_of_environment(current.settings, changed)

    reloader = Reloader(current, file=file, load=lambda: load_settings(file), on_change=on_change)
    with capture_logs() as logs:
        task = asyncio.create_task(reloader.run())
        try:
            yield Desk(file or Path(), current, reloader, logs, told)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def write(file: Path, value: str = "one", *, more: Sequence[str] = ()) -> None:
    lines = ["[connectors.main]", 'lane = "shared"', f'token = "{value}"', *more]
    file.write_text("\n".join(lines), "utf-8")


async def test_a_changed_file_is_applied_and_the_values_are_not_told(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        write(file, "two")
        assert await desk.says("reloaded") == "connectors.main.token"
        assert desk.token == "two"
        assert desk.told == [desk.current.settings]
    assert "two" not in str(desk.logs)


async def test_a_change_that_leads_orders_elsewhere_says_where_they_go(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file, more=['url = "http://127.0.0.1:8090/sandbox/trading-signal/webhook"'])
    async with looking_at(file) as desk:
        write(file, "two", more=['url = "http://127.0.0.1:8091/sandbox/trading-signal/webhook"'])
        await desk.says("reloaded")
        write(file, "two", more=['url = "https://paper.example.com/key-that-is-a-secret"'])
        await desk.says("reloaded", 2)
    changes = [line for line in desk.logs if line["event"] == "environment.changed"]
    assert len(changes) == 1
    assert changes[0]["environment"].endswith("; paper.example.com for main")
    assert "secret" not in str(desk.logs)


async def test_a_file_that_is_written_again_as_it_was_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        write(file)
        write(file, "two")
        await desk.says("reloaded")
        file.touch()
        write(file, "two")
        write(file, "three")
        await desk.says("reloaded", 2)
    assert [line["event"] for line in desk.logs] == ["settings.reloaded"] * 2


async def test_a_token_file_that_is_swapped_by_symlink_is_seen_although_it_is_dated_as_before(tmp_path: Path) -> None:
    """As Kubernetes does it: token -> ..data/token, ..data -> a folder, which is swapped."""
    for folder, token in (("..first", "one"), ("..second", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "token").write_text(token, "utf-8")
    second = (tmp_path / "..first/token").stat()
    os.utime(tmp_path / "..second/token", ns=(second.st_atime_ns, second.st_mtime_ns))
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "token").symlink_to("..data/token")
    file = tmp_path / "signalq.toml"
    file.write_text(f'[connectors.main]\nlane = "shared"\ntoken_file = "{tmp_path}/token"\n', "utf-8")
    async with looking_at(file) as desk:
        assert desk.token == "one"
        (tmp_path / "..new").symlink_to("..second")
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert await desk.says("reloaded") == "connectors.main.token"
        assert desk.token == "two"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[connectors.main", "is not TOML"),
        (b"[connectors.main]\ntokn = 'x'", "connectors.main.tokn is not a setting"),
        (b"[connectors.main]\ntoken_file = '/nowhere/at/all'", "which can't be read"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 100_000, "the settings"),
        (None, "can't be read"),
    ],
    ids=["half written", "unknown key", "no token file", "no text", "deep", "missing"],
)
async def test_a_file_that_can_not_be_taken_is_refused_once_and_the_settings_stay(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        before = desk.current.settings
        if content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        assert says in await desk.says("refused")
        assert desk.current.settings is before
        write(file, "mended")
        await desk.says("reloaded")
        assert desk.token == "mended"
    assert len(desk.said("refused")) == 1


async def test_half_a_file_that_is_valid_by_chance_is_not_taken_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "STILL_S", 0.5)
    file = tmp_path / "signalq.toml"
    other = ["[connectors.other]", 'lane = "shared"']
    write(file, more=other)
    async with looking_at(file) as desk:
        whole = file.read_text("utf-8") + "\ntoken = 'x'\n"
        with file.open("w", encoding="utf-8") as growing:
            for at in range(0, len(whole), 4):
                growing.write(whole[at : at + 4])
                growing.flush()
                await asyncio.sleep(0.005)
        assert await desk.says("reloaded") == "connectors.other.token"


async def test_sighup_logs_its_result_even_if_nothing_changed(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        desk.reloader.ask()
        assert "hold already" in await desk.says("unchanged")
        file.write_text("[", "utf-8")
        await desk.says("refused")
        desk.reloader.ask()
        await desk.says("refused", 2)


async def test_sighup_without_a_file_says_so() -> None:
    async with looking_at(None) as desk:
        desk.reloader.ask()
        assert "no settings file" in await desk.says("unchanged")


async def test_without_a_settings_file_token_files_from_the_environment_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("one", "utf-8")
    monkeypatch.setenv("SIGNALQ_CONNECTORS__MAIN__TOKEN_FILE", str(tmp_path / "token"))
    async with looking_at(None) as desk:
        (tmp_path / "token").write_text("two", "utf-8")
        await desk.says("reloaded")
        assert desk.token == "two"


async def test_settings_that_came_through_a_pipe_are_not_read_again(tmp_path: Path) -> None:
    """Where a shell is told `--config <(decrypt ...)`: nothing is in it the second time, which is no change."""
    file = tmp_path / "pipe"
    os.mkfifo(file)
    loaded: list[Settings] = []
    current = CurrentSettings(settings(connectors={"main": SHARED}))
    reloader = Reloader(current, file=file, load=settings, on_change=loaded.append)
    with capture_logs() as logs:
        reloader.ask()
        task = asyncio.create_task(reloader.run())
        await wait_until(lambda: logs)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "a pipe" in logs[0]["why"]
    assert loaded == []


async def test_a_setting_that_takes_a_restart_is_warned_of_and_the_rest_applied(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        write(file, "two", more=["[delivery]", "attempts_max = 3"])
        assert await desk.says("need_restart") == "delivery.attempts_max"
        assert await desk.says("reloaded") == "connectors.main.token"
        assert desk.current.settings.delivery.attempts_max == 8


async def test_a_file_with_another_lane_and_a_new_connector_is_refused_in_that_alone(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        new = ["[connectors.new]", 'token = "x"']
        file.write_text("\n".join(["[connectors.main]", 'lane = "own"', 'token = "two"', *new]), "utf-8")
        assert await desk.says("reloaded") == "connectors.main.token"
        why = await desk.says("refused")
        assert 'connectors.main.lane stays "shared"' in why
        assert "connectors.new is new" in why
        assert why.endswith("the rest of it holds")
        assert desk.token == "two"
        desk.reloader.ask()
        assert await desk.says("refused", 2) == why
    assert desk.said("unchanged") == []


async def test_a_file_that_changed_between_the_start_and_the_first_look_is_applied(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    write(file)
    async with looking_at(file) as desk:
        write(file, "two")  # the reloader has not run yet
        await desk.says("reloaded")
        assert desk.token == "two"
