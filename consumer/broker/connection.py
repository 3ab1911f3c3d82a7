"""The consuming connection, one for all lanes: opened again after each loss, with a pause after each failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import CLOSE_TIMEOUT_S, connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology, unbind_lane
from signalq.consumer.broker.troubles import Troubles
from signalq.consumer.ledger.ledger import Ledger
from signalq.errors import BrokerUnreachable, SettingsError, SignalQError, TopologyError
from signalq.kinds import Kind
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings
from signalq.times import backoff_s

# So many lanes are opened at a time: each asks the broker and the ledger several things.
LANES_OPENING_MAX = 32
# The pauses between attempts. Orders wait meanwhile, and each attempt at a broker that is away costs next to nothing.
RECONNECT_BASE_S = 0.5
RECONNECT_MAX_S = 5.0
# After a failed attempt to connect none is made for so long, however many lanes ask.
FAILURE_SHARED_S = 0.1

log = structlog.get_logger()


class ConnectFailed(BrokerUnreachable):
    """No connection could be made, or was just now tried in vain for another lane.

    `troubles`: those of the connection, by which all lanes that share it log a failure as if it were one lane's.
    """

    def __init__(self, failure: BrokerUnreachable, troubles: Troubles) -> None:
        super().__init__(failure.what, failure.advice, kind=failure.kind)
        self.troubles = troubles


class BrokerConnection:
    """The consuming connection, opened when a lane asks; the `main` one checks topology and ledger first."""

    def __init__(
        self, settings: Settings, topology: Topology, ledger: Ledger, main: BrokerConnection | None = None
    ) -> None:
        self._settings = settings
        self._topology = topology
        self._ledger = ledger
        self._main = main
        self._connection: AbstractConnection | None = None
        self._inspector: Inspector | None = None
        self._opening = asyncio.Lock()
        self._opened_before = False
        self._failed_s = float("-inf")
        self._failure: BrokerUnreachable | None = None
        self._troubles = Troubles()
        # Held by a lane while it opens.
        self.places_to_open = asyncio.Semaphore(LANES_OPENING_MAX)

    def apart(self) -> BrokerConnection:
        """Another connection, for a lane that would hold up the others. It is opened after this one, the main one.

        Closing it closes the main one too, so that the next attempt checks topology and ledger again.
        """
        return BrokerConnection(self._settings, self._topology, self._ledger, main=self)

    @property
    def is_apart(self) -> bool:
        return self._main is not None

    async def opened(self) -> AbstractConnection:
        """The open connection. Of many lanes that ask at once, one connects; the others share its result.

        Raises BrokerUnreachable, TopologyError, or SettingsError where the lanes belong to another ledger.
        """
        asked_s = loop_s()
        async with self._opening:
            if self._connection is None or not self._connection.connected.is_set():
                if self._failure is not None and self._failed_s >= asked_s - FAILURE_SHARED_S:
                    raise ConnectFailed(self._failure, self._troubles)
                await self._close()
                try:
                    self._connection = await self._open()
                except ConnectFailed:  # of the main connection, which logs it
                    raise
                except BrokerUnreachable as error:
                    self._failed_s, self._failure = loop_s(), error
                    raise ConnectFailed(error, self._troubles) from error
                self._troubles.are_over()
            return self._connection

    async def depth(self, queue: str) -> QueueDepth | None:
        """How full a queue is; None where there is none. Raises BrokerError."""
        connection = await self.opened()
        if self._inspector is None:
            self._inspector = Inspector(connection)
        return await self._inspector.depth(queue)

    async def unbind(self, connector: str) -> bool:
        """Remove the binding of a connector's own lane; False where the topology is not ours. Raises BrokerError."""
        if self._settings.broker.topology != "declare":
            return False
        await unbind_lane(await self.opened(), self._topology.names, connector)
        return True

    async def disconnect(self) -> None:
        """Close this connection alone, at most CLOSE_TIMEOUT_S long."""
        async with self._opening:
            await self._close()

    async def close(self) -> None:
        """Close this connection and the main one, each at most CLOSE_TIMEOUT_S long."""
        await self.disconnect()
        if self._main is not None:
            await self._main.close()

    async def _open(self) -> AbstractConnection:
        broker = self._settings.broker
        url = broker.url.get_secret_value()
        handle_foreign_properties()
        if self._main is not None:
            await self._main.opened()
            return await connect(url, name="signalq consumer apart", heartbeat_s=broker.heartbeat_s)
        connection = await connect(url, name="signalq consumer", heartbeat_s=broker.heartbeat_s)
        try:
            await self._check_topology(connection)
            await self._check_ledger(connection)
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            await abandon(connection)
            if isinstance(error, SignalQError):
                raise
            raise BrokerUnreachable(f"the connection to RabbitMQ broke ({type(error).__name__}: {error})") from error
        log.info("broker.reconnected" if self._opened_before else "broker.connected", url=masked(url))
        self._opened_before = True
        return connection

    async def _check_topology(self, connection: AbstractConnection) -> None:
        if self._settings.broker.topology == "declare":
            await self._topology.declare(connection)
            return
        if missing := await self._topology.missing(connection):
            raise TopologyError(f"missing on the broker: {', '.join(missing)}; run `signalq topology apply`")

    async def _check_ledger(self, connection: AbstractConnection) -> None:
        """Refuse lanes that belong to another ledger: that one knows what was POSTed, ours does not."""
        mine = LedgerMark(self._ledger.ledger_id, self._ledger.name)
        holds = await claim_mark(connection, self._topology.names, mine)
        if holds.ledger_id != mine.ledger_id:
            raise SettingsError(
                f"the lanes on this broker belong to the ledger {holds.ledger} ({holds.ledger_id}), and ledger.url is "
                f"{mine.ledger} ({mine.ledger_id}): use the former, or run `signalq topology adopt-ledger` if this is "
                "meant",
                kind=Kind.ANOTHER_LEDGER,
            )

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._inspector = None
        if connection is not None:
            await abandon(connection)


