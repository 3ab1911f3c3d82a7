"""The settings in force: each value with the place that it comes from, and no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from signalq.settings.origins import InForce, in_force
from signalq.settings.sources import known_keys


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("SIGNALQ_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


def listed(text: str, tmp_path: Path) -> dict[str, InForce]:
    file = tmp_path / "some.toml"
    file.write_text(text, "utf-8")
    return {one.key: one for one in in_force(file)[1]}


def test_without_anything_every_setting_is_at_its_default() -> None:
    _, found = in_force()
    twins = {key for key in known_keys() if key.rpartition("_")[0] in known_keys() and key.endswith(("_file", "_env"))}
    assert [one.key for one in found] == [key for key in known_keys() if "<name>" not in key and key not in twins]
    assert {(one.source, one.where, one.read_from) for one in found} == {("default", None, None)}
    values = {one.key: one.value for one in found}
    assert values["broker.url"] == "amqp://guest:***@127.0.0.1:5672/"
    assert values["webhook.environment"] == "live", "the effective word, not none"
    assert (values["webhook.connect_timeout_s"], values["gateway.sources"]) == (3.0, [])


def test_the_environment_is_named_before_the_file_and_the_file_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("signalq_broker__PREFIX", "mine")
    found = listed('[broker]\nprefix = "x"\nheartbeat_s = 20\n', tmp_path)
    assert found["broker.prefix"] == InForce("broker.prefix", "mine", "environment", "signalq_broker__PREFIX", None)
    file = str(tmp_path / "some.toml")
    assert found["broker.heartbeat_s"] == InForce("broker.heartbeat_s", 20, "file", file, None)
    assert found["broker.topology"].source == "default"


def test_a_secret_is_masked_and_the_place_that_it_is_read_from_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret-token", "utf-8")
    monkeypatch.setenv("SIGNALQ_BROKER__URL_ENV", "ELSEWHERE")
    monkeypatch.setenv("ELSEWHERE", "amqps://user:s3cret@host/")
    text = (
        f'[broker]\nurl = "amqps://u:s3cret@lower/"\n[ops]\ntoken = "s3cret"\n[connectors.main]\n'
        f'token_file = "{tmp_path}/token"\nurl = "https://h.example/x?key=s3cret"\n'
        '[ledger]\nurl = "postgresql://u:s3cret@localhost/db"\n'
        '[webhook]\nproxy = "http://desk:a@s3cret@proxy.example:3128"\n'
    )
    found = listed(text, tmp_path)
    broker = found["broker.url"]
    assert (broker.value, broker.source) == ("amqps://user:***@host/", "environment")
    assert (broker.where, broker.read_from) == ("SIGNALQ_BROKER__URL_ENV", "ELSEWHERE")
    token = found["connectors.main.token"]
    assert (token.value, token.source, token.read_from) == ("***", "file", f"{tmp_path}/token")
    assert found["ops.token"].value == "***"
    assert found["webhook.proxy"].value == "http://desk:***@proxy.example:3128"
    assert "s3cret" not in str([one.row() for one in found.values()])


def test_of_a_connector_the_keys_that_are_set_are_listed_and_its_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_CONNECTORS__ALT", '{"lane": "shared", "fixed_max": 0.5}')
    monkeypatch.setenv("SIGNALQ_CONNECTORS__MAIN__NOT_TAKEN_STATUSES", "[409, 404]")
    found = listed(
        '[connectors.main]\nactions = ["buy"]\n[connectors."my bot"]\n[strategies.m]\nuser = "u"\n', tmp_path
    )
    named = {
        key: (one.value, one.where) for key, one in found.items() if key.startswith(("connectors.", "strategies."))
    }
    file = str(tmp_path / "some.toml")
    assert named == {
        "connectors.main.actions": (["buy"], file),
        "connectors.main.lane": ("own", None),
        "connectors.main.not_taken_statuses": ([404, 409], "SIGNALQ_CONNECTORS__MAIN__NOT_TAKEN_STATUSES"),
        "connectors.my bot.lane": ("own", None),
        "connectors.alt.fixed_max": ("0.5", "SIGNALQ_CONNECTORS__ALT"),
        "connectors.alt.lane": ("shared", "SIGNALQ_CONNECTORS__ALT"),
        "strategies.m.user": ("u", file),
    }
