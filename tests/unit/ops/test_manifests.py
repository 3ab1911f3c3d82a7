"""What `signalq topology manifests` prints: the topology of the code, a user for each strategy, narrow rights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from signalq.amqp.permissions import (
    consumer_permissions,
    listener_permissions,
    operator_permissions,
    strategy_permissions,
)
from signalq.amqp.topology import OwnLane, Topology
from signalq.errors import SettingsError
from signalq.message.outcome import binding_key, routing_key
from signalq.names import Names
from signalq.ops.terminal.cli import cli
from signalq.ops.topology.manifests import Manifests, resource_name, yaml_stream
from signalq.settings.sources import load_settings
from tests.support.definitions import definitions
from tests.support.site import FOLDER, TOPOLOGY, manifests
from tests.unit.docs.test_docs import OPERATE, OUTCOMES, quoted, rows

CONFIG = """
[broker]
prefix = "desk.two"
topology = "passive"
[connectors.main]
token_file = "/nowhere/main-token"
[connectors."Übung 1"]
token_env = "NOT_SET_ANYWHERE"
ordering = "none"
[connectors.shared]
lane = "shared"
[strategies.momentum]
user = "momentum"
[strategies.labelled]
[strategies.gateway]
user = "front"
"""
LANES = (OwnLane("main"), OwnLane("Übung 1", strict=False))


@pytest.fixture
def printed(tmp_path: Path) -> list[dict[str, Any]]:
    """The manifests of CONFIG, as a reader of YAML has them."""
    file = tmp_path / "signalq.toml"
    file.write_text(CONFIG, "utf-8")
    ran = CliRunner().invoke(cli, ["--config", str(file), "topology", "manifests", "--cluster", "c", "--vhost", "v"])
    assert ran.exit_code == 0, ran.output
    return list(yaml.safe_load_all(ran.output))


def differences(found: dict[str, Any], topology: Topology, vhost: str) -> list[str]:
    """Between definitions and the topology of the code, object by object and argument by argument."""
    wanted = {
        "exchange": {one.name: (one.kind, one.arguments) for one in topology.exchanges()},
        "queue": {one.name: one.arguments for one in topology.queues()},
        "binding": {(one.source, one.destination, one.routing_key): {} for one in topology.bindings()},
    }
    there = {
        "exchange": {one["name"]: (one["type"], one["arguments"]) for one in found["exchanges"]},
        "queue": {one["name"]: one["arguments"] for one in found["queues"]},
        "binding": {
            (one["source"], one["destination"], one["routing_key"]): one["arguments"] for one in found["bindings"]
        },
    }
    said = [
        f"{kind} {name}: {there[kind].get(name)} instead of {wanted[kind].get(name)}"
        for kind in wanted
        for name in wanted[kind].keys() | there[kind].keys()
        if there[kind].get(name) != wanted[kind].get(name)
    ]
    everything = [*found["exchanges"], *found["queues"], *found["bindings"]]
    said += [f"{one} is not in {vhost}" for one in everything if one["vhost"] != vhost]
    return said + [f"{one} is not durable" for one in everything if not one.get("durable", True)]


def test_the_example_equals_the_output_for_its_settings() -> None:
    ran = CliRunner().invoke(cli, ["--config", str(FOLDER / "signalq.toml"), "topology", "manifests"])
    assert ran.output == (FOLDER / "topology.yaml").read_text("utf-8"), "print deploy/kubernetes/rabbitmq anew"


def test_every_object_and_argument_is_that_of_the_code(printed: list[dict[str, Any]]) -> None:
    assert differences(definitions(printed), Topology(Names("desk.two"), LANES), "v") == []
    assert differences(definitions(manifests()), TOPOLOGY, "signalq") == []
    assert {one["spec"]["rabbitmqClusterReference"]["name"] for one in printed} == {"c"}


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("Queue", "signalq.dead", {"arguments": {"x-delivery-limit": 20}}),
        ("Queue", "signalq.orders.main", {"type": "classic"}),
        ("Queue", "signalq.delay.3", {"durable": False}),
        ("Exchange", "signalq.orders", {"arguments": {}}),
        ("Binding", "signalq.orders.main", {"routingKey": "Main"}),
        ("Queue", "signalq.due", {"name": "signalq.too"}),
    ],
)
def test_an_object_that_is_not_that_of_the_code_is_found(kind: str, name: str, change: dict[str, Any]) -> None:
    planted = manifests()
    (one,) = [one for one in planted if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    one["spec"] |= change
    assert differences(definitions(planted), TOPOLOGY, "signalq")


def test_each_strategy_with_a_user_has_its_rights_and_the_gateway_only_publishes(printed: list[dict[str, Any]]) -> None:
    found = definitions(printed)
    assert {one["name"] for one in found["users"]} == {"momentum", "front", "desk.two-consumer", "desk.two-operator"}
    rights = {one["user"]: (one["configure"], one["write"], one["read"]) for one in found["permissions"]}
    own = strategy_permissions(Names("desk.two"), "momentum")
    assert rights["momentum"] == (own.configure, own.write, own.read)
    assert rights["front"] == ("^$", r"^desk\.two\.orders$", "^$")
    keys = {one["user"]: (one["write"], one["read"]) for one in found["topic_permissions"]}
    assert keys["front"] == ("^$", "^$")
    assert keys["momentum"] == ("^$", own.outcome_keys_read)
    secrets = [one["spec"]["importCredentialsSecret"]["name"] for one in printed if one["kind"] == "User"]
    assert sorted(secrets) == [
        f"rabbitmq-{user}" for user in ("desk.two-consumer", "desk.two-operator", "front", "momentum")
    ]


def test_the_notifier_has_a_user_that_hears_of_outcomes_and_does_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[notify]\nurls_file = "/nowhere"\n', "utf-8")
    found = definitions(list(Manifests(load_settings(file, with_secrets=False), cluster="c", vhost="v").all()))
    (rights,) = [one for one in found["permissions"] if one["user"] == "signalq-notify"]
    queue = r"signalq\.outcomes\.[0-9a-f]{32}"
    assert (rights["configure"], rights["write"]) == (f"^{queue}$", f"^{queue}$")
    assert rights["read"] == rf"^(signalq\.outcomes|{queue})$"
    assert [(one["write"], one["read"]) for one in found["topic_permissions"] if one["user"] == "signalq-notify"] == [
        ("^$", ".*")
    ]


@pytest.mark.parametrize("user", ["signalq-consumer", "signalq-operator"])
def test_a_strategy_cannot_have_the_consumers_user_or_the_operators(tmp_path: Path, user: str) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text(f'[strategies.momentum]\nuser = "{user}"\n', "utf-8")
    with pytest.raises(SettingsError, match=r"strategies\.momentum\.user"):
        list(Manifests(load_settings(file), cluster="c", vhost="v").all())


def test_secrets_that_lie_elsewhere_are_neither_needed_nor_printed(tmp_path: Path) -> None:
    file = tmp_path / "signalq.toml"
    given_ = '[connectors.main]\ntoken = "topsecret"\n[ops]\nhost = "0.0.0.0"\ntoken_file = "/nowhere"\n'
    given_ += '[gateway]\npath_secret_file = "/nowhere"\n'
    file.write_text(f'[broker]\nurl_env = "NOT_SET_ANYWHERE"\n{given_}', "utf-8")
    ran = CliRunner().invoke(cli, ["--config", str(file), "topology", "manifests"])
    assert ran.exit_code == 0, ran.output
    assert "topsecret" not in ran.output
    with pytest.raises(SettingsError, match="NOT_SET_ANYWHERE"):
        load_settings(file)


# ---- patterns ----

MOMENTUM = strategy_permissions(Names(), "momentum")


@settings(max_examples=50)
@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20), st.sampled_from(["delivered", "dead", "*"]))
def test_a_strategy_may_bind_for_its_own_outcomes_and_not_for_anothers(one: str, another: str, status: Any) -> None:
    pattern = strategy_permissions(Names(), one).outcome_keys_read
    status_ = None if status == "*" else status
    for connector in (None, "main", another):
        assert re.search(pattern, binding_key(connector=connector, strategy=one, status=status_))
        theirs = binding_key(connector=connector, strategy=another, status=status_)
        same_key = routing_key("", one, "") == routing_key("", another, "")
        assert bool(re.search(pattern, theirs)) is same_key


@pytest.mark.parametrize(
    "key", ["#", "*.*.*", "#.momentum.#", "main.#", "*.momentum.#", "*.momentum", "", "a.b.momentum.x"]
)
def test_a_strategy_may_not_bind_for_more(key: str) -> None:
    assert not re.search(MOMENTUM.outcome_keys_read, key)


@pytest.mark.parametrize("prefix", ["signalq", "a.b", "x-1"])
def test_a_prefix_is_taken_letter_by_letter(prefix: str) -> None:
    names = Names(prefix)
    consumer = consumer_permissions(names)
    assert re.search(consumer.read, names.lane("any.Lane ü"))
    assert re.search(consumer.write, names.delay(19))
    for stranger in (f"x{names.orders}", f"{names.orders}x", names.orders.replace(".", "x"), "amqxdefault"):
        assert not re.search(consumer.read, stranger)
        assert not re.search(consumer.write, stranger)


def test_the_documented_rights_equal_the_printed_ones() -> None:
    table = {row[0]: [quoted(cell) for cell in row[1:]] for row in rows(OPERATE / "rabbitmq.md", "## Rights")}
    for who, permissions in (
        ("the consumer", consumer_permissions(Names())),
        ("an operator", operator_permissions(Names())),
        ("`signalq notify`", listener_permissions(Names())),
    ):
        documented = [cell[0].replace(r"\|", "|") for cell in table[who]]
        assert documented == [permissions.configure, permissions.write, permissions.read]
    page = OUTCOMES.read_text("utf-8")
    assert f"`{MOMENTUM.configure}`" in page
    assert f"`{MOMENTUM.outcome_keys_read}`" in page


# ---- names and YAML ----


@given(st.text(min_size=1, max_size=300))
def test_every_name_becomes_one_that_kubernetes_takes(name: str) -> None:
    made = resource_name(name)
    assert len(made) <= 253
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", made)
    assert resource_name(made) == made


@given(st.text(max_size=30), st.text(max_size=30))
def test_two_names_never_become_one(one: str, another: str) -> None:
    assert (resource_name(one) == resource_name(another)) is (one == another)


NOT_TEXT = ["yes", "Null", "1e3", "0x1", "a: b", "~", "-", "#", "a/b", "2026-01-31", "\x85", "\U0001f600"]
PARTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(NOT_TEXT)
LEAVES = st.dictionaries(PARTS, PARTS | st.integers() | st.booleans(), max_size=4)


@settings(max_examples=50)
@given(st.recursive(LEAVES, lambda inner: st.dictionaries(PARTS, inner, max_size=3), max_leaves=6))
def test_yaml_is_read_as_it_was_meant(document: dict[str, Any]) -> None:
    assert list(yaml.safe_load_all(yaml_stream([document]))) == [document or None]