class Backoff:
    """The pauses after failures in a row at the broker: longer after each, and never long."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._has_logged = False
        self._troubles = Troubles()

    def reset(self, queue: str) -> None:
        """Note that the queue is consumed; log it where its failures were logged."""
        if self._has_logged:
            log.info("broker.lane_recovered", queue=queue, failures=self._failures)
        self._failures, self._has_logged = 0, False
        self._troubles.are_over()

    async def wait(self) -> None:
        await asyncio.sleep(self._next_s())

    async def wait_for(self, queue: str, error: Exception) -> None:
        """Wait after a failure at a queue; log it, unless it was logged just now: of lasting ones some are logged."""
        wait_s, why = self._next_s(), described(error)
        troubles = error.troubles if isinstance(error, ConnectFailed) else self._troubles
        if troubles.is_due(why, loop_s()):
            self._has_logged = True
            log.warning("broker.unreachable", queue=queue, why=why, retry_in_s=round(wait_s, 2))
        await asyncio.sleep(wait_s)

    def _next_s(self) -> float:
        self._failures += 1
        return backoff_s(self._failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())


async def abandon(given_up: AbstractConnection | AbstractChannel) -> None:
    """Close a connection or a channel, at most CLOSE_TIMEOUT_S long, whatever it says to that."""
    with suppress(Exception):  # aiormq ends what waits for an answer with a bare Exception, too
        await asyncio.wait_for(given_up.close(), CLOSE_TIMEOUT_S)


def loop_s() -> float:
    """The time on the loop's own clock, by which its waits go."""
    return asyncio.get_running_loop().time()


def described(error: BaseException) -> str:
    """An error in words: our own sentence, or a library's with its name."""
    return str(error) if isinstance(error, SignalQError) else f"{type(error).__name__}: {error}"
