"""The listing of the dead letters by the ledger, and how the ledger's count compares with the queue's.

The queue is the truth, but it has one reader at a time, and to read 100,000 letters takes 20 s. So the ledger's letters
are listed, and the queue is only asked how many it has.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from signalq.amqp.connection import connect
from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import letters as rows
from signalq.consumer.ledger.queries.letters import Letters, Listed
from signalq.consumer.orders.kept import order_fields
from signalq.errors import BrokerError
from signalq.names import Names
from signalq.ops.dead_letters.letter import LetterFilter
from signalq.ops.ledger import IDS_NAMED_MAX, check_mark_on, ends_of, only_one
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# The rows of one read; the ledger's writer waits for none.
PAGE_ROWS = 1_000
# Letters come and go between the two counts: where they differ, both are taken again, so often and so long apart.
COUNTS_MAX = 3
COUNT_AGAIN_S = 0.2
READ_THE_QUEUE = "`signalq dead list --queue` reads the queue, and tells the ledger"


async def letters_of(
    ledger: LedgerClient, wanted: Letters, on_page: Callable[[list[dict[str, object]]], None], rows_max: int | None
) -> tuple[int, int]:
    """Give the oldest `rows_max` letters that fit, or all, to `on_page`: at most PAGE_ROWS at a time.

    Returns how many were given, and how many more fit. Raises LedgerUnavailable.
    """
    last: Listed | None = None
    given = 0
    while rows_max is None or given < rows_max:
        size = PAGE_ROWS if rows_max is None else min(PAGE_ROWS, rows_max - given)
        found = await ledger.read(partial(rows.page, wanted=wanted, rows_max=size, after=last))
        if found:
            on_page([row_of(one) for one in found])
        given += len(found)
        if len(found) < size:
            return given, 0
        last = found[-1]
    return given, max(0, await ledger.read(partial(rows.count, wanted=wanted)) - given)


async def meant(ledger: LedgerClient, wanted: LetterFilter) -> Letters:
    """The filter for the ledger, with whole ids; see only_one. Raises CommandFailed."""
    ids = []
    for one in sorted(wanted.ids):
        beginning, end = ends_of(one)
        look = partial(rows.ids_between, beginning=beginning, end=end, ids_max=IDS_NAMED_MAX + 1)
        ids.append(only_one(one, await ledger.read(look)))
    return Letters(ids, wanted.reason, wanted.connector, wanted.strategy)


def row_of(one: Listed) -> dict[str, object]:
    """The fields of a row, in the contract's order."""
    return {
        "intent_id": one.intent_id,
        "generation": one.generation,
        "connector": one.connector,
        "strategy": one.strategy,
        "action": one.action,
        "client_order_id": one.client_order_id,
        "reason": one.reason,
        "detail": one.detail,
        "attempts": one.attempts,
        "http_status": one.http_status,
        "dead_at": None if one.dead_ms is None else iso_ms(one.dead_ms),
        "order": order_fields(one.connector or "", one.action or "", one.client_order_id, one.order_fields),
    }


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at the letters: how many are shown, one sentence on that, and sentences that warn or only tell."""

    shown: int
    summary: str
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """The messages in the queue, as the ledger counts them and as the broker does (None where there is no queue)."""

    known: int
    depth: QueueDepth | None

    @property
    def is_equal(self) -> bool:
        """Whether both count the same."""
        return self.depth is not None and self.depth.ready == self.known

    def sentence(self) -> str | None:
        """The difference, and what to do; None where there is none."""
        if self.is_equal:
            return None
        if self.depth is None:
            return "the broker has no queue of dead letters: check broker.prefix, or run `signalq topology apply`"
        if self.depth.consumers:
            return "another command reads the queue now, so it is not compared with the ledger"
        more = self.depth.ready - self.known
        if more > 0:
            return f"the queue has {plural(more, 'letter')} more than the ledger knows: {READ_THE_QUEUE}"
        return f"the queue has {plural(-more, 'letter')} fewer than the ledger says: {READ_THE_QUEUE}"


async def compare(settings: Settings, ledger: LedgerClient) -> Compared:
    """Count in the ledger and on the broker of these settings. Raises BrokerError, CommandFailed, LedgerUnavailable."""
    names, url = Names(settings.broker.prefix), settings.broker.url.get_secret_value()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        await check_mark_on(connection, names, ledger)
        return await compare_on(ledger, Inspector(connection), names)


async def compare_on(ledger: LedgerClient, inspector: Inspector, names: Names) -> Compared:
    """The same, on a connection that is there. Raises BrokerError, LedgerUnavailable."""
    for count in range(COUNTS_MAX):
        if count:
            await asyncio.sleep(COUNT_AGAIN_S)
        depth = await inspector.depth(names.dead)
        compared = Compared(await ledger.read(rows.messages), depth)
        if compared.is_equal or depth is None or depth.consumers:
            break
    return compared


async def list_noted(
    settings: Settings,
    ledger: LedgerClient,
    wanted: LetterFilter,
    on_page: Callable[[list[dict[str, object]]], None],
    rows_max: int | None,
) -> Looked:
    """List letters, while the broker is asked how many it has.

    Raises CommandFailed where the lanes belong to another ledger, LedgerUnavailable.
    """
    comparing = asyncio.create_task(compare(settings, ledger), name="compare with the queue")
    try:
        meant_ones = await meant(ledger, wanted)
        given, more = await letters_of(ledger, meant_ones, on_page, rows_max)
        total = given + more if meant_ones == Letters() else await ledger.read(partial(rows.count, wanted=Letters()))
        try:
            difference = (await comparing).sentence()
        except BrokerError as error:
            difference = f"the queue is not compared with the ledger: {error}"
        warnings = [] if difference is None else [difference]
        return Looked(given, summary(total, given + more, given), warnings)
    finally:
        comparing.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await comparing


def summary(total: int, matched: int, shown_count: int) -> str:
    """One sentence on a listing: how many letters there are, how many fit, and how many are shown."""
    if not total:
        return "there are no dead letters"
    letters = plural(total, "dead letter")
    said = f"{matched:,} of {letters} fit" if matched < total else letters
    if shown_count < matched:
        said += "; shown is the oldest" if shown_count == 1 else f"; shown are the {shown_count:,} oldest"
    return said
