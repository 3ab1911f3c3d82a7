"""A SQLite ledger as its first start leaves it, but for its id: a copy costs a tenth of all the migrations.

Whoever opens the copy gives it an id, as with any new ledger. What tests the migrations makes its ledgers by itself.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from signalq.consumer.ledger import migrate


def lay_out(url: str) -> None:
    """Put a copy where this URL says, unless something is there, or the URL is another database's."""
    place = make_url(url)
    path = Path(place.database or "")
    if place.get_backend_name() == "sqlite" and path.parent.is_dir() and not path.exists():
        path.write_bytes(_template())


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="signalq-template-") as folder:
        path = Path(folder) / "ledger.db"
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            migrate._bring_up(connection)
        engine.dispose()
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("PRAGMA journal_mode = WAL")
        return path.read_bytes()
