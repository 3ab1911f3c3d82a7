"""Marks: how far a file was read, and whether it is still the same up to there."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from signalq.errors import SignalQError
from signalq.kinds import Kind


class FileChanged(SignalQError):
    """The file is no longer the same up to the mark; no line behind the mark was read."""

    kind = Kind.FILE_CHANGED


@dataclass(frozen=True, slots=True)
class Mark:
    """The first `lines` lines of a file, and a digest of them without their line endings."""

    lines: int
    digest: str


class MarkedLines:
    """Passes lines on, and marks how far they were read.

    With `expected`, raises FileChanged before the first line behind that mark, if the lines up to it are fewer or have
    changed. A last line without a line ending may get one later, and nothing else.
    """

    def __init__(self, lines: Iterable[bytes], *, expected: Mark | None = None) -> None:
        self._lines = lines
        self._expected = expected
        self._read = 0
        self._digest = hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[bytes]:
        for line in self._lines:
            self._check(is_end=False)
            self._read += 1
            self._digest.update(line.rstrip(b"\r\n") + b"\n")
            yield line
        self._check(is_end=True)

    def mark(self) -> Mark:
        """The mark behind the line that was passed on last."""
        return Mark(self._read, self._digest.hexdigest())

    def _check(self, *, is_end: bool) -> None:
        expected = self._expected
        if expected is None or (self._read != expected.lines and not (is_end and self._read < expected.lines)):
            return
        if self.mark() != expected:
            raise FileChanged(f"the first {expected.lines:,} lines are no longer those that were published")
