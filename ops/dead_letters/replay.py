"""`signalq dead replay`: the action that begins the next generation of dead intents; batches.py says in which steps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pamqp.commands import Basic
from sqlalchemy import Connection

from signalq import names
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replays
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.read import read
from signalq.errors import BrokerError, Unconfirmed
from signalq.message.envelope import republish_properties
from signalq.ops.dead_letters.batches import LOOKS_MAX, LetterResult, result_of
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.rules import (
    BUSY,
    Admit,
    Begin,
    GoOn,
    MovedOn,
    Refuse,
    ReplayTerms,
    ReplayVerdict,
    judge_replay,
)
from signalq.ops.ledger import who
from signalq.publishing.publisher import PUBLISH_TIMEOUT_S
from signalq.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class Candidate:
    """A letter as it would be published again, and as the consumer would read that."""

    letter: Letter
    properties: Basic.Properties
    found: Order | Unreadable


class ReplayAction:
    """Begins the next generation of dead intents."""

    def __init__(
        self, settings: Settings, ledger: LedgerClient, publisher: ConfirmedPublisher, *, force: bool, dry_run: bool
    ) -> None:
        self.dry_run = dry_run
        self._settings = settings
        self._ledger = ledger
        self._publisher = publisher
        self._orders = names.Names(settings.broker.prefix).orders
        self._force = force
        self._by = f"by {who()}, with signalq dead replay"
        self._retention_ms = round(settings.ledger.retention_days * 86_400_000)

    async def apply(self, letters: Sequence[Letter]) -> list[LetterResult]:
        """See LetterAction."""
        candidates = [candidate_of(letter, self._settings) for letter in letters]

        def decide(connection: Connection) -> list[ReplayVerdict]:
            now_ms = clock_ms(connection)
            return [self._decide(connection, now_ms, candidate) for candidate in candidates]

        verdicts = await self._ledger.transact(decide)
        decided = list(zip(candidates, verdicts, strict=True))
        if self.dry_run:
            return [result_of(verdict) for verdict in verdicts]
        # Opened before the tasks start: then each task writes in its first step, so they write in order.
        await self._publisher.channel()
        return await asyncio.gather(*(self._carry_out(candidate, verdict) for candidate, verdict in decided))

    def _decide(self, connection: Connection, now_ms: int, candidate: Candidate) -> ReplayVerdict:
        letter = candidate.letter
        terms = ReplayTerms(now_ms, self._retention_ms, self._force)
        for _ in range(LOOKS_MAX):
            standing = replays.find(connection, letter.strategy, letter.intent_id or "")
            verdict = judge_replay(letter, candidate.found, standing, terms)
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: Letter, verdict: ReplayVerdict) -> bool:
        match verdict:
            case Begin(standing):
                return replays.begin(connection, now_ms, standing, self._by)
            case GoOn(standing):
                return replays.renew(connection, now_ms, standing)
            case Admit(order):
                return replays.admit(connection, now_ms, order, letter.generation or 0, self._by)
            case _:
                return True

    async def _carry_out(self, candidate: Candidate, verdict: ReplayVerdict) -> LetterResult:
        if isinstance(verdict, (MovedOn, Refuse)):
            return result_of(verdict)
        letter, found = candidate.letter, candidate.found
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._publisher.publish(self._orders, found.connector, letter.body, candidate.properties)
        except BrokerError as error:
            return LetterResult("not done", str(error), error)
        except TimeoutError:
            silent = Unconfirmed(f"RabbitMQ confirmed nothing within {PUBLISH_TIMEOUT_S:g} s", letter.intent_id)
            return LetterResult("not done", str(silent), silent)
        return result_of(verdict)


def candidate_of(letter: Letter, settings: Settings) -> Candidate:
    """The letter under its identity, which is its message_id unless that belongs to another intent."""
    headers = letter.properties.headers or {}
    marks = {names.INTENT_ID: letter.intent_id, names.ORIGIN_USER: headers.get(names.ORIGIN_USER)}
    if letter.strategy != "-":
        marks[names.STRATEGY] = letter.strategy
    properties = republish_properties(letter.properties, marks, letter.intent_id or "")
    properties.message_id = letter.intent_id
    message = Message(letter.body, properties, letter.connector or "", redelivered=False)
    return Candidate(letter, properties, read(message, settings, time.time_ns() // 1_000_000))
