"""Canceling what is scheduled: a page that says what would be canceled, the act, and the page of what became of it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.amqp.connection import close_in_time, open_channel
from signalq.amqp.publisher import ConfirmingChannel
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import schedule
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.orders.pending import Pending
from signalq.errors import BrokerError
from signalq.ops.console.desk import Desk
from signalq.ops.console.gate import query
from signalq.ops.console.gate.errors import NotAllowed, NotFound, Refused
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.orders.order_facts import is_pending, order_words
from signalq.ops.console.pages.schedule import ROWS, fitting
from signalq.ops.console.view import View
from signalq.ops.outcomes import publish_canceled
from signalq.ops.scheduled import cancel_pending, canceled_by

# More are canceled only by a person who has typed their number.
UNTYPED_MAX = 20
RESULT_ROWS_MAX = 1_000
NUMBER_MAX = 2**62

_CHOSEN = re.compile(r"n([1-9][0-9]{0,17})")
# A person may put any of these between thousands.
_BETWEEN_DIGITS = re.compile("[\\s,.'\u2019]")


@dataclass(frozen=True, slots=True)
class Meant:
    """The orders that a cancel is meant for: the chosen ones, by their `numbers`, or all that fit.

    `count` of them are pending. `rows` are the chosen ones, whatever became of them, or the first of all that are
    pending; what has come since, from the number `before` on, is not meant. `asked` are the parameters.
    """

    asked: Mapping[str, Any]
    numbers: Sequence[int]
    rows: Sequence[Pending]
    count: int
    before: int | None
    now_ms: int

    @property
    def must_be_typed(self) -> bool:
        """Whether there are so many that a person types their number."""
        return self.count > UNTYPED_MAX

    def wanted(self) -> Filter:
        """The filter of exactly these."""
        if self.numbers:
            return Filter(intent_ids=sorted({one.intent_id for one in self.rows}), numbers=self.numbers)
        return replace(fitting(self.asked), before=self.before)


async def ask(view: View) -> web.StreamResponse:
    """The page that says what would be canceled."""
    asked = view.query(**_chosen(view.request.query), all=query.flag, connector=query.name, strategy=query.name)
    return _page(view, await view.desk.ledger.read(partial(_meant, asked=asked, before=None)))


async def cancel(view: View) -> web.StreamResponse:
    """Cancel what that page has said, and lead to what became of it."""
    actor = view.actor()
    if view.snapshot.other_ledger is not None:
        raise NotAllowed("the broker's lanes belong to another ledger: nothing is canceled in this one")
    form = await view.form(
        **_chosen(await view.sent()),
        all=query.flag,
        connector=query.name,
        strategy=query.name,
        before=query.number(1, NUMBER_MAX),
        shown=query.number(1, NUMBER_MAX),
        confirm=query.name,
    )
    meant = await view.desk.ledger.read(partial(_meant, asked=form, before=form["before"]))
    if why_not := _why_not(meant, form):
        return _page(view, meant, why_not)
    shown = 0 if meant.numbers else form["shown"]
    async with view.desk.ledger.used() as ledger:
        done = await cancel_pending(ledger, meant.wanted(), actor, partial(_publish, view.desk), shown=shown)
    await view.desk.watch.look_now()
    return view.go_to(f"/schedule/canceled/{done.number}")


async def canceled(view: View) -> web.StreamResponse:
    """The result of a cancelation: by the audit and the ledger, so that it lasts, and can be shared."""
    view.query()
    try:
        number = query.number(1, NUMBER_MAX)(view.parts["number"])
    except ValueError:
        raise NotFound("there is no such cancelation") from None
    found = await view.desk.ledger.read(partial(canceled_by, number=number, rows_max=RESULT_ROWS_MAX))
    if found is None:
        raise NotFound("there is no such cancelation")
    return view.page("schedule_canceled.html", found=found, order_words=order_words)


def _page(view: View, meant: Meant, why_not: str | None = None) -> web.Response:
    status = 200 if why_not is None else 400
    functions = {"order_words": order_words, "is_pending": is_pending}
    return view.page("schedule_cancel.html", status=status, meant=meant, why_not=why_not, **functions)


def _why_not(meant: Meant, form: Mapping[str, Any]) -> str | None:
    """The reason why a cancel is not done as it was sent."""
    if form["shown"] is None or (form["all"] and form["before"] is None):
        return "look again at what would be canceled: the form was not whole"
    if not meant.count and not meant.numbers:
        return "nothing that fits is scheduled any more"
    if meant.count > form["shown"]:
        return "more orders fit now than were shown: look again"
    if meant.must_be_typed and _BETWEEN_DIGITS.sub("", form["confirm"] or "") != str(form["shown"]):
        return f"type the number of the orders, {form['shown']}, to cancel so many"
    return None


def _chosen(names: Iterable[str]) -> dict[str, query.Reader]:
    """A reader for each row that was chosen."""
    return {name: query.flag for name in names if _CHOSEN.fullmatch(name)}


def _meant(connection: Connection, asked: Mapping[str, Any], before: int | None) -> Meant:
    """Raises Refused where nothing is meant, or two things at once."""
    numbers = [int(name[1:]) for name, value in asked.items() if value and _CHOSEN.fullmatch(name)]
    if bool(numbers) == bool(asked["all"]):
        raise Refused("choose at least one order, or all that fit")
    if len(numbers) > ROWS:
        raise Refused(f"choose at most {ROWS} orders at once")
    now_ms = clock_ms(connection)
    if numbers:
        rows = schedule.known(connection, Filter(numbers=numbers))
        if not rows:
            raise NotFound("the ledger knows none of these orders any more")
        rows.sort(key=lambda one: (one.due_ms or 0, one.number))
        return Meant(asked, numbers, rows, sum(map(is_pending, rows)), None, now_ms)
    bound = schedule.last_number(connection) + 1 if before is None else before
    fits = replace(fitting(asked), before=bound)
    return Meant(asked, (), schedule.pending(connection, fits, ROWS), schedule.count(connection, fits), bound, now_ms)


async def _publish(desk: Desk, ended: Sequence[Pending]) -> str | None:
    """Publish the outcomes of canceled orders on the console's own connection; say why they could not be."""
    try:
        async with desk.broker.used() as connection:
            channel = ConfirmingChannel(await open_channel(connection, confirms=True))
            try:
                return await publish_canceled(channel, desk.names, ended)
            finally:
                await close_in_time(channel.channel)
    except BrokerError as error:
        return str(error)


ROUTES = (
    Route("GET", "/schedule/cancel", ask),
    Route("POST", "/schedule/cancel", cancel, needs="operate"),
    Route("GET", "/schedule/canceled/{number}", canceled),
)
