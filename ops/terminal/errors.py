"""The exit statuses, and the error of a command that could not do its work."""

from signalq.errors import SignalQError

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class CommandFailed(SignalQError):
    """The command failed; the sentence says why, and what to do."""
