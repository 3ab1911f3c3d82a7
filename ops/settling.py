"""Replaying and discarding dead letters, so that it may be interrupted anywhere.

replay    ledger: next generation -> publish, confirmed -> acknowledge the letter
discard   ledger: a step          -> acknowledge the letter

Whatever ends the command between two of these, the letter is still there, and the ledger says how far it came: a
second run goes on from there. What was published twice the consumer answers from the ledger.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from pamqp.commands import Basic
from sqlalchemy import Connection

from consumer.history import Reason
from consumer.ledger import replays
from consumer.ledger.database import clock_ms
from consumer.ledger.visit import LedgerVisit
from consumer.order import Message, Order, Unreadable, read
from consumer.settings import Settings
from ops.dead import DeadLetters
from ops.errors import CommandFailed
from ops.escaping import escaped
from ops.letters import DeadLetter
from ops.selection import Selection
from ops.verdicts import (
    BUSY,
    Admit,
    Begin,
    Discard,
    DiscardVerdict,
    GoOn,
    MovedOn,
    PublishAnyway,
    Refuse,
    ReplayVerdict,
    TakeBack,
    judge_discard,
    judge_replay,
)
from signalq import names
from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import held_mark
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.client import PUBLISH_TIMEOUT_S
from signalq.envelope import republish_properties
from signalq.errors import BrokerError, SignalQError, Unconfirmed

# How often the ledger is looked at again where the consumer was quicker.
LOOKS_MAX = 3
# What is left of a batch after Ctrl-C.
FINISH_TIMEOUT_S = 10.0

Result = Literal["replayed", "replayed already", "discarded", "refused", "not done"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter; `error` ended the run before the letter was dealt with."""

    result: Result
    why: str | None = None
    error: SignalQError | None = None

    @property
    def is_done(self) -> bool:
        """Whether the letter has served, and may be taken away."""
        return self.result in {"replayed", "replayed already", "discarded"}

    def without_the_broker(self, error: SignalQError) -> Outcome:
        """The letter could not be taken away: a replay stands all the same, a discarded letter is still there."""
        return Outcome("not done", str(error), error) if self.result == "discarded" else self


