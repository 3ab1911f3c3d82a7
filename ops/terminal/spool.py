"""The rows of a listing, however many: read more than once, and in any order."""

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Protocol, Self

from signalq.ops.terminal.plain import Row

SPOOLED_IN_MEMORY_BYTES_MAX = 1 << 20


class Rows(Protocol):
    """Rows that can be read more than once: a table is measured first, and then written row by row."""

    def __iter__(self) -> Iterator[Row]:
        """All of them, in their order."""

    def __len__(self) -> int:
        """How many there are."""


class Spool:
    """Rows of plain values, kept until they are shown, on disk if they are many; use it as a context manager.

    Rows are shown after the reading: a person who pages through them must not keep the queue or the connection waiting.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOLED_IN_MEMORY_BYTES_MAX, "w+b")  # noqa: SIM115
        self._bytes = 0
        self._places = array("Q")

    def add(self, row: Row) -> None:
        """Keep one more row."""
        line = json.dumps(dict(row)).encode() + b"\n"
        self._file.seek(self._bytes)
        self._file.write(line)
        self._places.append(self._bytes)
        self._bytes += len(line)

    def extend(self, rows: Iterable[Row]) -> None:
        """Keep these, too."""
        for row in rows:
            self.add(row)

    def in_order(self, numbers: Iterable[int]) -> Rows:
        """These rows, each by its number, in this order."""
        return _Picked(self._file, array("Q", [self._places[number] for number in numbers]))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        return iter(_Picked(self._file, self._places))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the rows."""
        self._file.close()


class _Picked:
    """Lines of a file, by their places."""

    def __init__(self, file: IO[bytes], places: Sequence[int]) -> None:
        self._file = file
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        for place in self._places:
            self._file.seek(place)
            yield json.loads(self._file.readline())
