"""The watch over what may need a person: it looks at the ledger again and again, and listens to the outcome events.

The ledger knows every ending of an intent, also one whose event was missed; an event alone tells of a message that was
no intent. Both are counted once. The ledger is only read, and nothing is taken from the broker.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from signalq.amqp.outcome_feed import OutcomeFeed
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import lanes, orders, replicas, switches
from signalq.consumer.ledger.queries.orders import Death
from signalq.consumer.orders.switch import Change, Switch
from signalq.errors import BrokerError, NotPermitted, SettingsError, SignalQError
from signalq.kinds import Kind
from signalq.message.outcome import Outcome, at
from signalq.names import Names
from signalq.ops.notify.outbox import OTHERS
from signalq.ops.notify.trouble import (
    ADVICE,
    NO_CONSUMER,
    Trouble,
    no_broker,
    no_ledger,
    shown_connector,
    switched,
    unread,
)
from signalq.ops.outcomes import OutcomeFilter
from signalq.settings.sections import Settings
from signalq.version import how_to_install

# How far the first look goes back: what died while nobody watched is told then.
LOOK_BACK_MS = 24 * 3_600_000
# An ending is committed a moment after its time; each look begins so long before the one before.
OVERLAP_MS = 60_000
# The endings of one look; the next one goes on from there.
DEATHS_MAX = 10_000
# So many of the latest endings are remembered.
ENDINGS_MAX = 100_000
# The beginning of the keys of troubles that the switch makes.
SWITCH = "switch:"


@dataclass(frozen=True, slots=True)
class _Look:
    """The ledger at one moment. `switch_changes` has the latest change of each connector."""

    now_ms: int
    consumers: int
    # How long each lane has been silent, by its queue.
    silence_ms: dict[str, int]
    switch: Switch
    switch_changes: dict[str, Change]
    deaths: list[Death]


class _Endings:
    """The latest endings by strategy, id and generation."""

    def __init__(self) -> None:
        self._there: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def __contains__(self, outcome: Outcome) -> bool:
        return _key(outcome) in self._there

    def add(self, outcome: Outcome) -> None:
        """Remember this one."""
        self._there[_key(outcome)] = None
        self._there.move_to_end(_key(outcome))
        if len(self._there) > ENDINGS_MAX:
            self._there.popitem(last=False)


class Watch:
    """The troubles that hold now, and the dead letters as they come.

    `on_letter` gets the reason and the connector of each, in a form that may be sent; `on_look` is called after each
    look and each change, and `on_listening` whenever events can come. A trouble that nobody made counts once it has
    lasted `lasts_s`; a lane is not read once it was silent for `lane_s`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_letter: Callable[[str, str], None],
        on_look: Callable[[], None] = lambda: None,
        on_listening: Callable[[], None] = lambda: None,
        lasts_s: float = 0.0,
        lane_s: float,
    ) -> None:
        self._settings = settings
        self._on_letter = on_letter
        self._on_look = on_look
        self._on_listening = on_listening
        self._lasts_s = lasts_s
        self._lane_s = lane_s
        # Each trouble by its key, and since when (monotonic) it is there without a break.
        self._noted: dict[str, tuple[float, Trouble]] = {}
        self._since_ms: int | None = None
        self._counted = _Endings()
        self._repeated = _Endings()
        self._ledger: LedgerClient | None = None
        self._names = Names(settings.broker.prefix)
        self._feed = OutcomeFeed(
            settings.broker.url.get_secret_value(),
            self._names,
            OutcomeFilter(status="dead").bindings(),
            name="signalq notify",
            on_outcome=self._hear,
            on_away=self._hear_of_broker,
            heartbeat_s=settings.broker.heartbeat_s,
        )

    def troubles(self) -> dict[str, Trouble]:
        """The troubles that hold, by key."""
        now_s = time.monotonic()
        return {
            key: trouble
            for key, (since_s, trouble) in self._noted.items()
            if trouble.at_once or now_s - since_s >= self._lasts_s
        }

    async def look_once(self) -> None:
        """Look at the broker and the ledger once. Raises NotPermitted where the broker lets nobody listen."""
        try:
            await self._feed.open()
        except NotPermitted:
            raise
        except BrokerError as error:
            self._hear_of_broker(str(error))
        await self.look()

    async def listen(self) -> None:
        """Listen for ever, over lost connections. Raises NotPermitted."""
        await self._feed.keep_open()

    async def keep_looking(self, every_s: float) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(every_s)

    async def close(self) -> None:
        """Listen and look no more."""
        await self._feed.close()
        await self._close_ledger()

    async def look(self) -> None:
        """Look at the ledger once."""
        try:
            found = await (await self._open_ledger()).read(self._read)
        except ModuleNotFoundError as error:
            why = f"the package {error.name} is not installed: {how_to_install('postgres')}"
            raise SettingsError(why, kind=Kind.PACKAGE_MISSING) from error
        except SignalQError as error:
            await self._close_ledger()
            self._note("ledger", no_ledger(str(error)))
        else:
            self._take(found)
        self._on_look()

    async def _open_ledger(self) -> LedgerClient:
        """The ledger, opened anew after any error: it may be another file or server by now. Raises SettingsError."""
        if self._ledger is None:
            self._ledger = await LedgerClient(self._settings.ledger.url.get_secret_value()).__aenter__()
        return self._ledger

    async def _close_ledger(self) -> None:
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            await ledger.__aexit__(None, None, None)

    def _read(self, connection: Connection) -> _Look:
        now_ms = clock_ms(connection)
        since_ms = self._since_ms if self._since_ms is not None else now_ms - LOOK_BACK_MS
        return _Look(
            now_ms,
            len(replicas.living(connection, now_ms)),
            lanes.silence_ms(connection, now_ms),
            switches.read(connection, Switch()),
            switches.latest(connection),
            orders.deaths_since(connection, since_ms, DEATHS_MAX),
        )

    def _take(self, found: _Look) -> None:
        self._note("ledger", None)
        self._note("consumers", None if found.consumers else NO_CONSUMER)
        silent = self._silent_lanes(found.silence_ms) if found.consumers else []
        self._note("lanes", unread(silent) if silent else None)
        known = self._settings.connectors
        states = found.switch.states
        off = {f"{SWITCH}{name}": name for name in states}
        for key in [key for key in self._noted if key.startswith(SWITCH) and key not in off]:
            self._note(key, None)
        for key, name in off.items():
            self._note(key, switched(name, states[name], found.switch_changes.get(name), known))
        for death in found.deaths:
            self._count(_outcome(death))
        is_whole = len(found.deaths) < DEATHS_MAX
        self._since_ms = found.now_ms - OVERLAP_MS if is_whole else found.deaths[-1].ended_ms

    def _silent_lanes(self, silence_ms: Mapping[str, int]) -> list[str | None]:
        """The connectors of own lanes that nobody looks after, and None for the shared lane."""
        wanted = {None: self._names.orders} | {name: self._names.lane(name) for name in self._settings.own_lanes()}
        limit_ms = self._lane_s * 1000
        return [name for name, queue in wanted.items() if abs(silence_ms.get(queue, limit_ms)) >= limit_ms]

    def _note(self, key: str, trouble: Trouble | None) -> None:
        if trouble is None:
            self._noted.pop(key, None)
        else:
            since_s, _ = self._noted.get(key, (time.monotonic(), trouble))
            self._noted[key] = since_s, trouble

    def _hear_of_broker(self, why_away: str | None) -> None:
        self._note("broker", no_broker(why_away) if why_away is not None else None)
        if why_away is None:
            self._on_listening()
        self._on_look()

    def _hear(self, outcome: Outcome) -> None:
        """Count a dead letter by its event.

        Behind a duplicate comes the event of the first ending again, which may be of last week: there the ledger is
        asked, by the next look.
        """
        if outcome.status == "duplicate":
            self._repeated.add(outcome)
        elif outcome.status == "dead" and outcome not in self._repeated:
            self._count(outcome)
            self._on_look()

    def _count(self, outcome: Outcome) -> None:
        """Count a dead letter, unless it was counted: by its event or by the ledger."""
        is_news = outcome not in self._counted
        self._counted.add(outcome)
        if is_news:
            reason = outcome.reason if outcome.reason in ADVICE else OTHERS
            self._on_letter(reason or OTHERS, shown_connector(outcome.connector, self._settings.connectors))


def _key(outcome: Outcome) -> tuple[str, str, int]:
    return outcome.strategy, outcome.intent_id, outcome.generation


def _outcome(death: Death) -> Outcome:
    """The ending as its event has it, as far as it is looked at here."""
    return Outcome(
        intent_id=death.intent_id,
        generation=death.generation,
        connector=death.connector,
        strategy=death.strategy,
        action=None,
        client_order_id=None,
        status="dead",
        reason=death.reason,
        attempts=0,
        http_status=None,
        created_at=None,
        due_at=None,
        updated_at=at(death.ended_ms),
    )
