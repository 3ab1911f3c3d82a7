"""`PrivatePostgres`: a PostgreSQL server that is only ours, for as long as we want it.

It listens on a port of its own on 127.0.0.1 only, with a password that nobody else knows and no Unix socket, and
leaves no process and no folder behind, also when this process is killed: see guard.py. A commit is on disk when it
returns (fsync is on); all else is made small.
"""

import contextlib
import ctypes
import os
import pwd
import secrets
import shlex
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from signalq.local.errors import PostgresFailed, PostgresUnavailable
from signalq.local.guard import STOP_TIMEOUT_S, Guard, Plan
from signalq.local.node import LOOPBACK, free_ports
from signalq.local.postgres_install import PostgresInstallation, find_postgres

START_TIMEOUT_S = 60.0
"""From `start()` until it takes connections. 1 s is normal, the first time 2 s."""

_USER = "signalq"
_STAND_IN = "nobody"
"""Who runs it where we are root, whom PostgreSQL refuses. Not `postgres`, who may own the system's own databases."""
_POLL_INTERVAL_S = 0.02
_LAST_WORDS_LINES = 20
_IPC_RMID = 0

# initdb makes its folder under another name, so that one that was killed in the middle is not taken for whole.
_SCRIPT = """\
set -e
if ! [ -d data ]; then
    rm -rf unfinished
    initdb --pgdata=unfinished --username={user} --pwfile=password --auth-host=scram-sha-256 --auth-local=reject \
--encoding=UTF8 --no-locale --wal-segsize=1 --no-sync
    mv unfinished data
fi
exec {postgres} -D data {settings}
"""


