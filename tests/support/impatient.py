"""`python -m tests.support.impatient`: the consumer, but no message stays unacknowledged for more than UNACKED_S."""

from __future__ import annotations

import sys

from signalq.consumer.__main__ import run
from signalq.settings.sources import load_settings

UNACKED_S = 1.5

if __name__ == "__main__":
    sys.exit(run(load_settings(), unacked_max_s=UNACKED_S))
