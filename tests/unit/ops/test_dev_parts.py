"""The parts of `signalq dev`: a world and its folder, the events of its logs, and the lines that a person sees."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from signalq.errors import SettingsError
from signalq.local.node import kept_port
from signalq.local.ports import is_free
from signalq.ops.commands import dev as dev_command
from signalq.ops.dev import world as worlds
from signalq.ops.dev.events import Entry, LogTail, is_told, of_a_program, of_an_order
from signalq.ops.dev.programs import Console as ConsoleProgram
from signalq.ops.dev.programs import last_words
from signalq.ops.dev.view import View, exports, line_to_try
from signalq.ops.dev.world import CONSOLE_ABOVE, DEFAULT_PORT, GATEWAY_ABOVE, OPS_ABOVE, PORT_MAX, SANDBOX_ABOVE, opened
from signalq.ops.terminal import one_time_link
from signalq.ops.terminal.errors import CommandFailed

ABOVE = (0, OPS_ABOVE, GATEWAY_ABOVE, CONSOLE_ABOVE, SANDBOX_ABOVE)
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LATER = NOON + timedelta(hours=3)

KEPT = {"connectorName": "main", "action": "openLong", "percent": "50", "limit": "65000"}

Lines = Callable[[Entry, int], list[str]]


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("SIGNALQ_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def port() -> int:
    """A port with the room above it that a world needs."""
    bases = random.sample(range(21_000, 32_000, 50), 220)  # other runs of these tests choose, too
    return next(port for port in bases if all(is_free(port + above) for above in ABOVE))


# --- a world ---------------------------------------------------------------------------------------------------------


def test_the_documented_ports_are_those_of_a_world() -> None:
    assert [DEFAULT_PORT + above for above in ABOVE] == [17_672, 17_680, 17_681, 17_682, 17_690]
    assert dev_command.PORT_MAX == PORT_MAX == 65_535 - SANDBOX_ABOVE


def test_a_world_is_made_once_for_its_user_alone_and_is_the_same_again(tmp_path: Path, port: int) -> None:
    folder = tmp_path / "a world"
    with opened(folder, port) as world:
        assert list(world.ports.values()) == [port, port + 8, port + 9, port + 10, port + 18]
        assert (world.settings.console.port, world.settings.ops.console) == (port + 10, False)
        assert world.settings.environments() == {"sandbox": []}
        assert world.settings.ledger.url.get_secret_value() == f"sqlite+aiosqlite:///{folder}/ledger.db"
        assert kept_port(world.rabbitmq) == port
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "signalq.toml").stat().st_mode & 0o777 == 0o600
    text = (folder / "signalq.toml").read_text("utf-8") + "[connectors.mine]\nrate_per_s = 2\n"
    (folder / "signalq.toml").write_text(text, "utf-8")
    with opened(folder, None) as world:
        assert world.broker_port == port
        assert set(world.settings.connectors) == {"demo", "mine"}
    with pytest.raises(CommandFailed, match=f"has the port {port}: leave --port out"), opened(folder, port + 1):
        pass


def test_a_second_one_in_the_same_folder_is_refused_with_the_process_of_the_first(tmp_path: Path, port: int) -> None:
    second = rf"another `signalq dev` runs in .* \(process {os.getpid()}\)"
    with opened(tmp_path, port), pytest.raises(CommandFailed, match=second), opened(tmp_path, port):
        pass
    with opened(tmp_path, port):
        pass


@pytest.mark.parametrize("above", [0, OPS_ABOVE, GATEWAY_ABOVE, CONSOLE_ABOVE, SANDBOX_ABOVE])
def test_a_port_that_is_taken_is_refused_by_name(above: int, tmp_path: Path, port: int) -> None:
    refused = pytest.raises(CommandFailed, match=f"port {port + above}, for .*, is taken")
    with socket.create_server(("127.0.0.1", port + above)), refused, opened(tmp_path, port):
        pass
    with opened(tmp_path, port):
        pass


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("127.0.0.1", "10.0.0.1", "broker.url"),
        ("/sandbox/", "/", "webhook.url must be"),
        ("[connectors.demo]", '[connectors.demo]\nurl = "https://api.crypto-arsenal.io/x"', "connectors.demo.url out"),
        ("[gateway]", "[gateway]\nprot = 5", "signalq.toml: gateway.prot is not a setting"),
    ],
)
def test_settings_that_would_lead_orders_elsewhere_are_refused(
    before: str, after: str, said: str, tmp_path: Path, port: int
) -> None:
    with opened(tmp_path, port) as world:
        text = world.file.read_text("utf-8")
    world.file.write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises((CommandFailed, SettingsError), match=said), opened(tmp_path, None):
        pass


def test_a_folder_that_no_ledger_url_can_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"a \? would end the ledger's path"), opened(tmp_path / "what?", None):
        pass


def test_the_lines_to_paste_name_the_world_whatever_its_folder_is_called(tmp_path: Path, port: int) -> None:
    with opened(tmp_path / "a world", port) as world:
        quoted = f"'{tmp_path}/a world/signalq.toml'"
        assert f"--config {quoted} publish --wait --connector demo --action openLong --percent 50" in line_to_try(world)
        assert list(exports(world))[-2:] == [
            f"export SIGNALQ_CONFIG={quoted}",
            f"export SIGNALQ_BROKER__URL=amqp://guest:guest@127.0.0.1:{port}/",
        ]


def test_a_world_that_is_older_than_the_console_has_it_where_a_new_one_has_it(tmp_path: Path, port: int) -> None:
    with opened(tmp_path, port) as world:
        text = world.file.read_text("utf-8")
    older = text.replace(f"[console]\nport = {port + CONSOLE_ABOVE}\n", "")
    assert older != text
    world.file.write_text(older, "utf-8")
    with opened(tmp_path, None) as again:
        assert again.console_port == again.ports["the console"] == port + CONSOLE_ABOVE


def test_the_console_gets_the_link_that_is_shown_unless_the_world_has_a_token(tmp_path: Path, port: int) -> None:
    with opened(tmp_path, port) as world:
        first, second = ConsoleProgram(world), ConsoleProgram(world)
        assert first.link is not None
        assert first.link != second.link
        address, _, secret = first.link.partition("/link/")
        assert (f"{address}/", len(secret) >= 32) == (world.console_address, True)
        handed = first._own_environment()
        assert handed == {"SIGNALQ_CONSOLE__PORT": str(port + CONSOLE_ABOVE), one_time_link.VARIABLE: secret}
    text = world.file.read_text("utf-8").replace("[ops]\n", '[ops]\ntoken = "a-token-of-this-world"\n')
    world.file.write_text(text, "utf-8")
    with opened(tmp_path, None) as world:
        assert ConsoleProgram(world).link is None


def test_the_greeting_has_the_consoles_address_and_its_link(
    tmp_path: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path, port) as world:
        link = f"{world.console_address}link/abc"
        View(as_json=False, out=Console(width=80, force_terminal=False, soft_wrap=True)).greet(world, link)
        said = capsys.readouterr().out.splitlines()
        assert f"  console   {world.console_address}" in said
        assert f"  {link}" in said
        View(as_json=False, out=Console(width=80, force_terminal=False, soft_wrap=True)).greet(world, None)
        assert "/link/" not in capsys.readouterr().out
        View(as_json=True).greet(world, link)
        row = json.loads(capsys.readouterr().out)
        assert (row["console"], row["console_link"]) == (world.console_address, link)


def test_a_secret_that_was_handed_over_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(one_time_link.VARIABLE, "handed-over")
    assert one_time_link.take_secret() == "handed-over"
    assert one_time_link.VARIABLE not in os.environ
    made = {one_time_link.take_secret() for _ in range(2)}
    assert (len(made), min(map(len, made)) >= 32) == (2, True)


def test_the_default_folder_is_in_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert worlds.default_folder() == Path("/state/signalq/dev")


# --- its events ------------------------------------------------------------------------------------------------------


def event(name: str, level: str = "info", **facts: Any) -> dict[str, Any]:
    return {"event": name, "level": level, "timestamp": "2026-01-31T12:00:00.500000Z", **facts}


def test_a_log_is_read_as_it_comes_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"event":"a.b","level":"info","timestamp":"t"}\nnonsense\n[1]\n{"event":')
    tail = LogTail(log)
    assert [one["event"] for one in tail.events()] == ["a.b"]
    assert tail.events() == []
    with log.open("ab") as more:
        more.write(b'"c.d","level":"info","timestamp":"t"}\n')
    assert [one["event"] for one in tail.events()] == ["c.d"]


@pytest.mark.parametrize(
    ("told", "one"),
    [
        (True, event("intent.settled", status="delivered")),
        (False, event("intent.settled", status="dead")),
        (True, event("intent.dead_lettered", "error")),
        (True, event("intent.scheduled")),
        (True, event("delivery.attempted", next_attempt_at="2026-01-31T12:00:01.000Z")),
        (False, event("delivery.attempted", next_attempt_at=None)),
        (True, event("settings.reloaded", keys="connectors.main")),
        (True, event("broker.unreachable", "warning")),
        (False, event("gateway.open", "warning")),
        (False, event("service.started")),
    ],
)
def test_endings_delays_and_failed_attempts_are_told_and_of_the_rest_what_is_not_well(
    told: bool, one: dict[str, Any]
) -> None:
    assert is_told(one) is told


def test_an_order_that_the_ledger_does_not_know_is_told_without_how_long_it_took() -> None:
    facts = {"intent_id": "m1", "connector": "main", "strategy": "-", "reason": "invalid", "detail": "no JSON"}
    entry = of_an_order(event("intent.dead_lettered", "error", **facts), None)
    assert (entry.outcome, entry.reason, entry.action, entry.order) == ("dead", "invalid", None, None)
    assert entry.took_ms is None


def test_of_a_program_the_reason_is_told_and_of_the_switch_all_of_it() -> None:
    assert of_a_program(event("settings.refused", "error", why="mend it", n=1)).detail == "mend it"
    changed = event("switch.changed", "warning", state="paused", why="odd")
    assert of_a_program(changed).detail == "state paused; why odd"


def test_the_last_words_of_a_log_are_its_last_reason_else_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text, words in (
        ("", "it said nothing"),
        ('{"why":"first"}\n{"why":"port 1 is taken"}\n{"event":"service.stopped"}\n', "port 1 is taken"),
        ("a traceback\nKilled\n", "Killed"),
    ):
        log.write_text(text, "utf-8")
        assert last_words(log) == words


# --- what a person sees ----------------------------------------------------------------------------------------------


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """The lines of an entry on a terminal of so many columns."""

    def shown(entry: Entry, columns: int) -> list[str]:
        out = Console(width=columns, force_terminal=True, color_system=None, highlight=False, soft_wrap=True)
        View(as_json=False, out=out).entry(entry)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return shown


def local(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"


def order(**fields: Any) -> Entry:
    return Entry(**{"at": NOON, "connector": "main", "action": "openLong", "outcome": "delivered", **fields})


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (order(took_ms=34), "main openLong 34 ms delivered"),
        (order(took_ms=1234), "main openLong 1.2 s delivered"),
        (order(took_ms=600_000), "main openLong 10 min delivered"),
        (order(took_ms=36_000_000), "main openLong 10 h delivered"),
        (order(outcome="dead", reason="outcome-unknown", took_ms=9), "main openLong 9 ms dead: outcome-unknown"),
        (order(outcome="scheduled", due_at=NOON + timedelta(seconds=2)), "main openLong scheduled, in 2.0 s"),
        (order(outcome="scheduled", due_at=LATER), f"main openLong scheduled, {local(LATER)}"),
        (order(action=None, connector="a\x1b[2Jb", outcome="duplicate"), "a\\x1b[2Jb - duplicate"),
        (
            order(order=KEPT, outcome="dead", reason="outcome-unknown", took_ms=13_000),
            "main openLong 50 % limit 65000 13.0 s dead: outcome-unknown",
        ),
    ],
)
def test_an_order_is_one_line_of_80_columns(entry: Entry, said: str, lines: Lines) -> None:
    (line,) = lines(entry, 80)
    assert len(line) <= 80
    assert line.split() == [local(NOON), *said.split()]


def test_a_long_order_is_cut_on_a_narrow_terminal_alone(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    long = order(order=KEPT | {"profit": "70000"}, connector="the connector", took_ms=34)
    (narrow,) = lines(long, 80)
    assert narrow.split(maxsplit=1)[1] == "the co…ector  openLong 50 % limit 6500…   34 ms  delivered"
    (wide,) = lines(long, 140)
    assert "the connector     openLong 50 % limit 65000 profit 70000" in wide
    out = Console(width=80, force_terminal=False, highlight=False, soft_wrap=True)
    View(as_json=False, out=out).entry(order(order=KEPT, connector="c" * 40, outcome="dead", reason="expired"))
    assert f"{'c' * 40}  openLong 50 % limit 65000 " in capsys.readouterr().out


def test_a_detail_has_a_line_of_its_own_where_it_does_not_fit(lines: Lines) -> None:
    dead = order(outcome="dead", reason="rejected", detail="the webhook refused it: HTTP 400", took_ms=5)
    first, second = lines(dead, 80)
    assert first.endswith("dead: rejected")
    assert second == "          the webhook refused it: HTTP 400"
    (whole,) = lines(dead, 140)
    assert whole.endswith("dead: rejected  the webhook refused it: HTTP 400")


def test_a_long_step_is_broken_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(width=20, force_terminal=True, color_system=None, highlight=False, soft_wrap=True)
    View(as_json=False, out=out).step("a private RabbitMQ starts")
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == ["a private RabbitMQ", "starts"]


def test_as_json_each_entry_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    View(as_json=True).entry(order(order=KEPT, took_ms=34, intent_id="m1", strategy="s", due_at=NOON))
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-01-31T12:00:00.000Z",
        "connector": "main",
        "strategy": "s",
        "intent_id": "m1",
        "action": "openLong",
        "order": KEPT,
        "outcome": "delivered",
        "reason": None,
        "detail": None,
        "took_ms": 34,
        "due_at": "2026-01-31T12:00:00.000Z",
        "event": None,
    }
