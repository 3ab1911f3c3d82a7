"""The gateway's OpenAPI document: what the meta-schema asks for, and what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from signalq.errors import Problem
from signalq.message.intent import FIELD_NAMES
from signalq.producers.gateway.answers import STATUSES, WEBHOOK_PATH, problem_details
from signalq.producers.gateway.openapi import RETRY_STATUSES, openapi_document
from tests.unit.docs.test_docs import DOCS, rows

DOCUMENT: dict[str, Any] = openapi_document(url="http://127.0.0.1:8081", delay_max_s=60)
POST = DOCUMENT["paths"][WEBHOOK_PATH]["post"]
SCHEMAS = DOCUMENT["components"]["schemas"]
GATEWAY = DOCS / "gateway.md"


def references(part: Any) -> Iterator[str]:
    """Every $ref in the document."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    wanted = set(references(DOCUMENT))
    there = {f"#/components/{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert wanted == there


def test_the_document_is_json_and_its_schemas_are_schemas() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("secret", [True, False])
def test_every_parameter_of_a_path_is_described_and_no_other(secret: bool) -> None:
    for path, operations in openapi_document(url="http://x", with_path_secret=secret)["paths"].items():
        for operation in operations.values():
            assert re.findall(r"{(\w+)}", path) == [one["name"] for one in operation.get("parameters", [])]


def test_the_order_is_the_intent_with_a_token() -> None:
    order = SCHEMAS["OrderIntent"]
    assert sorted(order["properties"]) == sorted(FIELD_NAMES)
    assert order["properties"]["delaySeconds"]["anyOf"][0]["maximum"] == 60
    validator = jsonschema.Draft202012Validator(order)
    for example in order["examples"]:
        assert validator.is_valid(example)
        assert not validator.is_valid(example | {"connectorToken": None})
        assert not validator.is_valid({name: example[name] for name in example if name != "connectorToken"})


def test_a_request_is_an_order_or_an_array_of_1_to_20() -> None:
    schemas = {"Orders": SCHEMAS["Orders"], "components": {"schemas": SCHEMAS}, "$ref": "#/Orders"}
    validator = jsonschema.Draft202012Validator(schemas)
    order = SCHEMAS["OrderIntent"]["examples"][0]
    for good in (order, [order], [order] * 20):
        assert validator.is_valid(good)
    for bad in ([], [order] * 21, [order, {}], [[order]], "text", order | {"time": 1}):
        assert not validator.is_valid(bad)


def test_a_time_field_is_in_the_document_of_a_gateway_that_has_one() -> None:
    order = openapi_document(url="http://x", time_field="at")["components"]["schemas"]["OrderIntent"]
    validator = jsonschema.Draft202012Validator(order)
    for time in ("2026-01-31T12:00:00Z", 1_769_860_800_000, None):
        assert validator.is_valid(order["examples"][0] | {"at": time})
    assert not validator.is_valid(order["examples"][0] | {"at": 1.5})
    assert not validator.is_valid(order["examples"][0] | {"time": 1})


def test_every_status_is_documented_here_and_on_the_gateways_page() -> None:
    assert {int(status) for status in POST["responses"]} == set(STATUSES)
    on_page = {int(number) for row in rows(GATEWAY, "## Answers") for number in re.findall(r"\d{3}", row[0])}
    assert on_page == set(STATUSES)
    assert "`ok`" in next(row[0] for row in rows(GATEWAY, "## Answers") if "200" in row[0])


def test_a_refusal_looks_as_the_document_says() -> None:
    validator = jsonschema.Draft202012Validator(SCHEMAS["Problem"])
    for status in STATUSES:
        if status >= 400:
            validator.validate(problem_details(status, [Problem("percent", "is too much"), Problem(None, "is wrong")]))
            validator.validate(problem_details(status, [Problem("percent", "is too much")], 20))
    for status in RETRY_STATUSES:
        assert "Retry-After" in DOCUMENT["components"]["responses"][f"Refused{status}"]["headers"]
