"""What the scripts of a page hold on to, by a snapshot of its heap.

The size of the whole heap tells less: the engine compiles what runs often and fills caches of its own, so that it grows
by a tenth and more while the page holds exactly what it held before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from playwright.async_api import CDPSession

# The kinds of nodes that are no script's: compiled code, and the shapes by which the engine finds fields.
ENGINES_KINDS = frozenset({"code", "hidden", "object shape", "synthetic"})
# What the browser has for itself; an object that it gives to scripts has a name as they know it, such as Response.
BROWSERS_NAMES = ("blink::", "cppgc::", "system / ")
# A string's text, where the browser and the scripts share it, as that of an answer.
TEXT = "system / ExternalStringData"
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
    return sum(size for kind, name, size in nodes if _is_held(kinds[kind], strings[name]))


def _is_held(kind: str, name: str) -> bool:
    is_browsers = kind == "native" and name.startswith(BROWSERS_NAMES)
    return name == TEXT or not (is_browsers or kind in ENGINES_KINDS)
