"""The output of the demo: chapters with lines, tables and checks; or the same as JSON lines."""

from __future__ import annotations

from signalq.ops.terminal.render import Column, console, print_json, print_rows


class Story:
    """Shows the demo as it goes on."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._out = console()
        self._step = 0

    def step(self, text: str) -> None:
        """Begin a new chapter."""
        self._step += 1
        if self._as_json:
            print_json({"step": self._step, "text": text})
        else:
            self._out.print(f"\n{self._step}  {text}", style="bold")

    def line(self, text: str) -> None:
        """Show a line within a chapter."""
        if not self._as_json:
            self._out.print(f"   {text}", style="dim")

    def table(self, columns: list[Column], rows: list[dict[str, object]]) -> None:
        """Show rows within a chapter."""
        print_rows(columns, rows, as_json=self._as_json)

    def check(self, text: str, *, holds: bool) -> bool:
        """Show one thing that should hold, and return whether it does."""
        if self._as_json:
            print_json({"check": text, "holds": holds})
        else:
            self._out.print(f"   {'ok' if holds else 'NO'}  {text}", style="green" if holds else "bold red")
        return holds
