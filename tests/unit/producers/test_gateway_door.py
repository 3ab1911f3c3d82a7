"""The gateway as an open door: who is let in, what a stranger is told, how many guesses, how many lines of the log."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from signalq.errors import Problem, SettingsError
from signalq.ops import gateway as gateway_module
from signalq.ops.gateway import open_doors, options_of, run, without_tokens
from signalq.producers.gateway import refusals as refusals_module
from signalq.producers.gateway.alerts import Alert, Refusal, read_batch, token_digest
from signalq.producers.gateway.callers import Callers, counted_as
from signalq.producers.gateway.health import GatewayMetrics
from signalq.producers.gateway.refusals import ALIKE_LINES_MAX, GUESSES_MAX, LINES_MAX, NOT_SHOWN, Refusals
from signalq.producers.gateway.server import Options
from signalq.settings.reload import CurrentSettings
from signalq.settings.sections import Settings

TOKEN = "the-right-token"
FIELDS = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate({"connectors": {"main": {"token": TOKEN}}} | sections)


def options(**sections: Any) -> Options:
    return options_of(CurrentSettings(without_tokens(settings(**sections))))


def read(fields: object, **sections: Any) -> Alert | Refusal:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    found = read_batch(body, options(**sections).reading, 0)
    return found if isinstance(found, Refusal) else found.alerts[0]


# ---- who is let in ----


@pytest.mark.parametrize("name", ["other", "Main", "main2", "", "m\u0430in"])
def test_a_connector_that_no_setting_names_is_answered_as_a_wrong_token_is(name: str) -> None:
    unnamed, wrong = read(FIELDS | {"connectorName": name}), read(FIELDS | {"connectorToken": "wrong"})
    assert isinstance(unnamed, Refusal)
    assert isinstance(wrong, Refusal)
    assert (unnamed.status, unnamed.problems) == (wrong.status, wrong.problems)
    assert wrong.status == 401
    assert unnamed.hint is not None, "the log says what the answer does not"
    assert wrong.hint is None


def test_a_gateway_that_runs_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[str] = []

    async def serve(served: Settings, *_args: object) -> None:
        held.extend(served.secret_values())

    monkeypatch.setattr(gateway_module, "_serve", serve)
    monkeypatch.setattr(gateway_module, "configure_logging", lambda **_options: None)
    run(settings(), None)
    assert held == [token_digest(TOKEN).hex()]


def test_with_any_a_connector_that_no_setting_names_is_taken_and_a_named_one_is_as_strict_as_ever() -> None:
    any_connector = {"gateway": {"connectors": "any"}}
    assert isinstance(read(FIELDS | {"connectorName": "other"}, **any_connector), Alert)
    refusal = read(FIELDS | {"connectorToken": "wrong"}, **any_connector)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 401


@pytest.mark.parametrize(("name", "says"), [(None, "is missing"), (5, "must be a string"), (["main"], "must be")])
def test_the_answer_to_a_stranger_without_a_connector_names_that_alone(name: object, says: str) -> None:
    refusal = read(FIELDS | {"connectorName": name, "percent": "500", "nonsense": 1})
    assert isinstance(refusal, Refusal)
    assert [problem.field for problem in refusal.problems] == ["connectorName"]
    assert says in refusal.problems[0].message


def test_without_a_named_connector_it_does_not_start_and_says_so() -> None:
    with pytest.raises(SettingsError, match="no connector is named"):
        run(settings(connectors={}), None)


def test_no_token_is_kept_but_its_digest() -> None:
    kept = without_tokens(settings(connectors={"main": {"token": TOKEN}, "other": {}}))
    secret = kept.connectors["main"].token
    assert secret is not None
    assert secret.get_secret_value() == token_digest(TOKEN).hex()
    assert kept.connectors["other"].token is None
    assert options().is_secret(TOKEN)
    assert not options().is_secret("another")


@pytest.mark.parametrize(
    ("sections", "advice"),
    [
        ({}, ["gateway.path_secret"]),
        ({"gateway": {"host": "192.0.2.1"}}, ["gateway.path_secret"]),
        ({"gateway": {"sources": ["10.0.0.0/8"]}}, []),
        ({"gateway": {"path_secret": "a-path-secret-of-20"}}, []),
        ({"gateway": {"sources": ["10.0.0.0/8"], "connectors": "any"}}, ["gateway.connectors"]),
        ({"gateway": {"sources": ["10.0.0.0/8"]}, "connectors": {"bare": {}, "main": {"token": "x"}}}, ["of bare:"]),
    ],
)
def test_every_door_that_stands_open_is_warned_of_also_on_loopback(sections: Any, advice: list[str]) -> None:
    for said, part in zip(open_doors(settings(**sections)), advice, strict=True):
        assert part in said


# ---- what a stranger is told, and how often ----


@pytest.fixture
async def door() -> Refusals:
    """One for which no time goes by, so that no bucket fills meanwhile."""
    proxies = Callers(proxies=options(gateway={"proxies": ["10.0.0.0/8"]}).callers.proxies)
    return Refusals(GatewayMetrics(bool), proxies, lambda text: text == TOKEN, lambda: 0.0)


def request(address: str = "192.0.2.1") -> web.Request:
    class Transport:
        """A connection from a proxy of ours."""

        def get_extra_info(self, name: str, default: object = None) -> object:
            return ("10.0.0.1", 1) if name == "peername" else default

    return make_mocked_request(
        "POST",
        "/",
        headers={"X-Forwarded-For": address},
        transport=Transport(),  # type: ignore[arg-type]
    )


WRONG = Refusal(401, (Problem("connectorToken", "is not the connector's"),))


@pytest.mark.parametrize("status", [401, 404])
async def test_one_guess_too_many_has_to_wait_and_another_address_does_not(door: Refusals, status: int) -> None:
    guess = Refusal(status, (Problem(None, "no"),))
    statuses = [door.refused(request(), guess).status for _ in range(GUESSES_MAX + 20)]
    assert statuses == [status] * GUESSES_MAX + [429] * 20
    told = door.refused(request(), guess)
    assert int(told.headers["Retry-After"]) >= 1
    assert door.refused(request("192.0.2.2"), guess).status == status


async def test_a_request_that_is_no_guess_is_answered_as_ever_behind_the_same_address(door: Refusals) -> None:
    for _ in range(GUESSES_MAX + 1):
        door.refused(request(), WRONG)
    assert door.refused(request(), Refusal(400, (Problem("percent", "must be at most 100"),), "main")).status == 400


def test_a_network_of_ipv6_counts_as_one_sender() -> None:
    assert counted_as(ip_address("2001:db8::1")) == counted_as(ip_address("2001:db8::ffff:1")) == "2001:db8::/64"
    assert counted_as(ip_address("2001:db8:0:1::1")) != counted_as(ip_address("2001:db8::1"))
    assert counted_as(None) == "unknown"


# ---- the log ----


async def test_the_log_says_why_with_names_and_no_value(door: Refusals) -> None:
    with capture_logs() as logs:
        door.refused(request(), Refusal(400, (Problem(None, "the body is not JSON (Expecting value)"),)))
        door.refused(request(), Refusal(400, (Problem("percent", "must be at most 100"),), "main"))
        door.refused(request(), Refusal(401, WRONG.problems, hint="the connector is none of the settings"))
        door.refused(None, Refusal(400, (Problem(None, "the request is not proper HTTP/1.1"),)))
    assert [line["why"] for line in logs] == [
        "the body is not JSON (Expecting value)",
        "percent: must be at most 100",
        "connectorToken: is not the connector's; the connector is none of the settings",
        "the request is not proper HTTP/1.1",
    ]
    assert [line.get("connector") for line in logs] == [None, "main", None, None]
    assert [line["caller"] for line in logs] == ["192.0.2.1"] * 3 + ["unknown"]
    assert logs[0]["fields"] == ["the request"]


@pytest.mark.parametrize(
    ("name", "is_shown"),
    [
        ("colour", True),
        ("entryOrder", True),
        ("take_profit_2", True),
        ("tp1.price", True),
        (TOKEN, False),
        ("sk9f8a7b6c5d4e3f", False),
        ("name=value", False),
        ("{{strategy.order.id}}", False),
        ("a" * 40, False),
        ("5f2c", False),
        ("ключ", False),
        ("", False),
    ],
)
async def test_a_field_whose_name_does_not_look_like_one_is_not_shown(
    door: Refusals, name: str, is_shown: bool
) -> None:
    with capture_logs() as logs:
        response = door.refused(request(), Refusal(400, (Problem(name, "is not a field of an intent"),), "main"))
    shown = name if is_shown else NOT_SHOWN
    assert logs[0]["fields"] == [shown]
    assert json.loads(str(response.text))["fields"][0]["field"] == shown
    assert is_shown or not name or name not in str(response.text) + str(logs)


async def test_a_flood_has_a_few_lines_and_then_a_number(door: Refusals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals_module, "UNLOGGED_EVERY_S", 0.0)
    with capture_logs() as logs:
        for _ in range(600):
            door.refused(request(), WRONG)
        for number in range(600):
            door.refused(request(f"198.51.100.{number % 200}"), Refusal(400, (Problem(None, str(number)),)))
        strangers = len(logs)
        door.refused(request(), Refusal(400, (Problem("percent", "is wrong"),), "main"))
        assert logs[-1]["connector"] == "main", "who knows the token is heard through the noise of strangers"
        door.close()
    assert 2 * ALIKE_LINES_MAX <= strangers <= LINES_MAX
    last = logs[-1]
    assert last["event"] == "alert.refused_unlogged"
    assert last["count"] == 1200 - strangers
    assert set(last["statuses"]) == {"400", "401", "429"}


async def test_without_a_flood_nothing_is_left_to_say(door: Refusals) -> None:
    with capture_logs() as logs:
        door.refused(request(), WRONG)
        door.close()
    assert [line["event"] for line in logs] == ["alert.refused"]
