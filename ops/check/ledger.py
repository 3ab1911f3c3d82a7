"""Findings on the ledger, and by the ledger on the switch, the producers and this machine's clock."""

from collections.abc import Callable
from itertools import pairwise

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from signalq.amqp.ledger_mark import LedgerMark
from signalq.consumer.clocks.skew import machine
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.database import clock_ms, machine_ms
from signalq.consumer.ledger.migrate import schema_of
from signalq.consumer.ledger.queries import replicas, switches
from signalq.consumer.ledger.queries.orders import Careless, careless
from signalq.consumer.ledger.queries.replicas import clock_of
from signalq.consumer.orders.delays import DAY_MS
from signalq.consumer.orders.switch import Switch
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.message.creation import CLOCKS_AGREE_MS
from signalq.ops.check.finding import NAMED_MAX, Finding, named
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import plural
from signalq.settings.ledger_url import SqliteFile, read_ledger_url
from signalq.settings.sections import Settings

_CHECK_IT = "check ledger.url (SIGNALQ_LEDGER__URL), and whether it is up"
_VERIFY = "add sslmode=verify-full to ledger.url, with sslrootcert for an authority of your own"
_USE_THE_FORMER = "set ledger.url to the one that they belong to; only if it is lost, `signalq topology adopt-ledger`"
_LOOK_AT_THEM = "look whether these processes still run; a consumer that has ended is forgotten after an hour"
_SET_THEM = "publish with message_id and the header signalq-created-ms, as the SDK and `signalq publish` do"
_NO_EXPIRATION = "set no expiration: when it has passed, the broker drops the order without a trace"
_SET_IT_RIGHT = (
    "look at the time service of this machine (timedatectl, chronyc): by its clock orders are too old, or not"
)


async def check_ledger(settings: Settings, ledger: LedgerClient | SettingsError, held: LedgerMark | None) -> Finding:
    """The ledger, and whether the lanes on the broker (`held`) belong to it; or why it could not be opened."""
    theirs = f"the lanes on the broker belong to {escaped(held.ledger)} ({escaped(held.ledger_id)})" if held else ""
    if isinstance(ledger, SettingsError):
        if held is not None and ledger.kind is not Kind.PACKAGE_MISSING:
            return Finding("ledger", "wrong", f"{ledger}; {theirs}", _USE_THE_FORMER, ledger.kind)
        return _no_ledger(ledger)
    mine = ledger.mark
    if held is not None and held.ledger_id != mine.ledger_id:
        found = f"{mine.ledger} ({mine.ledger_id}) is there, but {theirs}"
        return Finding("ledger", "wrong", found, _USE_THE_FORMER, Kind.ANOTHER_LEDGER)
    try:
        schema = await ledger.read(schema_of)
    except LedgerUnavailable as error:
        return Finding("ledger", "wrong", str(error), _CHECK_IT, error.kind)
    belongs = ", and the lanes on the broker belong to it" if held is not None else ""
    exposure = _exposure(settings)
    found = f"{mine.ledger} is there, of schema {schema}{belongs}{exposure}"
    return Finding("ledger", "note" if exposure else "ok", found, _VERIFY if exposure else None)


def _no_ledger(error: SettingsError) -> Finding:
    """The finding on a ledger that is not there yet, is to be upgraded, or can't be opened."""
    if error.kind is Kind.PACKAGE_MISSING:
        what, _, advice = str(error).partition(": ")
        return Finding("ledger", "wrong", what, advice, error.kind)
    if error.kind is Kind.LEDGER_VERSION:
        return Finding("ledger", "note", str(error), "`signalq consume` upgrades it at its start", error.kind)
    if error.__cause__ is None or isinstance(error.__cause__, ProgrammingError):  # no file, or no tables
        return Finding("ledger", "note", f"none yet ({error})", "`signalq consume` makes it", error.kind)
    return Finding("ledger", "wrong", str(error), _CHECK_IT, error.kind)


def _exposure(settings: Settings) -> str:
    """The weakness of the connection to the ledger; empty if there is none."""
    read = read_ledger_url(settings.ledger.url.get_secret_value())
    if isinstance(read, SqliteFile) or read.is_local or read.is_checked:
        return ""
    if read.is_encrypted:
        return "; encrypted, its certificate not checked"
    return "; perhaps in plain text (ledger.allow_plain)"


