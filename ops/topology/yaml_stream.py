"""Manifests as YAML for people to read: they hold nothing but mappings, texts, numbers and truth values.

So little needs no library at run time. A text is plain only if no reader could take it for anything else; all others
are in JSON's quotes, in ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
# YAML 1.1 reads these as truth values, nothing or numbers.
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def yaml_stream(documents: Iterable[Mapping[str, Any]]) -> str:
    """The documents one after the other, each begun by `---`."""
    return "".join("---\n" + "".join(f"{line}\n" for line in _lines(document)) for document in documents)


def _lines(mapping: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)  # an empty mapping, a number or a truth value: JSON's are YAML's, too
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    # JSON has no escape for characters beyond the first 65,536; YAML has.
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False))
