"""The consumer with a ledger that forgets: what is left is what the durable one costs."""

from __future__ import annotations

import sys

from signalq.consumer.__main__ import run
from signalq.consumer.ledger.memory import MemoryLedger
from signalq.settings.sources import load_settings

if __name__ == "__main__":
    sys.exit(run(load_settings(), lambda _settings, _metrics, _skew: MemoryLedger()))
