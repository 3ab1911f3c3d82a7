"""`python -m tests.support.hasty WHAT`: the consumer, but it is sooner to pass lanes on (`spread`), or to give them up
while its ledger is lost (`lifeline`).

What it waits for is the same; how long is a number. The numbers that users have are tried by `./run faults`.
"""

from __future__ import annotations

import sys

from signalq.consumer.__main__ import main
from signalq.consumer.replicas import assignment, rebalancer

SETTLE_S, HOLD_S, REBALANCE_PERIOD_S, LEDGER_LOST_S = 1.0, 0.5, 0.5, 2.0

if __name__ == "__main__":
    what = sys.argv.pop()
    if what == "spread":
        assignment.SETTLE_S = SETTLE_S
        assignment.HOLD_S = HOLD_S
        rebalancer.REBALANCE_PERIOD_S = REBALANCE_PERIOD_S
    else:
        rebalancer.LEDGER_LOST_S = LEDGER_LOST_S
    sys.exit(main())
