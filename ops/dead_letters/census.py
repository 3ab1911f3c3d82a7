"""A census of the dead letters: one full read of the queue, by which the ledger's letters are brought in step with it.

The queue is the truth. A letter that the ledger does not know was left by an earlier version, by a consumer that died
before it could say so, or by another program; one that is not in the queue any more was taken away by another program.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import Connection

from signalq import names
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import letters as rows
from signalq.consumer.orders.letters import LetterRecord, known_fields
from signalq.errors import SignalQError
from signalq.ops.dead_letters.actions import candidate_of
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.ledger import check_mark, open_ledger
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import UNLIKE_A_NAME_CHARACTERS_MIN, Settings

# So many letters in one transaction: no order waits long for it.
AT_ONCE_MAX = 500
MARKS_AT_ONCE_MAX = 10_000
# A message that could not be read is noted before its letter is published: one that is so young may be on its way.
ON_ITS_WAY_MS = 60_000


class Census:
    """Counts the letters that a reader meets.

    `noted` and `gone` are how many the ledger was told of; `why_not` says why it could not be told.
    """

    def __init__(self, settings: Settings, ledger: LedgerClient) -> None:
        self.noted = 0
        self.gone = 0
        self.why_not: str | None = None
        self._settings = settings
        self._ledger = ledger
        self._began_ms = 0
        # How many messages the ledger says that a letter is, by mark; as many as 1 where it was told in this run.
        self._known: dict[bytes, int] = {}
        self._young: set[bytes] = set()
        # How many messages of the queue a letter is, by mark, without those that were taken away.
        self._left: Counter[bytes] = Counter()

    async def begin(self) -> None:
        """Look up the letters that the ledger knows; before the queue is read, so that none is settled that came in
        meanwhile. Raises LedgerUnavailable.
        """
        self._began_ms = await self._ledger.read(clock_ms)
        last = 0
        while found := await self._ledger.read(partial(rows.marked, after=last, rows_max=MARKS_AT_ONCE_MAX)):
            self._known.update((one.mark, one.messages) for one in found)
            self._young.update(one.mark for one in found if one.since_ms > self._began_ms - ON_ITS_WAY_MS)
            last = found[-1].number

    async def meet(self, letters: Sequence[Letter]) -> None:
        """Count letters that were read, copies too; tell the ledger of those that it does not know."""
        self._left.update(letter.identity for letter in letters)
        new = {letter.identity: letter for letter in letters if letter.identity not in self._known}
        if new:
            self._known.update(dict.fromkeys(new, 1))
            await self._tell(partial(_note, records=[record_of_letter(one, self._settings) for one in new.values()]))
            self.noted += len(new)

    def take(self, letter: Letter) -> None:
        """Count a letter that was taken away."""
        self._left[letter.identity] -= 1

    async def end(self) -> None:
        """Tell the ledger the rest, now that the whole queue was read: what is gone, what is there twice, and what was
        to be settled in this run and stays all the same.
        """
        gone = [mark for mark in self._known if mark not in self._left and mark not in self._young]
        self.gone = len(gone)
        for some in _some_of(gone):
            await self._tell(partial(_settle_gone, marks=some))
        left = {mark: count for mark, count in self._left.items() if count > 0}
        await self._tell(partial(_reopen, since_ms=self._began_ms, left=left))
        for some in _some_of([mark for mark, count in left.items() if self._known[mark] != count]):
            await self._tell(partial(_count, counts={mark: left[mark] for mark in some}))

    def sentence(self) -> str | None:
        """The news for the ledger, in one sentence; None where there is none."""
        if self.why_not is not None:
            return f"the ledger was not told of all letters: {self.why_not}"
        news = [f"of {plural(self.noted, 'letter')} that it did not know"] if self.noted else []
        news += [f"that {plural(self.gone, 'letter is', 'letters are')} gone"] if self.gone else []
        return f"the ledger was told {' and '.join(news)}" if news else None

    async def _tell(self, work: Callable[[Connection], None]) -> None:
        """Write to the ledger; one that can't be written keeps nobody from reading the queue."""
        if self.why_not is None:
            try:
                await self._ledger.transact(work)
            except LedgerUnavailable as error:
                self.why_not = str(error)


def _some_of(marks: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (marks[at : at + AT_ONCE_MAX] for at in range(0, len(marks), AT_ONCE_MAX))


def _note(connection: Connection, records: Sequence[LetterRecord]) -> None:
    rows.note(connection, clock_ms(connection), records)


def _settle_gone(connection: Connection, marks: Sequence[bytes]) -> None:
    rows.settle(connection, clock_ms(connection), marks, "gone", None)


def _reopen(connection: Connection, since_ms: int, left: Mapping[bytes, int]) -> None:
    stays = [mark for mark in rows.settled_since(connection, since_ms) if mark in left]
    for some in _some_of(stays):
        rows.reopen(connection, some)


def _count(connection: Connection, counts: Mapping[bytes, int]) -> None:
    for mark, count in counts.items():
        rows.count_messages(connection, mark, count)


@asynccontextmanager
async def census_of(settings: Settings) -> AsyncIterator[Census | None]:
    """A census for the ledger of these settings; None where the lanes have no such ledger, or it can't be read."""
    async with AsyncExitStack() as stack:
        yield await _begun(settings, stack)


async def _begun(settings: Settings, stack: AsyncExitStack) -> Census | None:
    try:
        ledger = await stack.enter_async_context(open_ledger(settings))
        await check_mark(settings, ledger)
        census = Census(settings, ledger)
        await census.begin()
    except (SignalQError, ModuleNotFoundError):
        return None
    return census


def record_of_letter(letter: Letter, settings: Settings) -> LetterRecord:
    """The record of a letter that was read, as the consumer that buried it would have made it; without any secret."""
    action, client_order_id, order_fields = known_fields(candidate_of(letter, settings).found)
    row = letter.row()

    def text(name: str) -> str | None:
        value = row[name]
        if not isinstance(value, str):
            return None
        return settings.blanker(value, characters_min=UNLIKE_A_NAME_CHARACTERS_MIN)

    body_bytes = (letter.properties.headers or {}).get(names.BODY_BYTES)
    return LetterRecord(
        letter.identity,
        text("strategy") or "-",
        text("intent_id"),
        letter.generation,
        text("connector"),
        action=action,
        client_order_id=client_order_id,
        reason=text("reason"),
        detail=text("detail"),
        attempts=letter.attempts,
        http_status=letter.http_status,
        dead_ms=_moment_ms(letter.dead_at),
        body_bytes=body_bytes if isinstance(body_bytes, int) else len(letter.body),
        order_fields=order_fields,
    )


def _moment_ms(text: str | None) -> int | None:
    """A moment in ms since the epoch; None for foreign text that is none."""
    try:
        # In UTC, too, it must be a time that can be written: the first and the last day of all are not everywhere.
        return round(datetime.fromisoformat(text or "").astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
