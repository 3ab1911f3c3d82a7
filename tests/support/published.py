"""The schemas as docs/ publishes them, for people and programs that have no signalq at hand.

`./run docs` writes them anew; tests/unit/docs/test_published_schemas.py fails where they are not what the code says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from signalq.consumer.orders.state import Reason
from signalq.documents.asyncapi import asyncapi_document
from signalq.documents.json_schema import intent_schema
from signalq.names import Names
from signalq.settings.sections import SECTIONS

FOLDER = Path(__file__).parents[2] / "docs" / "schema"
COMMAND = "./run docs"


def published() -> dict[Path, str]:
    """The text of each file, as `signalq schema` prints it where nothing is set."""
    delay_max_s: int = SECTIONS["delivery"].model_fields["delay_max_s"].default
    prefix: str = SECTIONS["broker"].model_fields["prefix"].default
    documents = {
        "intent.schema.json": intent_schema(delay_max_s=delay_max_s),
        "asyncapi.json": asyncapi_document(Names(prefix), reasons=get_args(Reason), delay_max_s=delay_max_s),
    }
    return {FOLDER / name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for file, text in published().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
