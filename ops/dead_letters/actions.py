"""The actions of `signalq dead replay` and `signalq dead discard`; batches.py says in which steps."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from pamqp.commands import Basic
from sqlalchemy import Connection

from signalq import names
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, replays
from signalq.consumer.ledger.queries import letters as rows
from signalq.consumer.ledger.queries.audit import Act, about_filter
from signalq.consumer.ledger.queries.letters import SettledHow
from signalq.consumer.ledger.queries.replays import Standing
from signalq.consumer.orders.delays import DAY_MS
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import REASONS, Reason
from signalq.errors import BrokerError, SignalQError, Unconfirmed
from signalq.message.envelope import republish_properties
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.rules import (
    BUSY,
    Admit,
    Begin,
    Discard,
    GoOn,
    MovedOn,
    PublishAnyway,
    Refuse,
    ReplayTerms,
    TakeBack,
    Verdict,
    judge_discard,
    judge_replay,
)
from signalq.publishing.publisher import PUBLISH_TIMEOUT_S
from signalq.publishing.spans import PublishSpans
from signalq.settings.sections import Settings

# How often the ledger is read again when the consumer was quicker.
LOOKS_MAX = 3
# The name of the connection that replays.
REPLAYING = "signalq dead replay"


@dataclass(frozen=True, slots=True)
class LetterResult:
    """The result of one letter; `error` ended the run before the letter was dealt with.

    `doubt`: it was refused, and would not be with a person's word; see Refuse.
    """

    result: Literal["replayed", "replayed already", "discarded", "refused", "not done"]
    why: str | None = None
    error: SignalQError | None = None
    doubt: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the letter has served, and may be taken away."""
        return self.result in {"replayed", "replayed already", "discarded"}

    def without_the_broker(self, error: SignalQError) -> LetterResult:
        """The letter could not be taken away: a replay stands all the same, a discarded letter is still there."""
        return LetterResult("not done", str(error), error) if self.result == "discarded" else self


@dataclass(frozen=True, slots=True)
class Candidate:
    """A letter as it would be published again, and as the consumer would read that."""

    letter: Letter
    properties: Basic.Properties
    found: Order | Unreadable


@dataclass(frozen=True, slots=True)
class Errand:
    """A command on letters: who gave it, which letters are meant, whether a person has confirmed the doubtful ones
    (`force`: all, or those of these identities), and whether anything is to be changed at all.

    `about` is what the audit says that it is about, where that is more than the filter says.
    """

    actor: Actor
    wanted: LetterFilter
    force: bool | frozenset[bytes]
    dry_run: bool
    about: Mapping[str, object] | None = None


class LetterAction(ABC):
    """The work of a command on letters: a verdict on each, written to the ledger, and then carried out."""

    command: ClassVar[Literal["replay", "discard"]]
    settles: ClassVar[SettledHow]

    def __init__(self, settings: Settings, ledger: LedgerClient, errand: Errand) -> None:
        self.dry_run = errand.dry_run
        self._settings = settings
        self._ledger = ledger
        self._actor = errand.actor
        self._force = errand.force
        self._by = errand.actor.told(f"signalq dead {self.command}")
        force = errand.force if isinstance(errand.force, bool) else len(errand.force)
        self._about = {**(errand.about or _about(errand.wanted)), "force": force or None}
        # The number of this command's row in the audit, once it has one.
        self.audited: int | None = None

    @abstractmethod
    async def apply(self, letters: Sequence[Letter]) -> list[LetterResult]:
        """Do all but taking the letters away; a result for each. Raises SignalQError if nothing was done."""

    async def aclose(self) -> None:  # noqa: B027 - an action that opens nothing has nothing to close
        """Close the connection that the action opened."""

    def _is_forced(self, letter: Letter) -> bool:
        """Whether a person has confirmed this one."""
        return self._force if isinstance(self._force, bool) else letter.identity in self._force

    async def _judged(
        self, letters: Sequence[Letter], judge_each: Callable[[Connection, int], list[Verdict]]
    ) -> Sequence[Verdict]:
        """Decide about letters in one transaction, which also settles them, and writes the audit."""

        def work(connection: Connection) -> tuple[list[Verdict], int | None]:
            now_ms = clock_ms(connection)
            verdicts = judge_each(connection, now_ms)
            return verdicts, None if self.dry_run else self._settle(connection, now_ms, letters, verdicts)

        # A dry run writes nothing: no order waits for it, and a ledger that can't be written will do.
        run = self._ledger.read if self.dry_run else self._ledger.transact
        verdicts, self.audited = await run(work)
        return verdicts

    def _settle(
        self, connection: Connection, now_ms: int, letters: Sequence[Letter], verdicts: Sequence[Verdict]
    ) -> int:
        """Settle the letters that are to go, and count all in the audit; return the number of its row."""
        gone = [letter.identity for letter, one in zip(letters, verdicts, strict=True) if not isinstance(one, Refuse)]
        rows.settle(connection, now_ms, gone, self.settles, self._actor.name)
        done, refused = len(gone), len(letters) - len(gone)
        if self.audited is None:
            return audit.note(connection, now_ms, self._actor, Act(self.command, self._about, done, refused))
        audit.add(connection, self.audited, done=done, refused=refused)
        return self.audited

    def _decide(
        self, connection: Connection, now_ms: int, letter: Letter, judge: Callable[[Standing | None], Verdict]
    ) -> Verdict:
        """Judge the letter by its intent's standing, and write the verdict; again if the consumer was quicker."""
        for _ in range(LOOKS_MAX):
            verdict = judge(replays.find(connection, letter.strategy, letter.intent_id or ""))
            if self.dry_run or self._is_written(connection, now_ms, letter, verdict):
                return verdict
        return BUSY

    def _is_written(self, connection: Connection, now_ms: int, letter: Letter, verdict: Verdict) -> bool:
        match verdict:
            case Begin(standing):
                return replays.begin(connection, now_ms, standing, self._by)
            case GoOn(standing):
                return replays.renew(connection, now_ms, standing)
            case Admit(order):
                return replays.admit(connection, now_ms, order, letter.generation or 0, self._by)
            case TakeBack(standing):
                # The replay has cleared the reason in the ledger: the letter states it.
                reason: Reason = next((known for known in REASONS if known == letter.reason), "undeliverable")
                return replays.take_back(connection, now_ms, standing, reason, self._by)
            case Discard(standing) if standing is not None:
                generation = letter.generation if letter.generation is not None else standing.generation
                replays.note_discarded(connection, now_ms, standing, generation, self._by)
        return True


