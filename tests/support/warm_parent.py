"""The parent of warm processes: it has imported what our programs import, and forks one for each request.

Started by tests.support.warm with its end of a socket; ends when the other end is closed. A request is a JSON object
(module, arguments, environment) with four descriptors: the child's stdin, stdout and stderr, and a pipe that is told
the child's pid and, when it has ended, its exit status, a line each.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

REQUEST_BYTES_MAX = 200_000
# What `python -m consumer` and the commands come to import sooner or later.
IMPORTED = (
    "asyncpg",
    "signalq.consumer.__main__",
    "signalq.consumer.ledger.migrate",
    "signalq.consumer.ledger.client",
    "signalq.ops.__main__",
    "signalq.ops.console.site",
    "signalq.ops.terminal.cli",
    "signalq.producers.gateway.server",
    "rich.table",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
)


@dataclass(frozen=True)
class Request:
    """One process to be."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    descriptors: list[int]


class Parent:
    """Forks, and tells each child's end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Fork for each request. Returns a request in the child that is to become it, None when all is over."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._tell_end(key)
                    continue
                request = _received(self._control)
                if request is None:
                    return None
                if self._forked(request):
                    return request

    def _forked(self, request: Request) -> bool:
        """Fork; whether this is the child now."""
        *standard, report = request.descriptors
        pid = os.fork()
        if pid == 0:
            self._let_go()
            os.close(report)
            return True
        for descriptor in standard:
            os.close(descriptor)
        _tell(report, pid)
        self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, report))
        return False

    def _let_go(self) -> None:
        """Close all that belongs to the parent."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._control:
                os.close(key.fd)
                os.close(key.data[1])
        self._selector.close()
        self._control.close()

    def _tell_end(self, key: selectors.SelectorKey) -> None:
        pid, report = key.data
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(key.fileobj)
        os.close(key.fd)
        _tell(report, os.waitstatus_to_exitcode(status))
        os.close(report)


def _received(control: socket.socket) -> Request | None:
    message, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, 4)
    if not message:
        return None
    asked: dict[str, Any] = json.loads(message)
    return Request(asked["module"], asked["arguments"], asked["environment"], descriptors)


def _tell(report: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(report, f"{number}\n".encode())


def _become(request: Request) -> None:
    """Be `python -m MODULE ARGUMENTS` from here on."""
    for standard, descriptor in enumerate(request.descriptors[:3]):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    # Made anew, as the interpreter makes them for what they lead to: a file, a pipe or a terminal.
    sys.stdin = sys.__stdin__ = _opened(sys.stdin, "r")
    sys.stdout = sys.__stdout__ = _opened(sys.stdout, "w")
    sys.stderr = sys.__stderr__ = _opened(sys.stderr, "w")
    os.environ.clear()
    os.environ.update(request.environment)
    # Each TLS context reads the system's file of certificates (0.02 s); no test speaks TLS with a stranger.
    os.environ.setdefault("SSL_CERT_FILE", os.devnull)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [request.module, *request.arguments]
    sys.modules.pop(f"{request.module}.__main__", None)  # it is run as __main__, as it would be
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        if not isinstance(error.code, int | None):
            raise
        status = error.code or 0
    _end(status)


def _end(status: int) -> None:
    """End as the interpreter does, in its order, but leave the modules as they are: to take a thousand of them apart,
    which the parent still needs, costs 0.06 s and as many copies of its memory.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    gc.collect()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)  # the interpreter has words and a status for it
    os._exit(status & 0xFF)


def _opened(before: TextIO, mode: str) -> TextIO:
    """The standard stream that takes the place of `before`."""
    descriptor = before.fileno()
    buffering = 1 if descriptor == 2 or os.isatty(descriptor) else -1
    return open(descriptor, mode, buffering, encoding=before.encoding, errors=before.errors, closefd=False)


def main() -> None:
    # A person's Ctrl-C ends the tests, which still need their processes to end in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = Parent(socket.socket(fileno=int(sys.argv[1]))).serve()
    if request is not None:
        _become(request)


if __name__ == "__main__":
    main()
