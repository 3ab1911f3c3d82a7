"""No exception of a library ends the process while it can heal."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq.amqp.publisher import ConfirmingChannel
from signalq.consumer import handling, kept_going
from signalq.consumer.broker import connection as connection_module
from signalq.consumer.broker import lane_consumer
from signalq.consumer.broker.connection import BrokerConnection
from signalq.consumer.broker.lane_consumer import Lane, LaneContext
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session
from signalq.consumer.broker.topology import topology_of
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.handling import Handling
from signalq.consumer.ledger import Epoch
from signalq.consumer.orders.message import Message
from signalq.consumer.slots import Slot
from signalq.errors import BrokerUnreachable, SettingsError, TopologyError, Unconfirmed
from signalq.settings.sections import Settings
from tests.support.ledgers import MemoryLedger
from tests.support.waiting import wait_until

OPTIONS = ConsumeOptions("q", prefetch=1, bytes_max=1)
FOREIGN = [Exception(), RuntimeError("from a library"), KeyError("x"), AssertionError()]


class BrokenConnection:
    """Every attempt to connect fails so."""

    is_apart = False

    def __init__(self, error: Exception) -> None:
        self.asked = 0
        self.places_to_open = asyncio.Semaphore()
        self._error = error

    async def opened(self) -> None:
        self.asked += 1
        raise self._error


def context(connection: object) -> LaneContext:
    def nothing(_what: object) -> None:
        return

    return LaneContext(
        connection=cast("BrokerConnection", connection),
        ledger=MemoryLedger(),
        on_active=nothing,
        on_delivery=nothing,
        on_lost=nothing,
        jitter=lambda: 0.0,
    )


def lane(connection: BrokenConnection) -> Lane:
    return Lane(OPTIONS, context(connection))


@pytest.mark.parametrize("error", FOREIGN, ids=repr)
async def test_a_lane_tries_again_after_any_error_of_a_library(error: Exception) -> None:
    connection = BrokenConnection(error)
    running = asyncio.create_task(lane(connection).run())
    await wait_until(lambda: connection.asked > 3)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


@pytest.mark.parametrize("error", [SettingsError("another ledger"), TopologyError("another kind")], ids=repr)
async def test_a_lane_ends_by_an_error_that_only_a_person_can_mend(error: Exception) -> None:
    with pytest.raises(type(error)):
        await lane(BrokenConnection(error)).run()


async def test_a_connection_that_breaks_as_it_is_made_ready_is_closed_and_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[bool] = []

    class Connection:
        async def close(self) -> None:
            closed.append(True)
            raise Exception  # noqa: TRY002 - as aiormq does

    async def connect(*_args: object, **_options: object) -> Any:
        return Connection()

    async def breaks(*_args: object) -> None:
        raise Exception  # noqa: TRY002 - as aiormq does

    settings = Settings()
    broken = BrokerConnection(settings, topology_of(settings), MemoryLedger())
    monkeypatch.setattr(connection_module, "connect", connect)
    monkeypatch.setattr(broken, "_check_topology", breaks)
    with pytest.raises(BrokerUnreachable):
        await broken.opened()
    assert closed == [True]


async def test_a_publish_that_ends_with_a_bare_exception_is_unconfirmed() -> None:
    class Channel:
        is_closed = False

        def send(self, *_args: object, **_options: object) -> asyncio.Future[None]:
            sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            sent.set_exception(Exception())  # as aiormq does
            return sent

    channel = ConfirmingChannel(cast("Any", Channel()))
    with pytest.raises(Unconfirmed):
        await channel.publish("", "q", b"", Basic.Properties())


async def test_a_task_beside_the_lanes_goes_on_after_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_going, "PAUSE_S", 0.0)
    began = 0

    async def work() -> None:
        nonlocal began
        began += 1
        if began <= len(FOREIGN):
            raise FOREIGN[began - 1]

    with capture_logs() as logs:
        await kept_going.kept_going(work, "work")
    assert [line["event"] for line in logs] == ["service.task_failed"] * len(FOREIGN)
    assert began == len(FOREIGN) + 1


async def test_a_retired_lane_that_fails_in_any_way_leaves_the_others_to_be_read_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def known_lanes() -> list[str]:
        return ["signalq.orders.one", "signalq.orders.two"]

    class Connection:
        def apart(self) -> Connection:
            return self

        async def depth(self, queue: str) -> None:
            asked.append(queue)
            if len(asked) <= len(FOREIGN):
                raise FOREIGN[len(asked) - 1]

    on_this = context(Connection())
    monkeypatch.setattr(on_this.ledger, "known_lanes", known_lanes)
    with capture_logs() as logs:
        await ConsumedLanes(Settings(), on_this).consume_retired()
    recovered = [(line["queue"], line["failures"]) for line in logs if line["event"] == "broker.lane_recovered"]
    assert recovered == [("signalq.orders.one", len(FOREIGN))], "its failures are not counted for the next one"
    assert asked == ["signalq.orders.one"] * (len(FOREIGN) + 1) + ["signalq.orders.two"]


@pytest.mark.parametrize("error", FOREIGN, ids=repr)
async def test_a_lane_whose_watch_fails_in_any_way_is_lost_and_consumed_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Session] = []

    async def opens() -> Session:
        opened.append(Session(cast("Any", None), OPTIONS, 0.0))
        return opened[-1]

    async def fails(*_arguments: object) -> None:
        await asyncio.sleep(0)
        raise error

    one = lane(BrokenConnection(error))
    one._open = opens  # type: ignore[method-assign]
    monkeypatch.setattr(lane_consumer, "watch", fails)
    with capture_logs():
        running = asyncio.create_task(one.run())
        await wait_until(lambda: len(opened) > 3)
        assert opened[0].ended.is_set()
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("error", FOREIGN, ids=repr)
async def test_a_session_whose_lane_can_not_be_taken_is_lost(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(_lane: str, *, alone: bool) -> Epoch:
        assert alone
        raise error

    monkeypatch.setattr(lane_consumer, "RECONNECT_BASE_S", 0.0)
    one, session = lane(BrokenConnection(error)), Session(cast("Any", None), OPTIONS, 0.0)
    monkeypatch.setattr(one._ledger, "open_lane", fails)
    with capture_logs():
        await one._activate(session)
    assert session.ended.is_set()
    assert session.epoch is None


async def test_a_message_that_is_handled_again_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the ledger knows of it by then may be its own first record."""
    monkeypatch.setattr(handling, "CRASH_PAUSE_S", 0.0)
    handles = Handling(Settings(), cast("Any", None), cast("Any", None))
    seen: list[bool] = []

    async def fails_at_first(delivery: Delivery, _slot: Slot) -> None:
        seen.append(delivery.message.handled_before)
        if len(seen) == 1:
            raise KeyError

    message = Message(b"{}", Basic.Properties(), "q", redelivered=False)
    with capture_logs():
        await handles._guarded(fails_at_first, Delivery(message, 1, Session(cast("Any", None), OPTIONS, 0.0)), Slot())
    assert seen == [False, True]
