"""`--watch` on a real terminal: the table in place, again and again, until Ctrl-C (contract 5)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from signalq.consumer.orders.state import Attempt
from tests.support.broker import Broker, through
from tests.support.orders import body, order
from tests.support.proxy import Proxy
from tests.support.stores import ledger_at
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.warm import WarmProcess

LANE = "signalq.orders"
WIDTH, HEIGHT = 80, 20
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, process: WarmProcess, master: int) -> None:
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

    @property
    def frame(self) -> list[str]:
        """The lines of the last frame."""
        return f"signalq {self.text.rpartition('signalq ')[2]}".splitlines()

    @property
    def size(self) -> tuple[int, int]:
        """The last frame's lines, and the columns of its longest."""
        return len(self.frame), max(map(len, self.frame))

    @property
    def frames(self) -> int:
        """How many there were; each begins with the command's name."""
        return self.text.count("list  ")

    async def shows(self, is_there: Callable[[str], bool], what: str) -> None:
        await wait_until(lambda: is_there(self.text), what=what)

    def resize(self, height: int, width: int) -> None:
        """Make the terminal larger or smaller, as a window does."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process.send_signal(signal.SIGWINCH)  # it is not the terminal's own process group

    async def ends(self) -> None:
        """Ctrl-C ends it, with status 0."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert await self.process.ended() == 0
        assert "Traceback" not in self.text


@asynccontextmanager
async def on_a_terminal(*arguments: str, term: str = "xterm") -> AsyncIterator[Screen]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    # COLUMNS and LINES are of the terminal that the tests run on.
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = WarmProcess("signalq", arguments, environment | {"TERM": term}, slave, slave, slave)
    os.close(slave)
    screen = Screen(process, master)
    asyncio.get_running_loop().add_reader(master, screen.take)
    try:
        yield screen
    finally:
        process.kill()
        await process.ended()
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
            await screen.shows(lambda text: "1 intent " in text, "the first order")
            assert "openLong 50 % limit 65000" in screen.text
            await deliver("second-order", "25")
            await screen.shows(lambda text: "2 intents " in text, "the second order")
            assert "openLong 25 % limit 65000" in screen.text
            frames = screen.text.split("signalq orders list")
            assert max(len(line) for frame in frames for line in f"signalq orders list{frame}".splitlines()) <= WIDTH
            await screen.ends()


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


async def delayed(url: str, *seconds: int) -> None:
    """Make a ledger with an order for each of these delays."""
    async with ledger_at(url) as ledger:
        epoch = await ledger.open_lane(LANE)
        for delay_s in seconds:
            one = order(body(percent="5", delaySeconds=delay_s), message_id=f"delay-{delay_s}")
            await ledger.recall(one, epoch)


async def test_a_terminal_of_another_size_is_drawn_anew_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url := f"sqlite+aiosqlite:///{tmp_path}/resized.db")
    await delayed(url, *range(1_000, 1_030))
    async with on_a_terminal("scheduled", "list", "--watch", "3600") as screen:
        await screen.shows(lambda text: "30 intents scheduled" in text, "the table")
        await wait_until(lambda: screen.size == (HEIGHT, WIDTH), what="the rest of it")
        screen.resize(8, 60)
        await wait_until(lambda: screen.frames == 2 and screen.size == (8, 60), what="a small table")
        assert any("30 intents scheduled" in line for line in screen.frame)
        await screen.ends()


async def test_sorting_takes_all_rows_that_are_listed_and_not_those_alone_that_have_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url := f"sqlite+aiosqlite:///{tmp_path}/sorted.db")
    await delayed(url, *range(1_000, 1_040))
    for command in ("scheduled", "orders"):
        sorting = ("--sort", "-due_at", "--columns", "due_at,intent_id")
        async with on_a_terminal(command, "list", "--watch", *sorting) as screen:
            await screen.shows(lambda text: "the first 16 have room here" in text, "the table")
            shown = [word for word in screen.text.split() if word.startswith("delay-")]
            assert shown[:16] == [f"delay-{seconds}" for seconds in range(1_039, 1_023, -1)]
            await screen.ends()


async def test_ctrl_c_ends_a_look_that_takes_long_because_the_broker_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url := f"sqlite+aiosqlite:///{tmp_path}/hangs.db")
    await delayed(url)
    came = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        monkeypatch.setenv("SIGNALQ_BROKER__URL", f"amqp://guest:guest@{host}:{port}/")
        async with on_a_terminal("lanes", "list", "--watch") as screen:
            await asyncio.wait_for(came.wait(), PATIENCE_S)
            await screen.ends()
            assert "no answer from RabbitMQ" not in screen.text, "the look was not waited for"


async def test_lanes_are_watched_over_one_connection_and_over_its_loss_and_more_than_have_room_are_counted(
    link: Proxy, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "signalq.toml"
    settings.write_text("".join(f"[connectors.c{number}]\n" for number in range(30)))
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url := f"sqlite+aiosqlite:///{tmp_path}/lanes.db")
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    await delayed(url)
    async with on_a_terminal("lanes", "list", "--watch", "0.2", "--config", str(settings)) as screen:
        await screen.shows(lambda text: "31 lanes; the first 16 have room here" in text, "the table")
        await wait_until(lambda: screen.frames > 3, what="some looks")
        assert link.taken == 1, "RabbitMQ does not like connections that come and go"
        await link.cut(refuse=True)
        await wait_until(lambda: any("RabbitMQ" in line for line in screen.frame), what="the sentence")
        link.heal()
        await wait_until(lambda: any("31 lanes" in line for line in screen.frame), what="the table again")
        await screen.ends()


async def test_a_terminal_that_cannot_clear_its_screen_is_refused() -> None:
    async with on_a_terminal("scheduled", "list", "--watch", term="dumb") as screen:
        async with asyncio.timeout(PATIENCE_S):
            assert await screen.process.ended() == 2
        await screen.shows(lambda text: "--watch takes a terminal that can clear its screen" in text, "the sentence")
