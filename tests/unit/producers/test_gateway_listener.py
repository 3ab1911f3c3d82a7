"""The gateway's HTTP edge in this process, with an outlet that does as it is told: connections, failures, bounds."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from signalq.errors import SettingsError, Unconfirmed
from signalq.message.trace_context import TraceParent
from signalq.producers.gateway import server as server_module
from signalq.producers.gateway.alerts import Alert, Reading, Rules, token_digest
from signalq.producers.gateway.listener import Listener, _allowed_files
from signalq.producers.gateway.outlet import Outlet
from signalq.producers.gateway.repeats import Identity
from signalq.producers.gateway.server import WEBHOOK_PATH, GatewayServer, Options
from tests.support.waiting import wait_until

TOKEN = "a-token-of-somebody"
ORDER = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
BODY = json.dumps(ORDER).encode()
TIMEOUT_S = 5.0


class ToldOutlet(Outlet):
    """Confirms when `gate` is open, or fails with `error`; remembers what it was given."""

    def __init__(self) -> None:
        super().__init__("amqp://guest@127.0.0.1:1/", prefix="signalq", heartbeat_s=10)
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        # So many are confirmed before it fails.
        self.fails_after = 0
        self.ids: list[str] = []

    async def publish(self, alert: Alert, identity: Identity, _caller: TraceParent | None = None) -> None:
        """As it was told."""
        assert alert.connector == "main"
        self.ids.append(identity.message_id)
        await self.gate.wait()
        if self.error is not None and len(self.ids) > self.fails_after:
            raise self.error


def options(host: str = "127.0.0.1", port: int = 0, rate_per_s: float | None = None) -> Options:
    reading = Reading(lambda _name: Rules(token_digest(TOKEN)), delay_max_s=60)
    return Options(host, port, reading, lambda name: name == "main", rate_per_s=rate_per_s)


@asynccontextmanager
async def served(
    outlet: Outlet, port: int = 0, host: str = "127.0.0.1", rate_per_s: float | None = None
) -> AsyncIterator[int]:
    """A gateway on a port of its own."""
    gateway = GatewayServer(options(host, port, rate_per_s), outlet)
    try:
        yield await gateway.start()
    finally:
        await gateway.stop()


class Caller:
    """A connection that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, text: bytes) -> None:
        """Send these bytes."""
        self.writer.write(text)

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: its status and its body."""
        async with asyncio.timeout(TIMEOUT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            return int(head.split()[1]), await self.reader.readexactly(int(length.split(b":")[1]))

    async def hung_up(self) -> bool:
        """Wait until the other side has."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    @property
    def is_open(self) -> bool:
        """Whether nothing says that the other side hung up; only after something that must have come later."""
        return not self.reader.at_eof()


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    """A connection to it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def post(body: bytes = BODY) -> bytes:
    return f"POST {WEBHOOK_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# ---- connections ----


@asynccontextmanager
async def listening(connections_max: int) -> AsyncIterator[tuple[Listener, int]]:
    """A listener alone, over a server that says hello and remembers who spoke."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        listener.spoke(request.protocol)
        if "busy" in request.path:
            with listener.busy(request.protocol):
                await gate.wait()
        return web.Response(text="hello")

    gate = asyncio.Event()
    listener = Listener(unhandled=lambda status: web.Response(status=status), connections_max=connections_max)
    server = web.Server(handle)
    port = await listener.start(server, "127.0.0.1", 0)
    try:
        yield listener, port
    finally:
        gate.set()
        await listener.close()
        await server.shutdown(1)


async def test_where_there_is_no_room_the_connection_that_was_silent_for_longest_makes_it() -> None:
    async with listening(2) as (listener, port), calling(port) as first, calling(port) as second:
        await wait_until(lambda: len(listener) == 2)
        first.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first.answer())[0] == 200
        async with calling(port) as third:
            assert await second.hung_up()
            third.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await third.answer())[0] == 200
            assert first.is_open
            assert len(listener) == 2


