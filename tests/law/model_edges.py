"""The consumer's edges in the model: its disk, its webhook, its ways to the broker; every effect passes a gate."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from pamqp.commands import Basic
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from signalq.amqp.inspect import QueueDepth
from signalq.consumer.broker.connection import LANES_OPENING_MAX
from signalq.consumer.ledger import Epoch, LedgerEntry
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.tables import metadata
from signalq.consumer.ledger.transaction import Work
from signalq.consumer.ledger.writer import Writer
from signalq.consumer.orders.letters import LetterRecord
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import SwitchedOff
from signalq.consumer.webhook.answer import Answer
from signalq.consumer.webhook.client import MayBegin, Webhook
from signalq.errors import Unconfirmed
from tests.law.model_scenario import (
    AFTER_A_COMMIT,
    ANSWERS,
    AT_A_PUBLISH,
    AT_AN_ARRIVAL,
    BEFORE_A_COMMIT,
    BEFORE_A_POST,
    BROKEN,
)
from tests.law.model_time import ModelLoop

if TYPE_CHECKING:
    from tests.law.model_process import Process
    from tests.law.model_world import World

CONNECT_S, ANSWER_S, CONFIRM_S = 0.005, 0.02, 0.002
WEBHOOK_TIMEOUT_S = 10.0
RECONNECT_S = 0.2

T = TypeVar("T")


_WIPE = "".join(f"DELETE FROM {table};" for table in metadata.tables)  # noqa: S608 - our own tables


class Disk:
    """One SQLite database in memory, for all processes of a world."""

    def __init__(self) -> None:
        engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(engine)
        self.connection = engine.connect()
        self.connection.commit()

    def wipe(self) -> None:
        """As new."""
        file: sqlite3.Connection = self.connection.connection.driver_connection  # type: ignore[assignment]
        file.executescript(_WIPE)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """See signalq.consumer.ledger.database."""
        answer = work(self.connection)
        self.connection.commit()
        return answer

    async def close(self) -> None:
        """It outlives its users."""


@cache
def the_disk() -> Disk:
    """Making tables costs more than a whole run, so there is one for all runs."""
    return Disk()


class SlowDisk:
    """A real file; time stands still while its thread works."""

    def __init__(self, url: str, loop: ModelLoop) -> None:
        self._database = database_at(url, create=True)
        self._loop = loop

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """See signalq.consumer.ledger.database."""
        with self._loop.standing_still():
            return await asyncio.shield(asyncio.ensure_future(self._database.transact(work)))

    async def close(self) -> None:
        """See signalq.consumer.ledger.database."""
        with self._loop.standing_still():
            await self._database.close()


class GatedDatabase:
    """A database whose every commit has a gate before it and one behind it."""

    def __init__(self, process: Process, database: Disk | SlowDisk) -> None:
        self.shown = "the model's"
        self.about: list[str] = []
        self.endings: list[tuple[str, str, str]] = []
        self.at_work = False
        self.process = process
        self._database = database

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """See signalq.consumer.ledger.database."""
        what = " and ".join(label for label in self.about if label)
        if not what:
            await self.process.until_it_goes_on()
            self.process.world.check_writable()
            return await self._commit(work)
        # Nobody handles a message while the lane's epoch is taken.
        local = BEFORE_A_COMMIT[:1] if "new epoch" in what else BEFORE_A_COMMIT
        await self.process.gate(f"{what}: about to be committed", local)
        self.process.world.check_writable()
        answer = await self._commit(work)
        unheard = await self.process.gate(f"{what}: committed", AFTER_A_COMMIT)
        if unheard:
            raise OSError("the connection broke before it could say that it has committed")
        return answer

    async def close(self) -> None:
        """See signalq.consumer.ledger.database."""
        await self._database.close()

    async def come_to_rest(self) -> None:
        """Return once no thread works for us."""
        while self.at_work:  # noqa: ASYNC110 - the thread says nothing when it is done
            await asyncio.sleep(0)

    async def _commit(self, work: Callable[[Connection], T]) -> T:
        self.at_work = True
        self.endings.clear()
        try:
            answer = await self._database.transact(work)
        finally:
            self.at_work = False
        self.process.world.recorded.update(self.endings)
        return answer


# A label, and the order and the history that are saved.
About = tuple[str, Order | None, IntentState | None]
_NOTHING: About = "", None, None


class ToldWriter(Writer):
    """The real writer, which says what it is asked: `about` is of the next work."""

    about: About = _NOTHING

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._told: dict[Work, About] = {}

    def enqueue(self, work: Work, lane: str = "", *, in_hurry: bool = True) -> asyncio.Future[Any]:
        self._told[work], self.about = self.about, _NOTHING
        return super().enqueue(work, lane, in_hurry=in_hurry)

    def do(self, connection: Connection, works: list[Work]) -> list[Any]:
        answers = super().do(connection, works)
        for work, answer in zip(works, answers, strict=True):
            _, order, state = self._told.get(work, _NOTHING)
            if isinstance(answer, LedgerEntry) and order is not None and state is not None:
                self._note(order, state, answer)
        return answers

    def _note(self, order: Order, state: IntentState, saved: LedgerEntry) -> None:
        gated = self._gated
        if state.status != "sending":
            gated.process.world.note_recorded(gated.process, order)
        if state.ended:
            gated.endings.append((order.strategy, order.intent_id, state.status))
        gated.endings += [(one.strategy, one.intent_id, "canceled") for one in saved.canceled]

    async def commit(self, works: list[Work]) -> list[Any]:
        self._gated.about = [self._told.get(work, _NOTHING)[0] for work in works]
        answers = await super().commit(works)
        for work in works:
            self._told.pop(work, None)
        return answers

    @property
    def _gated(self) -> GatedDatabase:
        assert isinstance(self._database, GatedDatabase)
        return self._database


class ToldLedger(Ledger):
    """The real ledger, with a writer that says what it is asked."""

    _writer: ToldWriter

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process
        self.gated = GatedDatabase(process, world.database())
        super().__init__(self.gated, retention_days=7, observe_commit_s=lambda _seconds: None)

    async def open_lane(self, lane: str, *, alone: bool = True) -> Epoch:
        self._writer.about = f"new epoch of {lane}", None, None
        return await super().open_lane(lane, alone=alone)

    async def recall(self, order: Order, epoch: Epoch) -> LedgerEntry:
        self._writer.about = f"recall of {_named(order)}", None, None
        known = await super().recall(order, epoch)
        self._world.tell(self._process, f"  found {known.state.status} v{known.state.version}")
        return known

    async def claim(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch,
        *,
        rates: Sequence[Rate] = (),
        attempt: Attempt | None = None,
    ) -> LedgerEntry | SwitchedOff | RateExceeded:
        self._writer.about = f"claim of {_named(order)} on v{state.version}", order, state
        return await super().claim(order, state, epoch, rates=rates, attempt=attempt)

    def record(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch | None = None,
        *,
        attempt: Attempt | None = None,
        letter: LetterRecord | None = None,
    ) -> asyncio.Future[LedgerEntry]:
        self._writer.about = f"record of {_named(order)} {state.status} on v{state.version}", order, state
        return super().record(order, state, epoch, attempt=attempt, letter=letter)

    async def note_letter(self, letter: LetterRecord, lane: str) -> None:
        self._writer.about = f"note of the letter {(letter.intent_id or '')[:12]}", None, None
        await super().note_letter(letter, lane)

    async def note_forwarded(self, order: Order, state: IntentState) -> None:
        self._writer.about = f"note that {_named(order)} is forwarded", None, None
        await super().note_forwarded(order, state)


class ModelWebhook(Webhook):
    """The real client up to the exchange of bytes."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(connect_s=3, total_s=WEBHOOK_TIMEOUT_S)
        self._world = world
        self._process = process

    async def post(self, order: Order, may_begin: MayBegin | None = None) -> Attempt:
        await self._process.gate(f"POST of {_named(order)}: about to begin", BEFORE_A_POST)
        post = self._world.begins(order, self._process)
        self._post = post
        attempt = await super().post(order, may_begin)
        post.ended_ms, post.certainty = self._world.now_ms(), attempt.certainty
        await self._process.gate(f"POST of {_named(order)}: {attempt.certainty}")
        return attempt

    async def _exchange(self, order: Order, wire: SimpleNamespace) -> Answer:
        post = self._post
        await asyncio.sleep(CONNECT_S)
        answer = self._world.next_answer(post.uid)
        if answer == "refused":
            raise ConnectionRefusedError
        status, retry_after, body, taken = ANSWERS.get(answer, (0, None, b"", BROKEN.get(answer, False)))
        wire.sent = post.sent = True
        post.taken = taken
        await self._process.gate(f"POST of {_named(order)}: arrived, {answer}")
        if answer in BROKEN:
            await asyncio.sleep(WEBHOOK_TIMEOUT_S)
            raise TimeoutError
        await asyncio.sleep(ANSWER_S)
        return Answer(status, {"Retry-After": retry_after} if retry_after else {}, body)


