"""The real consumer in a process of its own, as an operator would run it.

async with Consumer(broker.url, prefix, hook.url, {"delivery.attempts_max": 3}) as consumer:
    await consumer.started()
    ...                                    # consumer.events("intent.settled"), consumer.get("/readyz"), consumer.kill()

Leaving the block drains it, and fails the test where it does not exit 0, or where it met something it did not foresee.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.support.lanes import note_lanes
from tests.support.ledger_template import lay_out
from tests.support.profiling import spent
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.warm import WarmProcess

REPOSITORY = Path(__file__).parents[2]
START_TIMEOUT_S = PATIENCE_S
EXIT_TIMEOUT_S = PATIENCE_S
HTTP_TIMEOUT_S = 15.0
FREEZE_TIMEOUT_S = PATIENCE_S


_ledgers = tempfile.TemporaryDirectory(prefix="signalq-ledgers-")


def ledger_file(prefix: str) -> Path:
    """The ledger file that all consumers of one prefix share in this test run."""
    return Path(_ledgers.name) / f"{prefix}.db"


def ledger_url(prefix: str) -> str:
    """Its URL."""
    return f"sqlite+aiosqlite:///{ledger_file(prefix)}"


def forget_ledger(prefix: str) -> None:
    """Remove the file, and those that SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        Path(f"{ledger_file(prefix)}{ending}").unlink(missing_ok=True)


