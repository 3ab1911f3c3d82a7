"""The identity of a line: a hash of its bytes and of how many equal lines came before it.

So the same file published again gives the same identities, and the consumer drops them as duplicates.
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref

# Of the table that counts equal lines, so much is in memory; the rest is in a file without a name.
IN_MEMORY_KIB_MAX = 8_192
DIGEST_BYTES = 16


class Identities:
    """A stable identity for each line; another `salt` gives others, so that the same file is ordered once more.

    Its memory is bounded however long the file is. One thread at a time may use it.
    """

    def __init__(self, salt: bytes = b"") -> None:
        self._salt = salt
        self._seen: sqlite3.Connection | None = None

    def of(self, content: bytes) -> str:
        """The identity of the next line with this content."""
        digest = hashlib.sha256(content).digest()[:DIGEST_BYTES]
        numbered = self._salt + digest + str(self._count(digest)).encode()
        return hashlib.sha256(numbered).hexdigest()[:32]

    def _count(self, digest: bytes) -> int:
        """How many lines like this there were, with this one."""
        if self._seen is None:
            self._seen = _table()
            weakref.finalize(self, self._seen.close)
        statement = "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
        ((times,),) = self._seen.execute(statement, (digest,)).fetchall()
        return int(times)


def _table() -> sqlite3.Connection:
    """A table that nobody else sees, and that is gone with this process."""
    table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for pragma in (f"cache_size = -{IN_MEMORY_KIB_MAX}", "journal_mode = OFF", "synchronous = OFF"):
        table.execute(f"PRAGMA {pragma}")
    table.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
    # Never committed: it is nobody's record.
    table.execute("BEGIN")
    return table