async def check_by_ledger(ledger: LedgerClient, check: str) -> Finding:
    """A finding by the ledger's record: `check` is one of BY_LEDGER."""
    try:
        return await ledger.read(BY_LEDGER[check])
    except LedgerUnavailable as error:
        return Finding(check, "wrong", str(error), _CHECK_IT, error.kind)


def _switch(connection: Connection) -> Finding:
    """The connectors that a person has paused or set to close-only."""
    switch = switches.read(connection, Switch())
    if not switch.states:
        return Finding("switch", "ok", "every connector is open")
    found = named([f"{escaped(name) or 'all connectors'} {state}" for name, state in sorted(switch.states.items())])
    return Finding("switch", "note", found, "`signalq lanes resume` lets them go on, when they should")


def _replicas(connection: Connection) -> Finding:
    """The consumers that live, and those that are silent or act by an older change of the switch."""
    known = replicas.known(connection, clock_ms(connection))
    version = switches.read(connection, Switch()).version
    living = [one for one in known if one.lives]
    if not living:
        return Finding("replicas", "note", "no consumer gives a sign of life", "start one with `signalq consume`")
    found = f"{named([escaped(one.name) for one in living])} live" + ("s" if len(living) == 1 else "")
    silent = [f"{escaped(one.name)} is silent for {one.silent_ms / 1000:.0f} s" for one in known if not one.lives]
    behind = [
        f"{escaped(one.name)} acts by change {one.switch_seen} of the switch, and {version} is the latest"
        for one in living
        if one.switch_seen < version
    ]
    if not silent and not behind:
        return Finding("replicas", "ok", found)
    return Finding("replicas", "note", f"{found}; {named([*behind, *silent], apart='; ')}", _LOOK_AT_THEM)


def _producers(connection: Connection) -> Finding:
    """The strategies whose intents lack an id or a creation time, or have an expiration that loses orders."""
    found = careless(connection)
    if not found:
        return Finding("producers", "ok", "all recent intents have an id and a creation time")
    # A strategy that may lose orders is named in any case.
    losing = [one for one in found if one.with_expiration]
    others = [one for one in found if not one.with_expiration]
    sentences = [_careless(one) for one in (*losing, *others[:NAMED_MAX])]
    more = [f"{len(others) - NAMED_MAX} more strategies"] if len(others) > NAMED_MAX else []
    advice = [_SET_THEM] if any(one.without_id or one.without_date for one in found) else []
    advice += [_NO_EXPIRATION] if losing else []
    return Finding("producers", "note", "; ".join(sentences + more), "; ".join(advice))


def _careless(one: Careless) -> str:
    lacking = {"message_id": one.without_id, "creation time": one.without_date}
    counts = [f"{count:,} without a {what}" for what, count in lacking.items() if count]
    counts += [f"{one.with_expiration:,} with an AMQP expiration"] if one.with_expiration else []
    return f"strategy {escaped(one.strategy)}: {' and '.join(counts)}, of {plural(one.intents, 'recent intent')}"


def _clock(connection: Connection) -> Finding:
    """Compare this machine's clock with that of the ledger's server, and see how it was set within a day."""
    before_ms, theirs_ms, after_ms = machine_ms(), clock_ms(connection), machine_ms()
    ahead_ms = max(before_ms - theirs_ms, 0) or min(after_ms - theirs_ms, 0)
    if abs(ahead_ms) >= CLOCKS_AGREE_MS:
        return Finding("clock", "wrong", f"{_by(ahead_ms, 'ahead of', 'behind')} the ledger's server's", _SET_IT_RIGHT)
    segments = pairwise(clock_of(connection, machine()))
    steps = [new.offset_ms - old.offset_ms for old, new in segments if new.since_ms >= before_ms - DAY_MS]
    if steps:
        found = ", ".join(_by(step_ms, "forward", "back") for step_ms in steps[-NAMED_MAX:])
        return Finding("clock", "note", f"within a day this machine's clock was set {found}", _SET_IT_RIGHT)
    return Finding("clock", "ok", "it agrees with the ledger's, and no consumer has seen it set within a day")


def _by(ms: int, forward: str, back: str) -> str:
    return f"{abs(ms) / 1000:.1f} s {forward if ms > 0 else back}"


BY_LEDGER: dict[str, Callable[[Connection], Finding]] = {
    "switch": _switch,
    "replicas": _replicas,
    "producers": _producers,
    "clock": _clock,
}
