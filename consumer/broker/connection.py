"""The consuming connection, one for all lanes: opened again after each loss, topology and ledger seen to first."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CLOSE_TIMEOUT_S, connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology, unbind_lane
from signalq.consumer.ledger.ledger import Ledger
from signalq.errors import BrokerUnreachable, SettingsError, SignalQError, TopologyError
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

RECONNECT_BASE_S = 0.5
# Orders wait meanwhile, and each attempt at a broker that is away costs next to nothing.
RECONNECT_MAX_S = 5.0
# More lanes than this are not opened at a time: each asks the broker and the ledger several things.
LANES_OPENING_MAX = 32
# A connection that could not be made is not tried again within so long, however many lanes ask.
FAILURE_SHARED_S = 0.1

log = structlog.get_logger()


class SharedFailure(BrokerUnreachable):
    """Another lane has just tried to connect in vain, and said so."""


class BrokerConnection:
    """The consuming connection: opened when a lane asks, topology seen to first."""

    def __init__(self, settings: Settings, topology: Topology, ledger: Ledger) -> None:
        self._settings = settings
        self._topology = topology
        self._ledger = ledger
        self._connection: AbstractConnection | None = None
        self._asker: Inspector | None = None
        self._opening = asyncio.Lock()
        self._opened_before = False
        self._failed_s = float("-inf")
        self._why = ""
        self._first: BrokerConnection | None = None
        # Held by a lane while it opens.
        self.places_to_open = asyncio.Semaphore(LANES_OPENING_MAX)

    def apart(self) -> BrokerConnection:
        """Another connection, for a lane that would hold up the others: opened once this one is, which has seen to
        topology and ledger. To close it closes this one too, for whoever connects next sees to them again.
        """
        other = BrokerConnection(self._settings, self._topology, self._ledger)
        other._first = self
        return other

    @property
    def is_apart(self) -> bool:
        """Whether it is one lane's own."""
        return self._first is not None

    @property
    def is_up(self) -> bool:
        """Whether the connection is there, as far as we know."""
        return self._connection is not None and self._connection.connected.is_set()

    async def connection(self) -> AbstractConnection:
        """The open connection. Many lanes may ask: one of them tries, and those that waited meanwhile share what comes
        of it.

        Raises BrokerUnreachable, TopologyError, or SettingsError where the lanes belong to another ledger.
        """
        asked_s = loop_s()
        async with self._opening:
            if self._connection is None or not self.is_up:
                if self._failed_s >= asked_s - FAILURE_SHARED_S:
                    raise SharedFailure(self._why)
                await self._close()
                try:
                    self._connection = await self._open()
                except BrokerUnreachable as error:
                    self._failed_s, self._why = loop_s(), str(error)
                    raise
            return self._connection

    async def depth(self, queue: str) -> QueueDepth | None:
        """How full a queue is, None where there is none; all lanes ask over one channel. Raises BrokerError."""
        connection = await self.connection()
        if self._asker is None:
            self._asker = Inspector(connection)
        return await self._asker.depth(queue)

    async def unbind(self, connector: str) -> bool:
        """Let nothing more be routed into what was a connector's own lane; False where that is not ours to change.

        Raises BrokerError.
        """
        if self._settings.broker.topology != "declare":
            return False
        await unbind_lane(await self.connection(), self._topology.names, connector)
        return True

    async def disconnect(self) -> None:
        """Close this connection alone, at most CLOSE_TIMEOUT_S long."""
        async with self._opening:
            await self._close()

    async def close(self) -> None:
        """Close the connection, at most CLOSE_TIMEOUT_S long."""
        await self.disconnect()
        if self._first is not None:
            await self._first.close()

    async def _open(self) -> AbstractConnection:
        broker = self._settings.broker
        url = broker.url.get_secret_value()
        handle_foreign_properties()
        if self._first is not None:
            await self._first.connection()
            return await connect(url, name="signalq consumer apart", heartbeat_s=broker.heartbeat_s)
        connection = await connect(url, name="signalq consumer", heartbeat_s=broker.heartbeat_s)
        try:
            await self._see_to_topology(connection)
            await self._see_to_ledger(connection)
        except SignalQError:
            await _abandon(connection)
            raise
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            await _abandon(connection)
            raise BrokerUnreachable(f"the connection to RabbitMQ broke ({type(error).__name__}: {error})") from error
        log.info("broker.reconnected" if self._opened_before else "broker.connected", url=masked(url))
        self._opened_before = True
        return connection

    async def _see_to_topology(self, connection: AbstractConnection) -> None:
        if self._settings.broker.topology == "declare":
            await self._topology.declare(connection)
            return
        missing = await self._topology.missing(connection)
        if missing:
            raise TopologyError(f"missing on the broker: {', '.join(missing)}; run `signalq topology apply`")

    async def _see_to_ledger(self, connection: AbstractConnection) -> None:
        """Refuse lanes that belong to another ledger: it knows what was POSTed, ours does not."""
        mine = LedgerMark(self._ledger.ledger_id, self._ledger.name)
        holds = await claim_mark(connection, self._topology.names, mine)
        if holds.ledger_id != mine.ledger_id:
            raise SettingsError(
                f"the lanes on this broker belong to the ledger {holds.ledger} ({holds.ledger_id}), and ledger.url is "
                f"{mine.ledger} ({mine.ledger_id}): use the former, or run `signalq topology adopt-ledger` if this is "
                "meant"
            )

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._asker = None
        if connection is not None:
            await _abandon(connection)


async def _abandon(connection: AbstractConnection) -> None:
    with suppress(Exception):  # whatever goes wrong with it: it is given up
        await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)


def loop_s() -> float:
    """The loop's own clock, which its waits go by."""
    return asyncio.get_running_loop().time()
