"""`--watch` on a real terminal: the table in place, again and again, until Ctrl-C (contract 5)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from signalq.consumer.orders.state import Attempt
from tests.support.commands import ROOT
from tests.support.orders import body, order
from tests.support.stores import ledger_at
from tests.support.waiting import wait_until

LANE = "signalq.orders"
WIDTH, HEIGHT = 80, 20
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self.process = process
        self._master = master
        self._written = b""

    def take(self) -> None:
        with suppress(OSError):  # the terminal's other end is closed
            self._written += os.read(self._master, 65_536)

    @property
    def text(self) -> str:
        """What was written, without the commands to the terminal."""
        return _CONTROL.sub("", self._written.decode("utf-8", "replace")).replace("\r", "")

    async def shows(self, is_there: Callable[[str], bool], what: str) -> None:
        await wait_until(lambda: is_there(self.text), what=what)


@asynccontextmanager
async def on_a_terminal(*arguments: str) -> AsyncIterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
    environment.pop("COLUMNS", None)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signalq", *arguments),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env=environment,
    )
    os.close(slave)
    screen = Screen(process, master)
    asyncio.get_running_loop().add_reader(master, screen.take)
    try:
        yield screen
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


async def test_orders_are_watched_in_place_until_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/watched.db"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    async with ledger_at(url) as ledger:
        epoch = await ledger.open_lane(LANE)

        async def deliver(intent_id: str, percent: str) -> None:
            one = order(body(percent=percent, limit="65000"), message_id=intent_id)
            claimed = await ledger.claim(one, (await ledger.recall(one, epoch)).state.claimed(1), epoch)
            await ledger.record(one, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered(), attempt=ACCEPTED)

        await deliver("first-order", "50")
        async with on_a_terminal("orders", "list", "--watch", "0.2", "--columns", "intent_id,order") as screen:
            await screen.shows(lambda text: "the 1 newest of 1" in text, "the first order")
            assert "openLong 50 % limit 65000" in screen.text
            await deliver("second-order", "25")
            await screen.shows(lambda text: "the 2 newest of 2" in text, "the second order")
            assert "openLong 25 % limit 65000" in screen.text
            frames = screen.text.split("signalq orders list")
            assert max(len(line) for frame in frames for line in f"signalq orders list{frame}".splitlines()) <= WIDTH
            screen.process.send_signal(signal.SIGINT)
            async with asyncio.timeout(10):
                assert await screen.process.wait() == 0
            assert "Traceback" not in screen.text


async def test_an_error_is_shown_in_the_tables_place_and_the_next_look_is_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/later.db"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    async with on_a_terminal("scheduled", "list", "--watch", "0.2") as screen:
        await screen.shows(lambda text: "there is no ledger at" in text, "the sentence")
        async with ledger_at(url) as ledger:
            epoch = await ledger.open_lane(LANE)
            await ledger.recall(order(body(percent="5", delaySeconds=600), message_id="delayed-order"), epoch)
            await screen.shows(lambda text: "openLong 5 %" in text, "the table")
            assert "1 intent scheduled" in screen.text
