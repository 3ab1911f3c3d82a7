"""Our programs as real processes, without the second that their imports take.

A warm process is forked from a parent that has imported everything (tests.support.warm_parent). It has a pid, signals,
standard streams, an exit status and an end of its own. Where the interpreter's start is what a test is about, start a
cold one by subprocess.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# What the interpreter reads when it starts, and so what the parent was started with.
READ_AT_THE_START = ("PYTHON", "LC_", "LANG")


@cache
def _parent() -> socket.socket:
    """This process's end of the way to a parent, which ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "tests.support.warm_parent", str(theirs.fileno())],
            cwd=REPOSITORY,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait(10)

    atexit.register(end)
    return ours


def warm_up() -> None:
    """Let the parent be made beside what comes next."""
    _parent()


class WarmProcess:
    """`python -m MODULE ARGUMENTS` in the repository's folder; the interface is that of subprocess.Popen.

    `stdin`, `stdout` and `stderr` are descriptors, which stay open here.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdin: int,
        stdout: int,
        stderr: int,
    ) -> None:
        for name, value in environment.items():
            if name.startswith(READ_AT_THE_START) and value != os.environ.get(name):
                raise ValueError(f"a warm process can't have a {name} of its own: start a cold one")
        self._report, told = os.pipe()
        request = {"module": module, "arguments": list(arguments), "environment": dict(environment)}
        socket.send_fds(_parent(), [json.dumps(request).encode()], [stdin, stdout, stderr, told])
        os.close(told)
        self._told = b""
        self.returncode: int | None = None
        self.pid = self._next_number()

    def poll(self) -> int | None:
        """The exit status (negative: the signal that ended it), None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.returncode = self._next_number()
            os.close(self._report)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None and not select.select([self._report], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0.0)
        status = self.poll()
        assert status is not None
        return status

    async def ended(self) -> int:
        """The same, without blocking the event loop."""
        if self.poll() is None:
            over = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_reader(self._report, over.set)
            try:
                await over.wait()
            finally:
                loop.remove_reader(self._report)
        return self.wait()

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since, and its parent is about to say so
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _next_number(self) -> int:
        while b"\n" not in self._told:
            told = os.read(self._report, 64)
            if not told:
                raise RuntimeError("the parent of the warm processes has gone")
            self._told += told
        number, _, self._told = self._told.partition(b"\n")
        return int(number)


class WarmCommand:
    """A warm process whose streams are read and written here; the interface is that of asyncio.subprocess.Process."""

    def __init__(
        self,
        process: WarmProcess,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader,
        transports: Sequence[asyncio.BaseTransport],
    ) -> None:
        self._process = process
        self._transports = transports
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.poll()

    async def wait(self) -> int:
        """Wait for its end."""
        status = await self._process.ended()
        self.stdin.close()
        return status

    async def communicate(self, given: bytes | None = None) -> tuple[bytes, bytes]:
        """Write its input, if any, read its output to the end, and wait for its own."""
        writing = asyncio.create_task(self._feed(given))
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read())
        await writing
        await self.wait()
        return out, err

    async def _feed(self, given: bytes | None) -> None:
        try:
            if given:
                self.stdin.write(given)
                await self.stdin.drain()
            self.stdin.close()
            await self.stdin.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has ended without reading all of it

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


async def command(module: str, *arguments: str, environment: Mapping[str, str]) -> WarmCommand:
    """Start `python -m MODULE ARGUMENTS` with pipes; returns at once."""
    theirs_in, ours_in = os.pipe()
    ours_out, theirs_out = os.pipe()
    ours_err, theirs_err = os.pipe()
    process = WarmProcess(module, arguments, environment, theirs_in, theirs_out, theirs_err)
    for descriptor in (theirs_in, theirs_out, theirs_err):
        os.close(descriptor)
    out, out_transport = await _reader(ours_out)
    err, err_transport = await _reader(ours_err)
    writer = await _writer(ours_in)
    return WarmCommand(process, writer, out, err, (out_transport, err_transport, writer.transport))


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    return reader, transport


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(descriptor, "wb", 0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
