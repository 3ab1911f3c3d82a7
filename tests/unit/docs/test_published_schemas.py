"""docs/schema/ holds what `signalq schema` prints."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from signalq.ops.__main__ import main
from tests.support.published import COMMAND, FOLDER, published


@pytest.mark.parametrize("file", published(), ids=lambda file: file.name)
def test_a_published_schema_equals_the_one_in_the_code(file: Path) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    assert text == published()[file], f"{file.name} is of an older state of the code: `{COMMAND}` writes it anew"


def test_nothing_else_is_published() -> None:
    assert set(FOLDER.iterdir()) == set(published())


@pytest.mark.parametrize(
    ("name", "arguments"), [("intent.schema.json", ["schema"]), ("asyncapi.json", ["schema", "--asyncapi"])]
)
def test_the_published_schemas_equal_the_output_of_the_command(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("SIGNALQ_CONFIG", "SIGNALQ_BROKER__PREFIX", "SIGNALQ_DELIVERY__DELAY_MAX_S"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "argv", ["signalq", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in {None, 0}
    assert capsys.readouterr().out == published()[FOLDER / name]
