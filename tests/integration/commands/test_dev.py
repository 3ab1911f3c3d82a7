"""`signalq dev`: one command, a world that stays, of real processes; when it ends, however that comes, none is left."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from signalq import OrderIntent, OrderPublisher
from signalq.local import Installation
from signalq.local.ports import is_free
from signalq.ops.dev.world import CONSOLE_ABOVE, GATEWAY_ABOVE, OPS_ABOVE, SANDBOX_ABOVE
from tests.support.commands import run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left behind")

ROOT = Path(__file__).parents[3]
ABOVE = (0, OPS_ABOVE, GATEWAY_ABOVE, CONSOLE_ABOVE, SANDBOX_ABOVE)
END_TIMEOUT_S = 60.0


class Dev:
    """A `signalq dev --json` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.rows: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read(), name="read its rows")

    @property
    def world(self) -> dict[str, str]:
        """Its first line."""
        return self.rows[0]

    async def told(self, **fields: object) -> dict[str, Any]:
        """Wait for an entry with these fields."""
        entry: dict[str, Any] = await wait_until(
            lambda: next((row for row in self.rows[1:] if fields.items() <= row.items()), None),
            what=f"an entry with {fields}",
        )
        return entry

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        status = await asyncio.wait_for(self.process.wait(), END_TIMEOUT_S)
        await self._reading
        return status

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.rows.append(json.loads(line))


@pytest.fixture(scope="module")
def port(installation: Installation) -> int:
    """The port of a world, with the room above it. Skips (in CI: fails) where there is no RabbitMQ."""
    del installation
    bases = random.sample(range(21_000, 32_000, 50), 220)  # other runs of these tests choose, too
    return next(port for port in bases if all(is_free(port + above) for above in ABOVE))


@asynccontextmanager
async def dev(folder: Path, *options: str) -> AsyncIterator[Dev]:
    """A world that has said that it is ready. Its shell is set up for a serious broker, which must not matter."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signalq", "dev", "--folder", str(folder), "--json", *options),
        cwd=ROOT,
        env={**os.environ, "SIGNALQ_BROKER__URL": "amqps://serious.example/", "SIGNALQ_NONSENSE": "x"},
        stdout=asyncio.subprocess.PIPE,
    )
    running = Dev(process)
    try:
        await wait_until(lambda: running.rows or process.returncode is not None, what="its first line")
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


def processes_of(folder: Path) -> dict[int, list[str]]:
    """The arguments of each process that works in the folder of the world."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text("utf-8", errors="replace").split("\0")
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


async def nothing_left_of(folder: Path) -> None:
    await wait_until(lambda: not processes_of(folder), what="the end of its processes")


