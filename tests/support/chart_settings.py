"""The part of the chart's values.schema.json that is about signalq's own settings, from the settings themselves.

`python -m tests.support.chart_settings` writes it anew, after a setting was added or changed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from signalq.settings.base import Section
from signalq.settings.sections import NAMED_SECTIONS, SECTIONS

SCHEMA = Path(__file__).parents[2] / "deploy" / "helm" / "signalq" / "values.schema.json"

# What the chart sets by itself: where its HTTP listens, and whatever is secret.
CHARTS_OWN_SECTIONS = frozenset({"ops"})
CHARTS_OWN_KEYS = frozenset({"gateway.host", "gateway.port", "console.host", "console.port"})
# What only says how pydantic reads a value, or what it is when it is absent.
_NO_BOUND = frozenset({"title", "default", "description", "format"})


def settings_schema() -> dict[str, Any]:
    """The schema of the chart's value `settings`, with the bounds of signalq/settings/."""
    sections = {name: _section(name, model) for name, model in SECTIONS.items() if name not in CHARTS_OWN_SECTIONS}
    return {"type": "object", "additionalProperties": False, "properties": sections}


def _section(name: str, model: type[Section]) -> dict[str, Any]:
    fields = model.model_json_schema()["properties"]
    secrets = set(model.secrets())
    properties = {
        field: _bounds(said)
        for field, said in fields.items()
        if field not in secrets and f"{name}.{field}" not in CHARTS_OWN_KEYS
    }
    if "token" in secrets:
        properties["tokenSecret"] = {"$ref": "#/definitions/secretKey"}
    table = {"type": "object", "additionalProperties": False, "properties": properties}
    return {"type": "object", "additionalProperties": table} if name in NAMED_SECTIONS else table


def _bounds(said: dict[str, Any]) -> dict[str, Any]:
    """One type with its bounds: of `X | None` it is X, of a decimal the number."""
    if "anyOf" in said:
        return _bounds(said["anyOf"][0])
    kept = {key: value for key, value in said.items() if key not in _NO_BOUND}
    if "items" in kept:
        kept["items"] = _bounds(kept["items"])
    return kept


def main() -> None:
    """Write it into the chart's schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["settings"] = settings_schema()
    SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
