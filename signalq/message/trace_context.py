"""The trace context that a producer gives an order: https://www.w3.org/TR/trace-context/#traceparent-header."""

import re

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
# The first version has no further parts.
_FIRST_VERSION = "00-"


def trace_id_of(traceparent: object) -> bytes | None:
    """The id of the trace, of 16 bytes; None where the header is not there, or is no valid one."""
    if not isinstance(traceparent, str) or (found := _TRACEPARENT.fullmatch(traceparent)) is None:
        return None
    return None if found[2] and traceparent.startswith(_FIRST_VERSION) else bytes.fromhex(found[1])
