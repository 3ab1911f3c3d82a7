"""The servers of one round: a private RabbitMQ, a folder, and a private PostgreSQL where one is needed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import POSTGRESQL
from benchmarks.progress import progress
from signalq.local import PrivatePostgres, PrivateRabbitMQ, ensure_installed, ensure_postgres_installed


@dataclass(frozen=True, slots=True)
class Site:
    """The broker, a folder, and the address of each database that is there for ledgers, by its kind."""

    broker_url: str
    folder: Path
    ledger_urls: Mapping[str, str]


@contextmanager
def new_site(*, postgres: bool) -> Iterator[Site]:
    """Start the servers, all of them new and empty."""
    progress("starting the servers")
    with ExitStack() as servers:
        broker = servers.enter_context(PrivateRabbitMQ(ensure_installed(progress)))
        folder = servers.enter_context(tempfile.TemporaryDirectory(prefix="signalq-bench-"))
        urls: dict[str, str] = {}
        if postgres:
            urls[POSTGRESQL] = servers.enter_context(PrivatePostgres(ensure_postgres_installed(progress))).url
        yield Site(broker.url, Path(folder), urls)
