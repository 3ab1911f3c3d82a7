"""`python -m signalq` is the command `signalq`."""

from __future__ import annotations

import runpy

if __name__ == "__main__":
    # By name: the library imports nothing of the commands.
    runpy.run_module("signalq.ops", run_name="__main__", alter_sys=True)
