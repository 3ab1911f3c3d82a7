"""`python -m tests.support.brisk publish …`: the command, but its goodbye to a broker that does not answer is short."""

from __future__ import annotations

from signalq.amqp import transport
from signalq.ops.__main__ import main

GOODBYE_TIMEOUT_S = 0.5

if __name__ == "__main__":
    transport.GOODBYE_TIMEOUT_S = GOODBYE_TIMEOUT_S
    main()
