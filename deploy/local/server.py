"""`PrivateServer`: the life of one private server, in processes that its guard owns; see guard.py."""

import contextlib
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from signalq.local.errors import PrivateBrokerError
from signalq.local.guard import Guard
from signalq.local.ports import hold

_POLL_INTERVAL_S = 0.05
_LAST_WORDS_LINES = 20


class PrivateServer(ABC):
    """A private server: started, stopped, killed and started again, with the same port and data. Not thread-safe."""

    title: ClassVar[str]
    """The server's name in its errors."""
    failure: ClassVar[type[PrivateBrokerError]]
    """The error that it raises."""

    def __init__(self, *, start_timeout_s: float, stop_timeout_s: float) -> None:
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._guard: Guard | None = None
        self._pid: int | None = None

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """The file of its output, over all its starts. Raises `failure` before the first start."""

    @abstractmethod
    def _hire_guard(self) -> Guard:
        """Write what the server reads, and make its guard."""

    @abstractmethod
    def _forget_folder(self) -> None:
        """Forget the folder, which goes as the guard is dismissed."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server takes connections."""

    @property
    def pid(self) -> int:
        """The server's process. Raises `failure` while it does not run."""
        if self._pid is None:
            raise self.failure(f"{self.title} is not running")
        return self._pid

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        with contextlib.suppress(ConnectionError):
            return self._guard is not None and self._guard.is_running()
        return False

    def _hold(self, *ports: int) -> None:
        """Let no other node or server of ours choose these ports while this object lives, also while it is down."""
        if sys.platform == "linux":
            for held in filter(None, map(hold, ports)):
                weakref.finalize(self, held.close)

    def start(self) -> None:
        """Start it and wait until it takes connections; after `kill()` or `stop(keep_data=True)`, with its data.

        Raises `failure`, with the end of its log, as soon as it dies or once `start_timeout_s` has passed.
        """
        if self.is_running:
            return
        try:
            with self._guard_errors():
                self._guard = self._guard or self._hire_guard()
                log_size_before = self.log_path.stat().st_size
                self._pid = self._guard.start()
            self._wait_until_ready(log_size_before)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, keep_data: bool = False) -> None:
        """Stop it in order, and with SIGKILL after `stop_timeout_s`; a temporary folder goes too, unless `keep_data`.

        No process of it is left on return. Stopping a server that does not run is no error.
        """
        self._pid = None
        guard = self._guard
        if guard is None:
            return
        if keep_data:
            with self._guard_errors():
                guard.stop()
        else:
            self._guard = None
            self._forget_folder()
            guard.dismiss()

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a power cut would; its data stays for the next `start()`."""
        self._pid = None
        if self._guard is not None:
            with self._guard_errors():
                self._guard.kill()

    def restart(self) -> None:
        """Stop in order and start again: same port, same data."""
        self.stop(keep_data=True)
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def _guard_errors(self) -> Iterator[None]:
        """Translate the error of a guard that is gone."""
        try:
            yield
        except ConnectionError as error:
            raise self.failure(str(error)) from error

    def _wait_until_ready(self, log_size_before: int) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not self._is_ready():
            if not self.is_running:
                words = self._last_words(log_size_before)
                raise self.failure(f"{self.title} died while it started; its last words:\n{words}")
            if time.monotonic() > deadline:
                words = self._last_words(log_size_before)
                raise self.failure(f"{self.title} was not ready in {self._start_timeout_s:g} s:\n{words}")
            time.sleep(_POLL_INTERVAL_S)

    def _last_words(self, log_size_before: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(log_size_before)
            lines = log.read().decode("utf-8", errors="replace").splitlines()
        first = max(self._first_telling(lines), 0)
        return "\n".join(lines[first : first + _LAST_WORDS_LINES])

    def _first_telling(self, lines: Sequence[str]) -> int:
        """The number of the first line, of those of this start, that tells what went wrong."""
        return len(lines) - _LAST_WORDS_LINES