class Handler(Protocol):
    """What is done with letters."""

    dry_run: bool

    async def handle(self, letters: Sequence[DeadLetter]) -> list[Outcome]:
        """Everything but taking them away; an outcome for each. Raises SignalQError where nothing was done."""
        ...


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A letter as it would be published again, and as the consumer would read that."""

    letter: DeadLetter
    properties: Basic.Properties
    found: Order | Unreadable


class Replaying:
    """Begins the next generation of dead intents."""

    def __init__(
        self, settings: Settings, ledger: LedgerVisit, publisher: ConfirmedPublisher, *, force: bool, dry_run: bool
    ) -> None:
        self.dry_run = dry_run
        self._settings = settings
        self._ledger = ledger
        self._publisher = publisher
        self._orders = names.Names(settings.broker.prefix).orders
        self._force = force
        self._by = f"by {_person()}, with signalq dead replay"
        self._retention_ms = round(settings.ledger.retention_days * 86_400_000)

    async def handle(self, letters: Sequence[DeadLetter]) -> list[Outcome]:
        """See Handler."""
        candidates = [_candidate(letter, self._settings) for letter in letters]

        def decide(connection: Connection) -> list[ReplayVerdict]:
            now_ms = clock_ms(connection)
            return [self._decide(connection, now_ms, candidate) for candidate in candidates]

        verdicts = await self._ledger.transact(decide)
        decided = list(zip(candidates, verdicts, strict=True))
        if self.dry_run:
            return [_outcome(verdict) for verdict in verdicts]
        # Before the tasks: with the channel open each of them writes in its first step, so in order.
        await self._publisher.channel()
        return await asyncio.gather(*(self._carry_out(candidate, verdict) for candidate, verdict in decided))

    def _decide(self, connection: Connection, now_ms: int, candidate: _Candidate) -> ReplayVerdict:
        letter = candidate.letter
        for _ in range(LOOKS_MAX):
            standing = replays.find(connection, letter.strategy, letter.intent_id or "")
            verdict = judge_replay(
                letter,
                candidate.found,
                standing,
                now_ms=now_ms,
                retention_ms=self._retention_ms,
                force=self._force,
            )
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: DeadLetter, verdict: ReplayVerdict) -> bool:
        match verdict:
            case Begin(standing):
                return replays.begin(connection, now_ms, standing, self._by)
            case GoOn(standing):
                return replays.renew(connection, now_ms, standing)
            case Admit(order):
                return replays.admit(connection, now_ms, order, letter.generation or 0, self._by)
            case _:
                return True

    async def _carry_out(self, candidate: _Candidate, verdict: ReplayVerdict) -> Outcome:
        if isinstance(verdict, (MovedOn, Refuse)):
            return _outcome(verdict)
        letter, found = candidate.letter, candidate.found
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._publisher.publish(self._orders, found.connector, letter.body, candidate.properties)
        except BrokerError as error:
            return Outcome("not done", str(error), error)
        except TimeoutError:
            silent = Unconfirmed(f"RabbitMQ confirmed nothing within {PUBLISH_TIMEOUT_S:g} s", letter.intent_id)
            return Outcome("not done", str(silent), silent)
        return _outcome(verdict)


class Discarding:
    """Throws dead letters away, and says so in the ledger."""

    def __init__(self, ledger: LedgerVisit, *, force: bool, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._ledger = ledger
        self._force = force
        self._by = f"by {_person()}, with signalq dead discard"

    async def handle(self, letters: Sequence[DeadLetter]) -> list[Outcome]:
        """See Handler."""

        def decide(connection: Connection) -> list[DiscardVerdict]:
            now_ms = clock_ms(connection)
            return [self._decide(connection, now_ms, letter) for letter in letters]

        return [_outcome(verdict) for verdict in await self._ledger.transact(decide)]

    def _decide(self, connection: Connection, now_ms: int, letter: DeadLetter) -> DiscardVerdict:
        for _ in range(LOOKS_MAX):
            standing = replays.find(connection, letter.strategy, letter.intent_id or "")
            verdict = judge_discard(letter, standing, force=self._force)
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: DeadLetter, verdict: DiscardVerdict) -> bool:
        match verdict:
            case TakeBack(standing):
                return replays.take_back(connection, now_ms, standing, _reason(letter), self._by)
            case Discard(standing) if standing is not None:
                generation = letter.generation if letter.generation is not None else standing.generation
                replays.note_discarded(connection, now_ms, standing, generation, self._by)
        return True


async def settle(
    letters: DeadLetters, selection: Selection, handler: Handler, told: Callable[[DeadLetter, Outcome | None], None]
) -> None:
    """Go through the letters, and do with those that fit what the handler does.

    `told` hears of every letter in its order, once (not of copies): with None where it does not fit. A batch that was
    begun is finished also when the command is interrupted. Raises what ended the run before its end.
    """
    done: dict[bytes | int, bool] = {}
    async for batch in letters.batches():
        work = asyncio.create_task(_settle_batch(batch, letters, selection, handler, done, told), name="batch")
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work], timeout=FINISH_TIMEOUT_S)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise


async def _settle_batch(
    batch: list[DeadLetter],
    letters: DeadLetters,
    selection: Selection,
    handler: Handler,
    done: dict[bytes | int, bool],
    told: Callable[[DeadLetter, Outcome | None], None],
) -> None:
    firsts: dict[bytes | int, DeadLetter] = {}
    for letter in batch:
        if letter.identity not in done:
            firsts.setdefault(letter.identity, letter)
    chosen = [letter for letter in firsts.values() if selection.fits(letter)]
    outcomes = dict(zip((letter.tag for letter in chosen), await handler.handle(chosen), strict=True)) if chosen else {}
    failure: SignalQError | None = None
    for letter in batch:
        outcome = outcomes.get(letter.tag)
        is_first = firsts.get(letter.identity) is letter
        if is_first:
            done[letter.identity] = outcome is not None and outcome.is_done
        # A copy goes with what it is a copy of.
        if done[letter.identity] and not handler.dry_run:
            try:
                await letters.take(letter)
            except BrokerError as error:
                outcome = outcome and outcome.without_the_broker(error)
                failure = failure or error
        if outcome is not None and outcome.error is not None:
            failure = failure or outcome.error
        if is_first:
            told(letter, outcome)
    if failure is not None:
        raise failure


async def check_ledger(settings: Settings, ledger: LedgerVisit) -> None:
    """See that the lanes on the broker belong to this ledger: another one knows nothing of these letters.

    Raises CommandFailed, BrokerUnreachable.
    """
    url = settings.broker.url.get_secret_value()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        held = await held_mark(connection, names.Names(settings.broker.prefix))
    if held is not None and held.ledger_id != ledger.mark.ledger_id:
        raise CommandFailed(
            f"the lanes on this broker belong to the ledger {held.ledger} ({held.ledger_id}), and ledger.url is "
            f"{ledger.shown} ({ledger.mark.ledger_id}): use the former"
        )


def _candidate(letter: DeadLetter, settings: Settings) -> _Candidate:
    """Under its identity, which is its message_id unless that belongs to another intent."""
    headers = letter.properties.headers or {}
    marks = {names.INTENT_ID: letter.intent_id, names.ORIGIN_USER: headers.get(names.ORIGIN_USER)}
    if letter.strategy != "-":
        marks[names.STRATEGY] = letter.strategy
    properties = republish_properties(letter.properties, marks, letter.intent_id or "")
    properties.message_id = letter.intent_id
    message = Message(letter.body, properties, letter.connector or "", redelivered=False)
    return _Candidate(letter, properties, read(message, settings, time.time_ns() // 1_000_000))


def _outcome(verdict: ReplayVerdict | DiscardVerdict) -> Outcome:
    match verdict:
        case Refuse(why):
            return Outcome("refused", why)
        case MovedOn(why):
            return Outcome("replayed already", why)
        case PublishAnyway(why):
            return Outcome("replayed", why)
        case Discard() | TakeBack():
            return Outcome("discarded")
        case _:
            return Outcome("replayed")


def _reason(letter: DeadLetter) -> Reason:
    """As its letter says: the replay has cleared it in the ledger."""
    reasons: dict[str, Reason] = {reason: reason for reason in get_args(Reason)}
    return reasons.get(letter.reason or "", "undeliverable")


def _person() -> str:
    """Who runs this command, for the audit."""
    try:
        return escaped(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return f"user {os.getuid()}"
