"""What a command raises when it could not do what it was asked."""

from __future__ import annotations

from signalq.errors import SignalQError


class CommandFailed(SignalQError):
    """The command did not do it; the sentence says why, and what to do."""
