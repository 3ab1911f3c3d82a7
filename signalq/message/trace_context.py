"""The trace context that a producer gives an order: https://www.w3.org/TR/trace-context/#traceparent-header."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
# The first version has no further parts.
_FIRST_VERSION = "00-"


@dataclass(frozen=True, slots=True)
class TraceParent:
    """The span that a producer's `traceparent` names, and its trace; each as the header writes it."""

    trace: str
    span: str
    flags: str

    @property
    def trace_id(self) -> bytes:
        """The id of the trace, of 16 bytes."""
        return bytes.fromhex(self.trace)

    def header(self) -> str:
        """The header anew, in its first version: what a later one may have behind the flags is foreign text."""
        return f"{_FIRST_VERSION}{self.trace}-{self.span}-{self.flags}"


def traceparent_of(header: object) -> TraceParent | None:
    """Read the header; None where it is not there, or is no valid one."""
    if not isinstance(header, str) or (found := _TRACEPARENT.fullmatch(header)) is None:
        return None
    if found[4] and header.startswith(_FIRST_VERSION):
        return None
    return TraceParent(found[1], found[2], found[3])