async def test_a_connection_whose_order_is_on_the_way_makes_no_room() -> None:
    async with listening(1) as (listener, port), calling(port) as busy:
        busy.say(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        await wait_until(lambda: listener._busy)
        async with calling(port) as another:
            assert await another.hung_up()
        assert busy.is_open
        assert len(listener) == 1


async def test_at_the_end_a_request_over_an_open_connection_is_answered_and_no_new_connection_is_accepted() -> None:
    gateway = GatewayServer(options(), ToldOutlet())
    port = await gateway.start()
    async with calling(port) as caller:
        caller.say(post())
        assert (await caller.answer())[0] == 200
        stopping = asyncio.create_task(gateway.stop())
        await wait_until(lambda: refused(port))
        caller.say(post())
        assert (await caller.answer())[0] == 200
        assert await caller.hung_up()
        await stopping


def refused(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (1024, 4096, 2100),
        (1024, 1500, 1500),
        (4096, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 2100),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 2100),
    ],
)
def test_a_process_may_open_as_many_files_as_it_wants_where_the_system_lets_it(
    soft: int, hard: int, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, pair: limits.append(pair))
    assert _allowed_files(2100) == allowed
    assert limits[-1][0] in {allowed, resource.RLIM_INFINITY}
    assert limits[-1][1] == hard


# ---- what is not ours to repeat ----


async def test_a_fault_of_our_own_is_a_500_that_tells_nothing_and_a_line_that_says_where() -> None:
    outlet = ToldOutlet()
    outlet.error = RuntimeError(f"it was {TOKEN}")
    with capture_logs() as log:
        async with served(outlet) as port, calling(port) as caller:
            caller.say(post())
            status, body = await caller.answer()
    assert status == 500
    assert json.loads(body)["status"] == 500
    assert TOKEN not in body.decode()
    (line,) = [line for line in log if line["event"] == "request.failed"]
    assert line["error"] == "RuntimeError"
    assert "outlet.publish" in line["exception"]
    assert TOKEN not in json.dumps(log)


async def test_after_a_fault_of_our_own_an_equal_order_is_its_repeat() -> None:
    outlet = ToldOutlet()
    outlet.error = RuntimeError("out of luck")
    async with served(outlet) as port:
        for error in (outlet.error, None):
            outlet.error = error
            async with calling(port) as caller:
                caller.say(post())
                await caller.answer()
    assert outlet.ids[0] == outlet.ids[1]


# ---- bounds ----


async def test_more_unconfirmed_orders_than_the_bound_are_503_and_slow_bodies_take_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_module, "UNCONFIRMED_MAX", 1)
    outlet = ToldOutlet()
    async with served(outlet) as port, calling(port) as slow, calling(port) as first, calling(port) as second:
        slow.say(post()[:-5])
        outlet.gate.clear()
        first.say(post())
        await wait_until(lambda: outlet.ids)
        second.say(post())
        status, body = await second.answer()
        assert (status, "too many" in body.decode()) == (503, True)
        outlet.gate.set()
        assert (await first.answer())[0] == 200
        second.say(post())
        assert (await second.answer())[0] == 200
        slow.say(post()[-5:])
        assert (await slow.answer())[0] == 200


async def test_equal_orders_at_the_same_time_are_two_and_each_repeat_is_one_of_them() -> None:
    outlet = ToldOutlet()
    outlet.error = Unconfirmed("the connection broke", "id")
    outlet.gate.clear()
    async with served(outlet) as port, calling(port) as first, calling(port) as second, calling(port) as third:
        for caller in (first, second):
            caller.say(post())
        await wait_until(lambda: len(outlet.ids) == 2)
        outlet.gate.set()
        assert {(await caller.answer())[0] for caller in (first, second)} == {503}
        outlet.error = None
        for caller in (first, second, third):
            caller.say(post())
            assert (await caller.answer())[0] == 200
    one, another, *repeats, new = outlet.ids
    assert one != another
    assert sorted(repeats) == sorted([one, another])
    assert new not in repeats


async def test_each_order_of_an_array_takes_a_place_among_the_unconfirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "UNCONFIRMED_MAX", 3)
    outlet = ToldOutlet()
    outlet.gate.clear()
    async with served(outlet) as port, calling(port) as first, calling(port) as second:
        first.say(post(array(2)))
        await wait_until(lambda: outlet.ids)
        second.say(post(array(2)))
        assert (await second.answer())[0] == 503
        second.say(post())
        await wait_until(lambda: len(outlet.ids) == 2)
        outlet.gate.set()
        assert (await first.answer())[0] == (await second.answer())[0] == 200
        first.say(post(array(3)))
        assert (await first.answer())[0] == 200


# ---- arrays ----


def array(count: int) -> bytes:
    return json.dumps([ORDER | {"log": str(number)} for number in range(count)]).encode()


