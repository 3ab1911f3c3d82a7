"""Rows kept until they are shown, on disk if they are many.

They are shown after the reading: a person who pages through them must not keep the queue or the connection waiting.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Self

from signalq.ops.terminal.render import Row

IN_MEMORY_BYTES_MAX = 1 << 20


class Spool:
    """Rows of plain values, as many as the disk holds, in a file without a name; use it as a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES_MAX, "w+", encoding="ascii")  # noqa: SIM115
        self._rows = 0

    def add(self, row: Row) -> None:
        """Keep one more row."""
        self._file.write(json.dumps(dict(row)) + "\n")
        self._rows += 1

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()