class ModelPublisher:
    """What BrokerPublisher needs of ConfirmedPublisher."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        is_outcome = exchange == self._world.broker.names.outcomes
        assert mandatory != is_outcome, "an outcome may have no listener, all else has to arrive"
        what = f"publish of {_shown(body)} to {exchange or routing_key}"
        lost = await self._process.gate(f"{what}: about to be sent", AT_A_PUBLISH)
        if lost:
            await self._process.gate(f"{what}: given up")
            raise Unconfirmed("lost on its way", None)
        self._world.broker.publish(exchange, routing_key, body, properties)
        if is_outcome:
            self._world.note_told(routing_key, body, properties)
        lost = await self._process.gate(f"{what}: arrived", AT_AN_ARRIVAL)
        await asyncio.sleep(CONFIRM_S)
        if lost:
            await self._process.gate(f"{what}: given up")
            raise Unconfirmed("its confirm was lost", None)
        await self._process.gate(f"{what}: confirmed")

    async def close(self) -> None:
        return None


class ModelConnection:
    """What a lane needs of BrokerConnection."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.places_to_open = asyncio.Semaphore(LANES_OPENING_MAX)

    is_apart = True

    def apart(self) -> ModelConnection:
        return self

    async def depth(self, queue: str) -> QueueDepth | None:
        await self.opened()
        await self._process.hears()
        found = self._process.world.broker.queue(queue)
        return QueueDepth(ready=len(found.ready), consumers=len(found.channels))

    async def opened(self) -> Process:
        await self._process.until_it_goes_on()
        await asyncio.sleep(RECONNECT_S)
        return self._process

    async def close(self) -> None:
        return None

    disconnect = close


def _named(order: Order) -> str:
    return f"{order.intent.log} ({order.intent_id[:12]})"


def _shown(body: bytes) -> str:
    try:
        fields = json.loads(body)
        return (
            str(fields["log"])
            if "log" in fields
            else f"the event that {fields['intent_id'][:12]} is {fields['status']}"
        )
    except ValueError:
        return body.decode()
