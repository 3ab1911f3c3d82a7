"""Run the code of a notebook without Jupyter: `python -m tests.support.notebook FILE NAME…`.

Its cells have plain Python alone. Prints the values of these names as JSON, as pandas writes them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl


def cells(notebook: Path) -> list[str]:
    """The source of each cell of code, in their order."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def main() -> None:
    """Run it, and print what was asked for."""
    notebook, *names = sys.argv[1:]
    mpl.use("Agg")
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, source in enumerate(cells(Path(notebook)), start=1):
        exec(compile(source, f"{notebook}, cell of code {number}", "exec"), space)  # noqa: S102 - our own notebook
    print(json.dumps({name: json.loads(space[name].to_json(orient="split")) for name in names}))  # noqa: T201


if __name__ == "__main__":
    main()