class ReplayAction(LetterAction):
    """Begins the next generation of dead intents."""

    command = "replay"
    settles = "replayed"

    def __init__(self, settings: Settings, ledger: LedgerClient, errand: Errand) -> None:
        super().__init__(settings, ledger, errand)
        broker, url = settings.broker, settings.broker.url.get_secret_value()
        self._publisher = ConfirmedPublisher(url, name=REPLAYING, heartbeat_s=broker.heartbeat_s)
        self._orders = names.Names(broker.prefix).orders
        self._spans = PublishSpans(url, self._orders, REPLAYING)
        self._retention_ms = round(settings.ledger.retention_days * DAY_MS)

    async def apply(self, letters: Sequence[Letter]) -> list[LetterResult]:
        """See LetterAction."""
        candidates = [candidate_of(letter, self._settings) for letter in letters]
        began_ns = time.time_ns()

        def judge_each(connection: Connection, now_ms: int) -> list[Verdict]:
            def judge(letter: Letter, found: Order | Unreadable) -> Callable[[Standing | None], Verdict]:
                terms = ReplayTerms(now_ms, self._retention_ms, self._is_forced(letter))
                return partial(judge_replay, letter, found, terms=terms)

            return [
                self._decide(connection, now_ms, letter, judge(letter, one.found))
                for letter, one in zip(letters, candidates, strict=True)
            ]

        verdicts = await self._judged(letters, judge_each)
        if self.dry_run:
            return [result_of(verdict) for verdict in verdicts]
        # Opened before the tasks start: then each task writes in its first step, so they write in order.
        await self._publisher.channel()
        return await asyncio.gather(*map(partial(self._carry_out, began_ns), candidates, verdicts))

    async def aclose(self) -> None:
        """See LetterAction."""
        await self._publisher.close()

    async def _carry_out(self, began_ns: int, candidate: Candidate, verdict: Verdict) -> LetterResult:
        if isinstance(verdict, (MovedOn, Refuse)):
            return result_of(verdict)
        found = candidate.found
        error = await self._published(candidate)
        # Made afterwards: the message keeps the producer's own header, so nothing needs to know it before.
        span = self._spans.begin_replay(found.connector, found.intent_id, began_ns=began_ns, order=found.traceparent)
        span.end(error)
        return result_of(verdict) if error is None else LetterResult("not done", str(error), error)

    async def _published(self, candidate: Candidate) -> BrokerError | None:
        """Publish the letter again; return what kept RabbitMQ from confirming it."""
        letter = candidate.letter
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await self._publisher.publish(
                    self._orders, candidate.found.connector, letter.body, candidate.properties
                )
        except BrokerError as error:
            return error
        except TimeoutError:
            return Unconfirmed(f"RabbitMQ confirmed nothing within {PUBLISH_TIMEOUT_S:g} s", letter.intent_id)
        return None


class DiscardAction(LetterAction):
    """Throws dead letters away, and notes it in the ledger."""

    command = "discard"
    settles = "discarded"

    async def apply(self, letters: Sequence[Letter]) -> list[LetterResult]:
        """See LetterAction."""

        def judge_each(connection: Connection, now_ms: int) -> list[Verdict]:
            return [
                self._decide(connection, now_ms, letter, partial(judge_discard, letter, force=self._is_forced(letter)))
                for letter in letters
            ]

        return [result_of(verdict) for verdict in await self._judged(letters, judge_each)]


def _about(wanted: LetterFilter) -> dict[str, object]:
    """The filter, for the audit; of letters that a person was shown and asked about, how many these were."""
    seen = len(wanted.seen) if wanted.seen is not None else None
    conditions = {"reason": wanted.reason, "connector": wanted.connector, "strategy": wanted.strategy, "seen": seen}
    return about_filter(wanted.ids, **conditions)


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


def result_of(verdict: Verdict) -> LetterResult:
    """The result of a verdict once it is carried out."""
    match verdict:
        case Refuse(why, doubt):
            return LetterResult("refused", why, doubt=doubt)
        case MovedOn(why):
            return LetterResult("replayed already", why)
        case PublishAnyway(why):
            return LetterResult("replayed", why)
        case Discard() | TakeBack():
            return LetterResult("discarded")
        case _:
            return LetterResult("replayed")
