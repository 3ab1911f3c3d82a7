"""`python -m tests.support.set_clock [COMMAND]`: the consumer, or this command of signalq, on a machine whose clock
somebody sets.

The file that SET_CLOCK names holds the seconds that its wall clock is ahead of the real one; it may be written at any
time. The clock that nobody sets goes on as it is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

FILE = "SET_CLOCK"
_real_ns = time.time_ns


def _ahead_ns() -> int:
    try:
        return int(float(Path(os.environ[FILE]).read_text("ascii") or 0) * 1e9)
    except (OSError, ValueError):  # it is just being written
        return _ahead_ns.last  # type: ignore[attr-defined, no-any-return]


_ahead_ns.last = 0  # type: ignore[attr-defined]


def _now_ns() -> int:
    _ahead_ns.last = _ahead_ns()  # type: ignore[attr-defined]
    return _real_ns() + _ahead_ns.last  # type: ignore[attr-defined, no-any-return]


if __name__ == "__main__":
    time.time_ns = _now_ns
    time.time = lambda: _now_ns() / 1e9
    if sys.argv[1:]:
        from signalq.ops.__main__ import main
    else:
        from signalq.consumer.__main__ import main

    sys.exit(main())
