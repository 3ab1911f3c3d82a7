"""The notices on lanes: nobody consumes one, its webhook fails, orders pile up, and the switch. Pure."""

from collections.abc import Iterator, Mapping

from signalq.consumer.orders.switch import ALL
from signalq.ops.console.moment.notices import by, each, link_of, name_of, path_with, said
from signalq.ops.console.moment.snapshot import Lane, Notice, Snapshot
from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings

# A moment without a consumer, as in a restart, is no news.
LASTS_MS = 5_000
# As many failures in a row are no chance.
BACKS_OFF_MIN = 3
BACKLOG_MIN = 500


def of_unread(now: Snapshot, since_ms: Mapping[str, int], due_unread: int, settings: Settings) -> Iterator[Notice]:
    """Lanes in which orders wait and nobody takes them, `since_ms` by queue; and the queue of what fell due."""
    lasting = [
        lane
        for lane in now.lanes
        if lane.is_own and lane.is_unread and now.now_ms - since_ms.get(lane.queue, now.now_ms) >= LASTS_MS
    ]

    def tell(lane: Lane) -> Notice:
        limit_s = settings.connector(lane.connector or ALL).open_max_age_s or settings.delivery.open_max_age_s
        return Notice(
            f"unread:{lane.queue}",
            f"nobody consumes a lane in which {plural(lane.ready or 0, 'order waits', 'orders wait')}",
            is_grave=True,
            since_ms=since_ms[lane.queue],
            on=name_of(lane),
            links=link_of(lane.connector),
            advice=f"A consumer is not connected, or has to be started anew; opens expire after {limit_s:g} s",
        )

    yield from each(lasting, tell, "lanes are not consumed", is_grave=True)
    if due_unread:
        waits = plural(due_unread, "order that fell due waits", "orders that fell due wait")
        sentence = f"{waits}, and nobody consumes their queue"
        yield Notice("unread-due", sentence, is_grave=True, links=(("Schedule", "/schedule"),))


def of_failures(now: Snapshot) -> Iterator[Notice]:
    """Webhooks that take no orders."""
    at_work = [lane for lane in now.lanes if lane.connector is not None and (lane.waiting or lane.out or lane.retrying)]
    failing = [lane for lane in at_work if lane.backs_off and lane.failures >= BACKS_OFF_MIN]
    if len(failing) > 1 and all(lane.backs_off for lane in at_work):
        sentence = f"the webhook takes no orders: {len(failing):,} connectors wait for it"
        advice = "Look whether the platform is up, and reached from here; close positions there by hand if need be"
        yield Notice("webhook", sentence, is_grave=True, advice=advice)

    def tell(lane: Lane) -> Notice:
        return Notice(
            f"backoff:{lane.connector}",
            f"{plural(lane.failures, 'POST')} in a row failed: {said(lane.why or 'no answer')}",
            is_grave=False,
            since_ms=lane.oldest_ms,
            on=name_of(lane),
            links=link_of(lane.connector),
            advice="Its orders are tried again until they are too old",
        )

    yield from each(failing, tell, "connectors back off")


def of_backlogs(now: Snapshot) -> Iterator[Notice]:
    """Lanes in which orders pile up, although they are consumed."""
    piled = [lane for lane in now.lanes if lane.is_own and lane.is_consumed and (lane.ready or 0) > BACKLOG_MIN]

    def tell(lane: Lane) -> Notice:
        hundreds = (lane.ready or 0) // 100 * 100  # to the last order it would be another sentence each second
        sentence = f"orders pile up: {hundreds:,} and more wait on the broker"
        return Notice(
            f"backlog:{lane.queue}", sentence, is_grave=False, on=name_of(lane), links=link_of(lane.connector)
        )

    yield from each(piled, tell, "lanes pile up")


def of_switch(now: Snapshot) -> Iterator[Notice]:
    """Connectors that a person has switched off, and what that will do to orders that fall due."""
    if now.all_state != "open":
        change = now.changes.get(ALL)
        since_ms = None if change is None else change.at_ms
        yield Notice("switch:", f"all connectors are {now.all_state}{by(change)}", is_grave=False, since_ms=since_ms)
    if now.all_state != "paused":

        def tell_paused(name: str) -> Notice:
            change = now.changes.get(name)
            since_ms = None if change is None else change.at_ms
            return Notice(
                f"switch:{name}",
                f"paused{by(change)}",
                is_grave=False,
                since_ms=since_ms,
                on=name,
                links=link_of(name),
            )

        yield from each(now.paused, tell_paused, "connectors are paused")
    closed = [lane for lane in now.lanes if lane.opens_due and lane.state == "close-only"]
    yield from each(closed, _tell_opens_due, "connectors have opens that will die forbidden")


def _tell_opens_due(lane: Lane) -> Notice:
    opens = plural(lane.opens_due, "open that falls due within the hour", "opens that fall due within the hour")
    return Notice(
        f"due:{lane.connector}",
        f"close-only: {opens} will die forbidden",
        is_grave=False,
        since_ms=None if lane.change is None else lane.change.at_ms,
        on=name_of(lane),
        links=(("Schedule", path_with("/schedule", connector=lane.connector)),),
        advice="Cancel them, or resume the connector before",
    )
