"""The consumer with a ledger that forgets: what is left is what the durable one costs."""

from __future__ import annotations

import sys

from consumer.__main__ import run
from consumer.ledger.memory import MemoryLedger
from consumer.settings import load_settings

if __name__ == "__main__":
    sys.exit(run(load_settings(), lambda _settings, _metrics, _skew: MemoryLedger()))
