"""The error of a command that could not do its work."""

from __future__ import annotations

from signalq.errors import SignalQError


class CommandFailed(SignalQError):
    """The command failed; the sentence says why, and what to do."""
