"""The files that a private node reads, and the output of its command, without starting one."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from signalq.local import Installation
from signalq.local import __main__ as command
from signalq.local.node import MANAGEMENT, PROMETHEUS, choose_ports, environment, prepare
from signalq.local.ports import LOOPBACK, free_ports, hold

CONFIGURATION = ("management.tcp.port = 1",)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port can be held")
def test_a_port_that_is_held_is_chosen_by_nobody_and_its_server_can_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several nodes that start at once choose their ports seconds before they listen."""
    ours, other = free_ports(2)
    monkeypatch.setattr("random.sample", lambda _range, **_: [ours, other])
    held = hold(ours)
    assert held is not None
    try:
        assert hold(ours) is None
        assert free_ports(2) == [other]
        with socket.create_server((LOOPBACK, ours)), socket.create_connection((LOOPBACK, ours)):
            assert free_ports(2) == [other]
    finally:
        held.close()
    assert free_ports(2) == [ours, other]


def test_without_plugins_none_is_enabled_and_none_configured(tmp_path: Path) -> None:
    files = prepare(tmp_path, choose_ports(), ())
    assert (tmp_path / "enabled_plugins").read_text("utf-8") == "[].\n"
    assert "management" not in files.configuration.read_text("utf-8")


def test_the_listeners_of_plugins_are_on_loopback_with_ports_of_their_own_and_what_is_given_wins(
    tmp_path: Path,
) -> None:
    ports = choose_ports()
    files = prepare(tmp_path, ports, CONFIGURATION, plugins=(MANAGEMENT, PROMETHEUS))
    assert (tmp_path / "enabled_plugins").read_text("utf-8") == "[rabbitmq_management,rabbitmq_prometheus].\n"
    lines = files.configuration.read_text("utf-8").splitlines()
    assert {"management.tcp.ip = 127.0.0.1", "prometheus.tcp.ip = 127.0.0.1"} <= set(lines)
    assert f"prometheus.tcp.port = {ports.prometheus}" in lines
    assert lines[-1] == CONFIGURATION[0]
    assert lines.index(f"management.tcp.port = {ports.management}") < len(lines) - 1


def test_a_node_without_plugins_looks_for_its_modules_in_none_of_theirs(tmp_path: Path) -> None:
    applications = ("rabbit-3.10.8", "ra-2.2.0", "rabbit_common-3.10.8", "rabbitmq_prelaunch-3.10.8")
    for name in (*applications, "rabbitmq_mqtt-3.10.8", "rabbitmq_management-3.10.8"):
        (tmp_path / "rabbitmq/lib/rabbitmq_server-3.10.8/plugins" / name).mkdir(parents=True)
    installation = Installation(tmp_path / "rabbitmq/bin", tmp_path / "erlang/bin")
    folder, ports = tmp_path / "node", choose_ports()

    files = prepare(folder, ports, (), installation=installation)
    assert {path.name for path in files.applications.iterdir()} == set(applications)
    assert environment(installation, files, ports)["RABBITMQ_PLUGINS_DIR"] == str(files.applications)

    with_one = prepare(folder, ports, (), plugins=(MANAGEMENT,), installation=installation)
    assert "RABBITMQ_PLUGINS_DIR" not in environment(installation, with_one, ports)


class Node:
    """Takes the place of a real node; it dies at once, which ends the command."""

    made: dict[str, Any]

    def __init__(self, _installation: object, **made: object) -> None:
        Node.made = made
        self.url, self.management_url = "amqp://…", "http://…"
        self.port, self.pid, self.log_path, self.is_running = 1, 2, Path("log"), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], ["amqp://…"]),
        (["--plugin", MANAGEMENT], ["amqp://…", "http://…"]),
        (["--plugin", PROMETHEUS], ["amqp://…"]),
    ],
)
def test_the_command_runs_it_with_the_plugins_and_prints_where_they_are(
    arguments: list[str], printed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "PrivateRabbitMQ", Node)
    monkeypatch.setattr(command, "ensure_installed", lambda _say: None)
    monkeypatch.setattr(command, "_WATCH_INTERVAL_S", 0)
    monkeypatch.setattr(command, "signal", SimpleNamespace(SIGTERM=15, SIGINT=2, signal=lambda *_: None))
    assert command.main(["run", *arguments]) == 1
    assert list(Node.made["plugins"]) == arguments[1:]
    assert capsys.readouterr().out.splitlines() == printed
    command.main(["run", "--json", *arguments])
    assert ("management_url" in json.loads(capsys.readouterr().out)) == (len(printed) == 2)
