"""The contenders of ./run bench: how each is started, what it promises, and why it may be missing here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contender import python
from signalq.local import find_postgres

NODE = Path(__file__).parent / "peers" / "node"


@dataclass(frozen=True, slots=True)
class Contender:
    """A consumer. `ledger` is the database of its ledger; None where it has none, and keeps no order either. Its
    environment has these `variables` besides.
    """

    name: str
    command: Sequence[str]
    ledger: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        """Whether the promises of signalq hold for it."""
        return self.ledger is not None

    @property
    def prefix(self) -> str:
        """Its broker prefix: the broker remembers the ledger that lanes belong to, so there is one for each ledger."""
        return f"bench-{self.ledger or 'peers'}"


SQLITE, POSTGRESQL = "sqlite", "postgresql"
SIGNALQ = Contender("signalq", python("signalq.consumer"), SQLITE)
SIGNALQ_POSTGRESQL = Contender("postgresql", python("signalq.consumer"), POSTGRESQL)
NAIVE = Contender("naive", python("benchmarks.peers.naive"))
FASTSTREAM = Contender("faststream", python("benchmarks.peers.faststream_loop"))
NODE_PEER = Contender("node", ["node", str(NODE / "consume.js")])

CONTENDERS = {one.name: one for one in (SIGNALQ, SIGNALQ_POSTGRESQL, NAIVE, FASTSTREAM, NODE_PEER)}


def why_absent(contender: Contender) -> str | None:
    """One sentence, where it can't run here; else None."""
    if contender is FASTSTREAM and find_spec("faststream") is None:
        return "faststream is left out: it is not installed (pip install 'signalq[bench]')."
    if contender is NODE_PEER and shutil.which("node") is None:
        return "node is left out: there is no Node here."
    if contender is NODE_PEER and not (NODE / "node_modules").is_dir():
        return "node is left out: its packages are not installed (npm ci --prefix benchmarks/peers/node)."
    if contender is SIGNALQ_POSTGRESQL and find_postgres() is None:
        return "postgresql is left out: there is no PostgreSQL (python -m signalq.local install postgres)."
    return None


def present(names: Sequence[str]) -> list[str]:
    """Those of them that can run here; the others are told on standard error."""
    absent = {name: why for name in names if (why := why_absent(CONTENDERS[name]))}
    for why in absent.values():
        sys.stderr.write(f"{why}\n")
    return [name for name in names if name not in absent]
