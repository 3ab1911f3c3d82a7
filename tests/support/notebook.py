"""The code of a notebook, run without Jupyter: its cells have plain Python alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def cells(notebook: Path) -> list[str]:
    """The source of each cell of code, in their order."""
    found = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


def run_cells(notebook: Path) -> dict[str, Any]:
    """Run it in this process, with its environment; the names that it leaves."""
    # Imported here: they take a second.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    space: dict[str, Any] = {"__name__": "__main__"}
    try:
        for number, source in enumerate(cells(notebook), start=1):
            exec(compile(source, f"{notebook}, cell of code {number}", "exec"), space)  # noqa: S102 - our own notebook
    finally:
        plt.close("all")
    return space
