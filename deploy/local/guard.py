"""The guard: a small process that owns a private server's processes, and outlives the process that asked for them.

A server must not stay behind when its test run is killed with SIGKILL. So the server is not our child but the
guard's, and the guard reads its orders from a pipe of which we alone hold the other end. When we die, in any
way, the pipe ends, and the guard stops the server, removes its temporary folder and goes. On Linux it also

- is a child subreaper (prctl(2)): each process that the server leaves behind becomes the guard's child;
- asks the kernel to kill the server when the guard itself dies (PR_SET_PDEATHSIG). That signal alone would not do:
  it follows the death of the *thread* that started the child, and it leaves epmd and the folder behind.

This file holds both ends of the pipe: `Guard` for us, and `main` for the process, which runs this file by its
path. Orders are lines, each answered by one line: `start` (the server's pid), `poll` (`running`, `exited`, `none`),
`stop` and `kill` (`gone`). Before the first comes the plan, as one line of JSON.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOP_TIMEOUT_S = 20.0
"""After SIGTERM, before SIGKILL. A node without plugins needs about 1 s."""

_POLL_INTERVAL_S = 0.02
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """The commands that the guard is to run, and the folder that it is to remove in the end.

    `epmd` is empty where the server needs none. The server runs as `user` (uid and gid), where that is not our own.
    """

    epmd: list[str]
    server: list[str]
    environment: dict[str, str]
    folder: str
    log: str
    folder_is_temporary: bool
    stop_timeout_s: float = STOP_TIMEOUT_S
    stop_signal: int = signal.SIGTERM
    user: tuple[int, int] | None = None


class Guard:
    """Our end of the pipe. Every method raises ConnectionError when the guard is gone."""

    def __init__(self, plan: ServerPlan) -> None:
        """Start the guard; it starts nothing yet."""
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and this very file
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal is for us, not for the server.
            start_new_session=True,
        )
        self._send(json.dumps(asdict(plan)))

    def start(self) -> int:
        """Start the server and return its pid; it does not answer yet."""
        return int(self._order("start"))

    def is_running(self) -> bool:
        """Whether the server's process lives."""
        return self._order("poll") == "running"

    def stop(self) -> None:
        """Stop the server: its stop signal, and after a bound SIGKILL. No process of it is left on return."""
        self._order("stop")

    def kill(self) -> None:
        """End all the server's processes with SIGKILL. None of them is left on return."""
        self._order("kill")

    def dismiss(self) -> None:
        """Stop the server if it runs, remove its folder if it is temporary, and end the guard."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()

    def _order(self, order: str) -> str:
        self._send(order)
        if self._process.stdout is None or not (answer := self._process.stdout.readline().strip()):
            raise ConnectionError(f"the guard of the private server is gone, at the order {order!r}")
        return answer

    def _send(self, line: str) -> None:
        if self._process.stdin is None:
            raise ConnectionError("the guard of the private server has no pipe")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


class _Processes:
    """The guard's end: epmd, the server, and all processes that they start."""

    def __init__(self, plan: ServerPlan) -> None:
        self._plan = plan
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def obey(self, order: str) -> str:
        match order:
            case "start":
                return self._start()
            case "poll":
                return self._poll()
            case "stop":
                return self.stop()
            case "kill":
                return self._kill()
            case _:
                raise ValueError(f"no such order: {order!r}")

    def stop(self) -> str:
        if self._server is not None:
            # The server may have ended just now, by itself.
            with contextlib.suppress(ProcessLookupError):
                self._server.send_signal(self._plan.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(self._plan.stop_timeout_s)
        return self._kill()

    def _start(self) -> str:
        self._kill()  # of a server that died by itself, helpers may be left
        # An epmd of our own making, in the foreground: one that Erlang starts would be a daemon.
        if self._plan.epmd:
            self._epmd = self._spawn(self._plan.epmd)
        self._server = self._spawn(self._plan.server)
        return str(self._server.pid)

    def _poll(self) -> str:
        if self._server is None:
            return "none"
        status = self._server.poll()
        _bury()
        return "running" if status is None else "exited"

    def _kill(self) -> str:
        for process in (self._server, self._epmd):
            if process is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._server = self._epmd = None
        _kill_adopted()
        return "gone"

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        user, group = self._plan.user or (None, None)
        with Path(self._plan.log).open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - built by rabbitmq.py, postgres.py or cluster.py
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._plan.folder,
                env=self._plan.environment,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                # Runs after the change of user, which would undo it. Safe: the guard has a single thread.
                preexec_fn=_die_with_guard,  # noqa: PLW1509
            )


def main() -> int:
    """Obey orders until the pipe ends or SIGTERM, then leave nothing behind."""
    signal.signal(signal.SIGTERM, _leave)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    plan = ServerPlan(**json.loads(sys.stdin.readline()))
    processes = _Processes(plan)
    try:
        for line in sys.stdin:
            sys.stdout.write(f"{processes.obey(line.strip())}\n")
            sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - or Python complains once more at its exit
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        processes.stop()
        if plan.folder_is_temporary:
            shutil.rmtree(plan.folder, ignore_errors=True)
    return 0


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _kill_adopted() -> None:
    """Kill our children until there are none: with each that dies, its own become ours."""
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _bury()
        time.sleep(_POLL_INTERVAL_S)


def _bury() -> None:
    """Take note of every child that has ended, also of those that became ours: none stays behind as a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _children() -> list[int]:
    """The pids of our children. Without Linux's /proc it finds none: there the process groups have to do."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        # Field 4 is the parent; field 2, the program's name, is in brackets and may hold spaces. proc(5)
        with contextlib.suppress(OSError):
            fields = status.read_text("utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(status.parent.name))
    return found


def _die_with_guard() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
