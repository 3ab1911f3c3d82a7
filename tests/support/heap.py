"""What the scripts of a page hold on to, by a snapshot of its heap.

The size of the whole heap tells less: the engine compiles what runs often and fills caches of its own, so that it grows
by a tenth and more while the page holds exactly what it held before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from playwright.async_api import CDPSession

# The kinds of what a script makes.
KINDS = frozenset(
    {
        "array",
        "bigint",
        "closure",
        "concatenated string",
        "number",
        "object",
        "regexp",
        "sliced string",
        "string",
        "symbol",
    }
)
# What the browser makes for it: the text of an answer, and objects by their names. Nodes of the document and listeners
# have counters of their own, and each grows a little when a script first looks at it.
NAMES = frozenset(
    {"system / ExternalStringData", "AbortController", "AbortSignal", "Headers", "MessageEvent", "Request", "Response"}
)
_CHUNK = "HeapProfiler.addHeapSnapshotChunk"


async def held_bytes(cdp: CDPSession) -> int:
    """The size of all that the scripts of this page hold on to, after the garbage was collected."""
    chunks: list[str] = []

    def keep(event: Mapping[str, str]) -> None:
        chunks.append(event["chunk"])

    cdp.on(_CHUNK, keep)
    await cdp.send("HeapProfiler.collectGarbage")
    await cdp.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    cdp.remove_listener(_CHUNK, keep)
    return _held(json.loads("".join(chunks)))


def _held(snapshot: Mapping[str, Any]) -> int:
    """The nodes of a snapshot are one long list of numbers, so many for each."""
    meta, strings = snapshot["snapshot"]["meta"], snapshot["strings"]
    fields, kinds = meta["node_fields"], meta["node_types"][0]

    def column(name: str) -> Sequence[int]:
        numbers: Sequence[int] = snapshot["nodes"][fields.index(name) :: len(fields)]
        return numbers

    nodes = zip(column("type"), column("name"), column("self_size"), strict=True)
    return sum(size for kind, name, size in nodes if kinds[kind] in KINDS or strings[name] in NAMES)
