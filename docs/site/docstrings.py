"""The docstrings in the site: names in them become links, and a signature shows the arguments of a caller."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

import signalq
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.publishing.results import INVALID_KEPT_MAX

CLASSES = [name for name in signalq.__all__ if isinstance(getattr(signalq, name), type)]
NAME = re.compile(rf"(?<![\w.`])((?:{'|'.join(CLASSES)})(?:\.\w+)?)\b(?!`)")
PAGE = re.compile(r"\bdocs/([\w/-]+)\.md")
LIMITS = {"IN_FLIGHT_MAX": IN_FLIGHT_MAX, "INVALID_KEPT_MAX": INVALID_KEPT_MAX}
"""Constants that a docstring names, and that no public name holds."""
CALLED = {"signalq.OrderPublisher", "signalq.testing.InMemoryOrderPublisher"}
"""Classes that their users call; all others but those below come to them as results and errors."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    show_plain_types()
    app.connect("autodoc-process-docstring", link_names)
    app.connect("autodoc-process-signature", show_arguments)
    return {"parallel_read_safe": True}


def show_plain_types() -> None:
    """Show a field's type without the validators in it, and the receipt of a result by its own name."""
    as_written = type("AsWritten", (), {"__annotations__": dict(signalq.OrderIntent.__annotations__)})
    signalq.OrderIntent.__annotations__ = get_type_hints(as_written)
    signalq.PublishResult.__annotations__ = {"receipt": signalq.Receipt | None}
    signalq.SyncPublishResult.__annotations__ = {"receipt": signalq.SyncReceipt | None}


def link_names(_app: Sphinx, _what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Link the public classes, their methods, and the pages that a docstring names; a limit is shown by its value."""
    for number, line in enumerate(lines):
        shown = re.sub("|".join(LIMITS), lambda found: str(LIMITS[found[0]]), line)
        linked = NAME.sub(r":py:obj:`\1 <signalq.\1>`", shown)
        lines[number] = PAGE.sub(r":doc:`docs/\1.md </docs/\1>`", linked)


def show_arguments(
    _app: Sphinx, what: str, name: str, thing: Any, _options: Any, arguments: str | None, _returned: str | None
) -> tuple[str, None] | None:
    """The arguments of a class, none for one that is not called; None leaves them as they are."""
    if what not in {"class", "exception"} or name in CALLED or not arguments:
        return None
    if thing is signalq.OrderIntent:
        fields = [one if field.is_required() else f"{one}=None" for one, field in thing.model_fields.items()]
        return f"(*, {', '.join(fields)})", None
    if thing is signalq.SyncOrderPublisher:
        same = signature(signalq.OrderPublisher)
        return stringify_signature(same, show_return_annotation=False, unqualified_typehints=True), None
    return "", None
