"""`PrivatePostgres`: a PostgreSQL server that is only ours, for as long as we want it.

It listens on a port of its own on 127.0.0.1 only, with a random password and no Unix socket, and leaves no process and
no folder behind, also when this process is killed: see guard.py. A commit is on disk when it returns (fsync is on);
everything else is made small.
"""

import ctypes
import os
import pwd
import secrets
import shlex
import signal
import tempfile
from pathlib import Path

from signalq.local.errors import PostgresFailed, PostgresUnavailable
from signalq.local.guard import STOP_TIMEOUT_S, Guard, ServerPlan
from signalq.local.ports import LOOPBACK, free_ports
from signalq.local.postgres_install import PostgresInstallation, find_postgres
from signalq.local.server import PrivateServer

START_TIMEOUT_S = 60.0
"""From `start()` until it takes connections. 1 s is normal, the first time 2 s."""

_USER = "signalq"
_STAND_IN = "nobody"
"""The user that runs it where we are root, which PostgreSQL refuses. The user `postgres` may own other databases."""
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


class PrivatePostgres(PrivateServer):
    """A private server: `with PrivatePostgres() as postgres: connect(postgres.url)`.

    `installation` is the server to run; the default is that of `find_postgres()`, PostgresUnavailable without one.
    One server has the same port and password through all its starts. Its data lies in a temporary folder, which goes
    with it; started by root, it runs as `nobody`. Not thread-safe.
    """

    title = "the private PostgreSQL"
    failure = PostgresFailed

    def __init__(
        self,
        installation: PostgresInstallation | None = None,
        *,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        super().__init__(start_timeout_s=start_timeout_s, stop_timeout_s=stop_timeout_s)
        found = installation or find_postgres()
        if found is None:
            raise PostgresUnavailable(
                "there is no PostgreSQL server here yet (`python -m signalq.local install postgres` gets one)"
            )
        self._installation = found
        self._port = free_ports(1)[0]
        self._hold(self._port)
        self._password = secrets.token_hex(16)
        self._folder: Path | None = None

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
    def log_path(self) -> Path:
        """The file of its output, over all its starts; PostgresFailed before the first start."""
        return self._made_folder() / "postgres.log"

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a power cut would; its data stays for the next `start()`."""
        super().kill()
        if self._guard is not None:
            self._free_shared_memory()

    def _forget_folder(self) -> None:
        self._folder = None

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
            ServerPlan(
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

    def _is_ready(self) -> bool:
        """Judge as pg_ctl does, by the server's lock file: its last line says `ready`."""
        lines = self._lock_file()
        return len(lines) > 7 and lines[0] == str(self._pid) and lines[7].strip() == "ready"

    def _lock_file(self) -> list[str]:
        """The lines of the lock file: pid, folder, start, port, socket, address, shared memory, state (miscadmin.h)."""
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

    def _made_folder(self) -> Path:
        if self._folder is None:
            raise PostgresFailed(f"{self.title} was not started")
        return self._folder


def _stand_in() -> tuple[int, int]:
    try:
        user = pwd.getpwnam(_STAND_IN)
    except KeyError:
        raise PostgresUnavailable(f"PostgreSQL refuses to run as root, and there is no user {_STAND_IN}") from None
    return user.pw_uid, user.pw_gid
