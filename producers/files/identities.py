"""The identity of a line: a hash of its source (a file or a batch), of its number there, and of its bytes.

So the same file published again gives the same identities, and the consumer drops them as duplicates; an equal line of
another file, or at another place of this one, is another order.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Self

CHARACTERS = 32


class Identities:
    """A stable identity for each line of a source; with another `salt` the lines are new orders."""

    def __init__(self, source: bytes, salt: bytes = b"") -> None:
        self._source = hashlib.sha256(source).digest() + hashlib.sha256(salt).digest()

    @classmethod
    def of_file(cls, file: Path, salt: bytes = b"") -> Self:
        """The identities of a file, by its absolute path: links are followed, so all its names give the same."""
        return cls(b"file\0" + os.fsencode(file.resolve()), salt)

    @classmethod
    def of_batch(cls, name: str, salt: bytes = b"") -> Self:
        """The identities of a batch, by the name that its publisher gave it, wherever its lines come from."""
        return cls(b"batch\0" + name.encode(), salt)

    def of(self, line: int, content: bytes) -> str:
        """The identity of the line with this number and this content."""
        return hashlib.sha256(self._source + str(line).encode() + b"\0" + content).hexdigest()[:CHARACTERS]
