"""The AsyncAPI document: its parts fit together, and say what the code says."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from signalq import names
from signalq.consumer.orders.state import Reason
from signalq.documents.asyncapi import SCHEMA_FORMAT, asyncapi_document
from signalq.documents.json_schema import intent_schema
from signalq.message.outcome import STATUSES, Outcome, routing_key
from signalq.names import Names
from tests.support.node import ASYNCAPI, package
from tests.unit.signalq.test_outcome import BARE, DEAD

BROKER = Names("desk")
DOCUMENT: dict[str, Any] = asyncapi_document(BROKER, reasons=get_args(Reason), delay_max_s=60)
MESSAGES = DOCUMENT["components"]["messages"]


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    """AsyncAPI's own JSON Schema of a document of this version, bindings and all."""
    schemas = package(ASYNCAPI, "@asyncapi/specs") / "schemas"
    version = DOCUMENT["asyncapi"]
    return Draft7Validator(json.loads((schemas / f"{version}-without-$id.json").read_text(encoding="utf-8")))


def test_asyncapis_own_schema_takes_it(official: Draft7Validator) -> None:
    found = [f"{error.json_path}: {error.message}" for error in official.iter_errors(DOCUMENT)]
    assert found == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("asyncapi", "2.6.0"),
        ("info/version", 1),
        ("channels/orders/colour", "red"),
        ("channels/orders/bindings/amqp/exchange/type", "silly"),
        ("operations/takeOrder/action", "take"),
        ("operations/takeOrder/bindings/amqp/deliveryMode", 3),
        ("components/messages/orderIntent/payload/schemaFormat", 5),
    ],
)
def test_one_with_a_mistake_would_be_found(official: Draft7Validator, path: str, value: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    *folders, name = path.split("/")
    part = document
    for folder in folders:
        part = part[folder]
    part[name] = value
    assert not official.is_valid(document)


def test_every_schema_in_it_is_one_by_its_own_dialect_and_takes_the_examples() -> None:
    """AsyncAPI's schema doesn't look into a schema of another format."""
    for message in MESSAGES.values():
        Draft202012Validator.check_schema(message["headers"])
        if "payload" in message:
            Draft202012Validator.check_schema(message["payload"]["schema"])
            payload = Draft202012Validator(message["payload"]["schema"])
            assert all(payload.is_valid(example["payload"]) for example in message.get("examples", []))


def references(part: Any) -> Iterator[str]:
    """Every $ref in the document."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def found(reference: str) -> Any:
    """The object that a $ref points at."""
    part: Any = DOCUMENT
    for key in reference.removeprefix("#/").split("/"):
        part = part[key]
    return part


def test_the_document_has_every_part_that_asyncapi_3_requires() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}


def test_every_reference_leads_somewhere() -> None:
    assert len(list(references(DOCUMENT))) == 9
    assert all(found(reference) for reference in references(DOCUMENT))


def test_every_parameter_of_an_address_is_described_and_no_other() -> None:
    for channel in DOCUMENT["channels"].values():
        assert re.findall(r"{(\w+)}", channel["address"]) == list(channel.get("parameters", {}))


def test_the_channels_are_those_of_the_prefix() -> None:
    channels = DOCUMENT["channels"]
    exchanges = {name: channels[name]["bindings"]["amqp"]["exchange"] for name in ("orders", "outcomes")}
    assert (exchanges["orders"]["name"], exchanges["orders"]["type"]) == (BROKER.orders, "direct")
    assert (exchanges["outcomes"]["name"], exchanges["outcomes"]["type"]) == (BROKER.outcomes, "topic")
    assert (
        channels["deadLetters"]["address"]
        == channels["deadLetters"]["bindings"]["amqp"]["queue"]["name"]
        == BROKER.dead
    )


def test_the_address_of_outcomes_is_their_routing_key() -> None:
    address = DOCUMENT["channels"]["outcomes"]["address"]
    assert address.format(connectorName="main", strategy="s", status="dead") == routing_key("main", "s", "dead")
    assert DOCUMENT["channels"]["outcomes"]["parameters"]["status"]["enum"] == list(STATUSES)


def test_the_schema_of_the_intent_is_the_one_that_is_printed_alone() -> None:
    assert MESSAGES["orderIntent"]["payload"] == {
        "schemaFormat": SCHEMA_FORMAT,
        "schema": intent_schema(delay_max_s=60),
    }


def test_the_schema_of_an_outcome_has_its_fields_and_takes_its_events() -> None:
    schema = MESSAGES["outcome"]["payload"]["schema"]
    assert all(Draft202012Validator(schema).is_valid(outcome.row()) for outcome in (DEAD, BARE))
    assert list(schema["properties"]) == schema["required"] == [field.name for field in fields(Outcome)]
    kinds = {"string": str, "integer": int, "null": type(None)}
    for outcome in (DEAD, BARE):
        for name, value in outcome.row().items():
            rule = schema["properties"][name]
            allowed = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
            assert isinstance(value, tuple(kinds[kind] for kind in allowed)), name
            assert value in rule.get("enum", [value])


def test_the_reasons_are_the_consumers() -> None:
    assert MESSAGES["deadLetter"]["headers"]["properties"][names.REASON]["enum"] == list(get_args(Reason))
    assert MESSAGES["outcome"]["payload"]["schema"]["properties"]["reason"]["enum"] == [*get_args(Reason), None]


def test_every_field_and_header_says_what_it_is() -> None:
    for message in MESSAGES.values():
        rules = [*message["headers"]["properties"].values()]
        rules += message.get("payload", {}).get("schema", {}).get("properties", {}).values()
        assert all(rule["description"] for rule in rules)