class PrivatePostgres:
    """A private server: `with PrivatePostgres() as postgres: connect(postgres.url)`.

    `installation` is what to run (default: what `find_postgres()` finds; PostgresUnavailable where that is nothing).
    One server has the same port and password through all its starts. Its data lies in a temporary folder, which goes
    with it; started by root, it runs as `nobody`. Not thread-safe.
    """

    def __init__(
        self,
        installation: PostgresInstallation | None = None,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        found = installation or find_postgres()
        if found is None:
            raise PostgresUnavailable(
                "there is no PostgreSQL server here yet (`python -m signalq.local install postgres` gets one)"
            )
        self._installation = found
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._port = free_ports(1)[0]
        self._password = secrets.token_hex(16)
        self._folder: Path | None = None
        self._guard: Guard | None = None
        self._pid: int | None = None

    @property
    def url(self) -> str:
        """The address of its database `postgres`, as the ledger's setting has it, password included."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """The address of a database, which it need not have yet."""
        return f"postgresql+asyncpg://{_USER}:{self._password}@{LOOPBACK}:{self._port}/{database}"

    @property
    def port(self) -> int:
        """Its port on 127.0.0.1."""
        return self._port

    @property
    def pid(self) -> int:
        """The process of the server (its postmaster); PostgresFailed when it does not run."""
        if self._pid is None:
            raise PostgresFailed("the private PostgreSQL is not running")
        return self._pid

    @property
    def log_path(self) -> Path:
        """What it said, over all its starts; PostgresFailed before the first start."""
        return self._made_folder() / "postgres.log"

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        with contextlib.suppress(ConnectionError):
            return self._guard is not None and self._guard.is_running()
        return False

    def start(self) -> None:
        """Start it and wait until it takes connections; after `kill()` or `stop(keep_data=True)`, with its data.

        Raises PostgresFailed, with the end of its log, as soon as it dies or when `start_timeout_s` has passed.
        """
        if self.is_running:
            return
        try:
            self._guard = self._guard or self._hire_guard()
            log_size_before = self.log_path.stat().st_size
            self._pid = self._guard.start()
            self._wait_until_ready(log_size_before)
        except ConnectionError as error:
            self.stop()
            raise PostgresFailed(str(error)) from error
        except BaseException:
            self.stop()
            raise

    def stop(self, *, keep_data: bool = False) -> None:
        """Stop it in order, cutting its connections; its folder goes too, unless `keep_data`.

        No process of it is left on return. Stopping one that does not run is no error.
        """
        self._pid = None
        guard = self._guard
        if guard is None:
            return
        if keep_data:
            guard.stop()
        else:
            self._guard = self._folder = None
            guard.dismiss()

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a power cut would; its data stays for the next `start()`."""
        self._pid = None
        if self._guard is not None:
            self._guard.kill()
            self._free_shared_memory()

    def restart(self) -> None:
        """Stop in order and start again: same port, same data."""
        self.stop(keep_data=True)
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _hire_guard(self) -> Guard:
        user = _stand_in() if os.geteuid() == 0 else None
        # Root's own place for temporary files, where it has one, may be closed to its stand-in.
        folder = Path(tempfile.mkdtemp(prefix="signalq-postgres-", dir="/tmp" if user else None))  # noqa: S108
        self._folder = folder
        password, log = folder / "password", folder / "postgres.log"
        password.touch(0o600)
        password.write_text(f"{self._password}\n", "utf-8")
        log.touch()
        if user is not None:
            for path in (folder, password, log):
                os.chown(path, *user)
        return Guard(
            Plan(
                epmd=[],
                server=["/bin/sh", "-c", self._script()],
                environment=self._installation.environment(),
                folder=str(folder),
                log=str(log),
                folder_is_temporary=True,
                stop_timeout_s=self._stop_timeout_s,
                # "Fast shutdown"; at SIGTERM it would wait until its clients are gone.
                # https://www.postgresql.org/docs/current/server-shutdown.html
                stop_signal=signal.SIGINT,
                user=user,
            )
        )

    def _script(self) -> str:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self._port,
            "unix_socket_directories": "",
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": 60,
            "shared_buffers": "16MB",
            # Files in its own folder: what is left by a kill goes with that.
            "dynamic_shared_memory_type": "mmap",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "min_wal_size": "4MB",
            "max_wal_size": "64MB",
            "jit": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # By its own path, not through a link: it finds its other files from there.
        postgres = shlex.quote(str(self._installation.programs / "postgres"))
        return _SCRIPT.format(user=_USER, postgres=postgres, settings=shlex.join(options))

    def _wait_until_ready(self, log_size_before: int) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        while not self._is_ready():
            if not self.is_running:
                words = self._last_words(log_size_before)
                raise PostgresFailed(f"the private PostgreSQL died while it started; its last words:\n{words}")
            if time.monotonic() > deadline:
                words = self._last_words(log_size_before)
                raise PostgresFailed(f"the private PostgreSQL was not ready in {self._start_timeout_s:g} s:\n{words}")
            time.sleep(_POLL_INTERVAL_S)

    def _is_ready(self) -> bool:
        """As pg_ctl judges it, by the server's lock file, whose last line says `ready`."""
        lines = self._lock_file()
        return len(lines) > 7 and lines[0] == str(self._pid) and lines[7].strip() == "ready"

    def _lock_file(self) -> list[str]:
        """Its lines: pid, folder, start, port, socket, address, shared memory, state (miscadmin.h of PostgreSQL)."""
        try:
            return (self._made_folder() / "data" / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _free_shared_memory(self) -> None:
        """A killed server leaves a System V segment of some bytes, which no folder and no process holds."""
        lines = self._lock_file()
        numbers = lines[6].split() if len(lines) > 6 else []
        if len(numbers) == 2:
            ctypes.CDLL(None).shmctl(int(numbers[1]), _IPC_RMID, None)

    def _last_words(self, log_size_before: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(log_size_before)
            lines = log.read().decode("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_WORDS_LINES:])

    def _made_folder(self) -> Path:
        if self._folder is None:
            raise PostgresFailed("the private PostgreSQL was not started")
        return self._folder


def _stand_in() -> tuple[int, int]:
    try:
        user = pwd.getpwnam(_STAND_IN)
    except KeyError:
        raise PostgresUnavailable(f"PostgreSQL refuses to run as root, and there is no user {_STAND_IN}") from None
    return user.pw_uid, user.pw_gid