async def test_orders_of_each_way_in_are_told_and_the_same_folder_again_is_the_same_world(
    tmp_path: Path, port: int
) -> None:
    """With its switch, with what waited, and with its history. Ended by Ctrl-C, and by SIGKILL."""
    folder = tmp_path / "a world"
    async with dev(folder, "--port", str(port)) as first:
        config = str(folder / "signalq.toml")
        assert first.world["broker"] == f"amqp://guest:guest@127.0.0.1:{port}/"
        before, _, to_try = first.world["try"].partition(f" --config '{config}' ")
        assert before.endswith("signalq")
        ran = await run("--config", config, *to_try.split(), "--message-id", "m1")
        assert (ran.status, "delivered in" in ran.out) == (0, True), ran
        delivered = await first.told(intent_id="m1")
        assert (delivered["action"], delivered["outcome"]) == ("openLong", "delivered")
        assert delivered["order"] == {"connectorName": "demo", "action": "openLong", "percent": "50"}
        assert delivered["took_ms"] >= 0
        await orders_by_http(first)
        await a_person_signs_in(first)
        async with OrderPublisher(first.world["broker"], strategy="s") as orders:
            later = OrderIntent(connector_name="demo", action="closeLong", percent="10", delay_seconds=300)
            await orders.publish(later, message_id="m2")
        scheduled = await first.told(intent_id="m2")
        assert (scheduled["outcome"], scheduled["due_at"] > scheduled["at"]) == ("scheduled", True)
        for another, said in ((folder, "another `signalq dev` runs"), (tmp_path / "other", f"port {port}, for Rab")):
            refused = await run("dev", "--folder", str(another), "--port", str(port))
            assert (refused.status, said in refused.err, refused.err.count("\n")) == (1, True, 1), refused.err
        await an_exit_for_a_paused_connector(first, config)
        first.process.send_signal(signal.SIGINT)
        assert await first.ended() == 0
        assert not [row for row in first.rows if row.get("intent_id") == "m4"]
    await nothing_left_of(folder)
    assert all(is_free(port + above) for above in ABOVE)
    async with dev(folder) as second:
        assert second.world | {"console_link": ""} == first.world | {"console_link": ""}
        assert second.world["console_link"] != first.world["console_link"]
        waiting = await run("--config", config, "scheduled", "list", "--json")
        assert [row["intent_id"] for row in waiting.rows] == ["m2"]
        seen = await run("--config", config, "orders", "list", "--json", "--status", "delivered")
        assert {row["connector"] for row in seen.rows} == {"demo", "any"}
        resumed = await run("--config", config, "lanes", "resume", "demo", "--why", "seen")
        assert resumed.status == 0, resumed.err
        told = await second.told(intent_id="m4")
        assert (told["action"], told["outcome"]) == ("closeLong", "delivered")
        second.process.kill()
        await second.ended()
    await nothing_left_of(folder)


async def orders_by_http(running: Dev) -> None:
    """One that is taken, and one whose token is wrong."""
    wrong = {"connectorName": "demo", "connectorToken": "not-that", "action": "buy", "fixed": "1"}
    async with aiohttp.ClientSession() as session:
        for body, status in ((wrong | {"connectorName": "any"}, 200), (wrong, 401)):
            async with session.post(running.world["gateway"], json=body) as answer:
                assert answer.status == status
    await running.told(connector="any", outcome="delivered", action="buy")
    await running.told(event="alert.refused")


async def a_person_signs_in(running: Dev) -> None:
    """To the console, by the link that was printed, which works once; without it, a person may look."""
    link, address = running.world["console_link"], running.world["console"]
    assert link.startswith(f"{address}link/")
    same_origin = {"Sec-Fetch-Site": "same-origin"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(address) as answer:
            assert answer.status == 200
        async with session.post(link, data={"name": "anna"}, headers=same_origin, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/")
        async with session.get(address) as answer:
            assert (answer.status, "anna" in await answer.text()) == (200, True)
        async with session.post(link, data={"name": "eve"}, headers=same_origin, allow_redirects=False) as answer:
            assert answer.status == 403


async def an_exit_for_a_paused_connector(running: Dev, config: str) -> None:
    """The switch, and the order m4, which waits for its end."""
    paused = await run("--config", config, "lanes", "pause", "demo", "--why", "a test")
    assert paused.status == 0, paused.err
    async with OrderPublisher(running.world["broker"]) as orders:
        exit_order = OrderIntent(connector_name="demo", action="closeLong", percent="100")
        await orders.publish(exit_order, message_id="m4")


async def test_sigterm_while_it_starts_ends_it_well(tmp_path: Path, port: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signalq", "dev", "--folder", str(tmp_path), "--port", str(port)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert b"a private RabbitMQ starts" in await asyncio.wait_for(process.stdout.readline(), END_TIMEOUT_S)
        process.terminate()
        said, _ = await asyncio.wait_for(process.communicate(), END_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, b"Ready" in said) == (0, False)
    await nothing_left_of(tmp_path)


async def test_a_part_that_dies_ends_all_of_it(tmp_path: Path, port: int) -> None:
    async with dev(tmp_path, "--port", str(port)) as running:
        (consumer,) = [pid for pid, arguments in processes_of(tmp_path).items() if "consume" in arguments]
        os.kill(consumer, signal.SIGKILL)
        assert await running.ended() == 1
    await nothing_left_of(tmp_path)
