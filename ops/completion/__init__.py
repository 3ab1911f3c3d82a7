"""Answers for a shell that completes a `signalq` command line: quick enough for a Tab, and silent in any case.

The commands and their options are in commands.json, which `./run docs` makes of the command line itself (table.py).
Nothing else here imports click, pydantic or SQLAlchemy. A Tab writes nothing, and asks no server but the ledger's.
"""

ASKS = "_SIGNALQ_COMPLETE"
"""The variable by which a shell's script asks; it names the shell."""