async def test_an_array_that_broke_off_is_503_and_its_repeat_is_the_same_orders_whole() -> None:
    outlet = ToldOutlet()
    outlet.error, outlet.fails_after = Unconfirmed("the connection broke", "id"), 2
    with capture_logs() as log:
        async with served(outlet) as port, calling(port) as caller:
            caller.say(post(array(4)))
            assert (await caller.answer())[0] == 503
            assert len(outlet.ids) == 3, "what comes behind one that was not confirmed is not published"
            outlet.error = None
            for _ in range(2):
                caller.say(post(array(4)))
                assert (await caller.answer())[0] == 200
    begun, rest, again = outlet.ids[:3], outlet.ids[3:5], outlet.ids[5:]
    assert rest[0] == begun[2], "what was confirmed is not published again"
    repeat = [*begun[:2], *rest]
    assert len({*repeat, *again}) == 8, "after an ok the same array is new orders"
    unconfirmed = [line for line in log if line["event"] == "alert.unconfirmed"]
    assert [line["confirmed"] for line in unconfirmed] == [True, True, False, False]
    assert [line["message_id"] for line in unconfirmed] == repeat
    published = [(line["message_id"], line["repeat"]) for line in log if line["event"] == "alert.published"]
    assert published == [(one, True) for one in repeat] + [(one, False) for one in again]


async def test_each_repeat_of_a_long_array_gets_further_until_all_of_it_is_confirmed() -> None:
    """A broker that confirms 3 orders in the time of a request would never come to the end of one from its start."""
    outlet = ToldOutlet()
    outlet.error = Unconfirmed("RabbitMQ is slow", "id")
    statuses = []
    async with served(outlet) as port, calling(port) as caller:
        for _ in range(4):
            outlet.fails_after = len(outlet.ids) + 3
            caller.say(post(array(10)))
            statuses.append((await caller.answer())[0])
    assert statuses == [503, 503, 503, 200]
    confirmed = [one for place, one in enumerate(outlet.ids) if place not in (3, 7, 11)]
    assert len(confirmed) == len({*confirmed}) == 10


async def test_a_request_whose_ok_was_not_heard_is_ok_at_once_when_it_comes_again() -> None:
    outlet = ToldOutlet()
    outlet.gate.clear()
    with capture_logs() as log:
        async with served(outlet) as port:
            async with calling(port) as gone:
                gone.say(post(array(2)))
                await wait_until(lambda: outlet.ids)
            async with calling(port) as caller:
                caller.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await caller.answer())[0] == 200, "and so the end of the other connection was noticed"
                outlet.gate.set()
                await wait_until(lambda: [line for line in log if line["event"] == "alert.answer_unheard"])
                caller.say(post(array(2)))
                assert (await caller.answer())[0] == 200
    assert len(outlet.ids) == 2


async def test_the_rate_refuses_no_repeat_of_what_it_has_let_in() -> None:
    """It would be answered 429, and TradingView repeats no 4xx: half an array would stay behind."""
    outlet = ToldOutlet()
    outlet.error, outlet.fails_after = Unconfirmed("the connection broke", "id"), 2
    async with served(outlet, rate_per_s=0.1) as port, calling(port) as caller:
        statuses = []
        for body in (array(4), array(4), array(3)):
            caller.say(post(body))
            statuses.append((await caller.answer())[0])
            outlet.error = None
    assert statuses == [503, 200, 429]
    assert len({*outlet.ids}) == 4


async def test_another_array_with_some_of_the_same_orders_is_no_repeat() -> None:
    outlet = ToldOutlet()
    outlet.error = Unconfirmed("the connection broke", "id")
    async with served(outlet) as port, calling(port) as caller:
        caller.say(post(array(2)))
        assert (await caller.answer())[0] == 503
        outlet.error = None
        for body in (array(3), array(1), json.dumps(ORDER | {"log": "0"}).encode(), array(2)):
            caller.say(post(body))
            assert (await caller.answer())[0] == 200
    lost, *new, first, _second = outlet.ids
    assert lost not in new
    assert first == lost


@pytest.mark.parametrize(("bad_fields", "says"), [(50, "is not a field of an intent"), (3000, "more than 64 values")])
async def test_however_many_bad_fields_a_body_has_the_answer_is_short(bad_fields: int, says: str) -> None:
    body = json.dumps(ORDER | {f"field{number}": 1 for number in range(bad_fields)}).encode()
    async with served(ToldOutlet()) as port, calling(port) as caller:
        caller.say(post(body))
        status, answer = await caller.answer()
    assert status == 400
    assert len(answer) < 20_000
    assert says in json.loads(answer)["detail"]


# ---- where it can't listen ----


async def test_a_port_that_is_taken_and_a_host_that_is_none_are_sentences() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match=r"gateway\.port"):
            async with served(ToldOutlet(), taken.getsockname()[1]):
                pass
    with pytest.raises(SettingsError, match="no name of a host"):
        async with served(ToldOutlet(), host="a..b"):
            pass
