"""Standard streams that are closed at the start, full, or without a reader, handled without surprises.

The interpreter alone would show a traceback for each: a closed stream is None, a full one fails again when it is
flushed at the end, and a file that is opened later takes the number of a closed one.
"""

import io
import os
import sys
from typing import TextIO

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


class _Output(io.FileIO):
    """Standard output: the first write that fails raises, and later ones write nothing."""

    failure: OSError | None = None

    def write(self, data: object) -> int:
        if self.failure is not None:
            return len(data)  # type: ignore[arg-type]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.failure = error
            raise


class _Errors(io.FileIO):
    """Standard error: a write that fails is lost. An order does not wait for a log line."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return len(data)  # type: ignore[arg-type]


class Streams:
    """The standard streams of this process; make one before anything is opened or written."""

    def __init__(self) -> None:
        # In place of a closed stream, one that fails as a closed one does; standard error goes nowhere.
        _fill(_INPUT, os.O_WRONLY)
        _fill(_OUTPUT, os.O_RDONLY)
        _fill(_ERRORS, os.O_WRONLY)
        self._output = _Output(_OUTPUT, "w", closefd=False)
        # False if another program, such as a test, runs the command.
        self.are_own = sys.stdout is None or sys.stdout is sys.__stdout__
        if sys.stdin is None:
            sys.stdin = open(_INPUT, closefd=False)  # noqa: SIM115 - it lives as long as the process
        if self.are_own:
            sys.stdout = _text(self._output, sys.stdout)
        if sys.stderr is None or sys.stderr is sys.__stderr__:
            sys.stderr = _text(_Errors(_ERRORS, "w", closefd=False), sys.stderr)

    @property
    def failure(self) -> OSError | None:
        """The error that ended standard output; None while it works."""
        return self._output.failure


def _fill(descriptor: int, flags: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    """A text stream on `raw`, like the one before; it escapes characters that it can't encode."""
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=before is None or before.isatty() or raw.fileno() == _ERRORS,
        write_through=bool(getattr(before, "write_through", False)),
    )