class Consumer:
    """One `python -m consumer`, warm unless `is_cold` (see tests.support.warm).

    `settings` are `section.key` to value, `config` the text of its settings file.

    The environment it gets holds no other SIGNALQ_ variable than these. What it writes goes to a file, read as lines
    of JSON.
    """

    # The event by which it says that it is ready.
    READY = "service.started"

    def __init__(
        self,
        broker_url: str,
        prefix: str,
        webhook_url: str | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        config: str = "",
        command: tuple[str, ...] = ("-m", "signalq.consumer"),
        is_cold: bool = False,
    ) -> None:
        chosen: dict[str, object] = {
            "broker.url": broker_url,
            "broker.prefix": prefix,
            "ops.port": 0,
            "ledger.url": ledger_url(prefix),
        }
        if webhook_url is not None:
            chosen["webhook.url"] = webhook_url
        self._settings = chosen | dict(settings or {})
        self._usual_ledger = ledger_url(prefix)
        self._config = config
        note_lanes(prefix, config)
        self._command = command
        self._is_cold = is_cold or command[0] != "-m"
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | WarmProcess | None = None
        self._lines: list[dict[str, Any]] = []
        self._named: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._bytes_read = 0

    # --- its life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process; returns at once."""
        if self._settings["ledger.url"] == self._usual_ledger:
            lay_out(self._usual_ledger)
        self._folder = tempfile.TemporaryDirectory(prefix="signalq-consumer-")
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("SIGNALQ_")}
        for key, value in self._settings.items():
            environment["SIGNALQ_" + key.upper().replace(".", "__")] = str(value)
        if self._config:
            settings_file = Path(self._folder.name) / "signalq.toml"
            settings_file.write_text(self._config, "utf-8")
            environment["SIGNALQ_CONFIG"] = str(settings_file)
        with self._log_path.open("wb") as log, Path(os.devnull).open("rb") as nothing:
            self._process = self._begin(environment, nothing.fileno(), log.fileno())

    def _begin(self, environment: Mapping[str, str], stdin: int, log: int) -> subprocess.Popen[bytes] | WarmProcess:
        if not self._is_cold:
            _, module, *arguments = self._command
            return WarmProcess(module, arguments, environment, stdin, log, log)
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, *self._command], cwd=REPOSITORY, env=environment, stdin=stdin, stdout=log, stderr=log
        )

    async def started(self) -> dict[str, Any]:
        """Wait until it says that it is ready; return that line."""

        def announced() -> bool:
            assert self.exit_code is None, f"it ended with {self.exit_code} while it started:\n{self.log}"
            return bool(self.events(self.READY))

        with spent("starting consumers"):
            await wait_until(announced, START_TIMEOUT_S, what=self.READY)
        return self.events(self.READY)[0]

    async def exited(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Wait until it has ended; return its exit status (negative: the signal that ended it)."""
        await wait_until(lambda: self.exit_code is not None, timeout_s, what=f"its end; so far:\n{self.log}")
        assert self.exit_code is not None
        return self.exit_code

    async def terminate(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """SIGTERM, and wait; return its exit status."""
        self.signal(signal.SIGTERM)
        return await self.exited(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a power cut would; returns when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(EXIT_TIMEOUT_S)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing more, its connections stay open. Returns when each of its threads stands still."""
        self.signal(signal.SIGSTOP)
        # A busy machine takes its time to stop them, and one that still runs may take the ledger's lock.
        deadline = time.monotonic() + FREEZE_TIMEOUT_S
        while any(state != "T" for state in self._thread_states()):
            assert time.monotonic() < deadline, "it does not stand still"
            time.sleep(0.001)

    def _thread_states(self) -> Iterator[str]:
        """Of each thread, as Linux tells it (proc(5)); of none elsewhere."""
        for thread in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with suppress(OSError):  # it ended meanwhile
                yield thread.read_text("utf-8", errors="replace").rpartition(")")[2].split()[0]

    def thaw(self) -> None:
        """SIGCONT after freeze."""
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it at once if it still runs, and remove its files."""
        self.kill()
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with spent("draining consumers"):
                    await self.end()
            elif isinstance(error, AssertionError):
                error.add_note(f"the end of the consumer's log:\n{self.log[-4000:]}")
        finally:
            await asyncio.to_thread(self.close)

    async def end(self) -> None:
        """Let it drain, if it still runs; assert that it exits 0, and that it met nothing unforeseen."""
        if self.exit_code is None:
            self.thaw()
            assert await self.terminate() == 0, self.log[-4000:]
        self.check_log()

    # --- what it says -------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._running.poll()

    @property
    def log(self) -> str:
        """All it wrote, to either output."""
        return self._log_path.read_text("utf-8", errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log, a dict a line; the last one only if it is complete. Raises ValueError for a line that is no JSON."""
        with self._log_path.open("rb") as log:
            log.seek(self._bytes_read)
            whole, newline, _ = log.read().rpartition(b"\n")
        found: list[dict[str, Any]] = [json.loads(line) for line in whole.split(b"\n") if newline]
        self._lines += found
        for line in found:
            self._named[line["event"]].append(line)
        self._bytes_read += len(whole) + len(newline)
        return self._lines

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """Its log lines of one event, with these fields where some are given."""
        _ = self.lines  # what is new
        return [line for line in self._named[name] if fields.items() <= line.items()]

    def check_log(self) -> None:
        """Assert that every line is JSON, and that none tells of something unforeseen."""
        unforeseen = [line for line in self.lines if "exception" in line or line["event"] == "service.cut_off"]
        assert not unforeseen, unforeseen

    @property
    def ops_port(self) -> int:
        """Where its own HTTP listens, once it has started."""
        return int(self.events("service.started")[0]["ops_port"])

    async def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and text that its own HTTP answers."""
        timeout = aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{port or self.ops_port}{path}") as response,
        ):
            return response.status, await response.text()

    async def metric(self, name: str, **labels: str) -> float:
        """The value of a metric; 0 where there is no such series yet."""
        _, text = await self.get("/metrics")
        wanted = name + (
            "{" + ",".join(f'{key}="{value}"' for key, value in sorted(labels.items())) + "}" if labels else ""
        )
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == wanted]
        return float(found[0]) if found else 0.0

    @property
    def _log_path(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the consumer was not started")
        return Path(self._folder.name) / "log"

    @property
    def _running(self) -> subprocess.Popen[bytes] | WarmProcess:
        if self._process is None:
            raise RuntimeError("the consumer was not started")
        return self._process
