"""`signalq check`: what is right, what is wrong, and what to do about it. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError
from yarl import URL

from signalq.amqp.address import is_loopback
from signalq.amqp.connection import connect
from signalq.amqp.inspect import Inspector
from signalq.amqp.ledger_mark import LedgerMark, held_mark
from signalq.consumer.clocks.skew import machine
from signalq.consumer.ledger.database import clock_ms, machine_ms
from signalq.consumer.ledger.paces import clock_of
from signalq.consumer.ledger.producers import Careless, careless
from signalq.consumer.ledger.statements import known_lanes
from signalq.consumer.ledger.visit import LedgerClient, read_mark
from signalq.consumer.orders import lanes
from signalq.consumer.orders.delays import DAY_MS
from signalq.errors import BrokerError, BrokerUnreachable, SettingsError, SignalQError
from signalq.message.creation import CLOCKS_AGREE_MS
from signalq.names import Names
from signalq.ops.check.finding import NAMED_MAX, Finding, named
from signalq.ops.check.topology import check_topology
from signalq.ops.lanes import read_switch
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.render import plural
from signalq.secrets.masking import masked
from signalq.settings.ledger_url import SqliteFile, read_ledger_url
from signalq.settings.sections import CONFIG_ENV, ENV_PREFIX, Settings
from signalq.version import how_to_install


async def findings(settings: Settings, config: Path | None) -> AsyncIterator[Finding]:
    """Look at everything, in the order in which an order passes it; each finding comes as soon as it is known."""
    yield _settings(settings, config)
    url = settings.broker.url.get_secret_value()
    held: LedgerMark | None = None
    try:
        connection = await connect(url, name="signalq check", heartbeat_s=settings.broker.heartbeat_s)
    except BrokerError as error:
        yield _no_broker(error)
        yield Finding("topology", "note", "not looked at, for lack of a broker")
    else:
        async with connection:
            yield _broker(url, connection)
            async for finding in check_topology(settings, connection):
                yield finding
            async for finding in _retired(settings, connection):
                yield finding
            held = await held_mark(connection, Names(settings.broker.prefix))
    ledger = await _ledger(settings, held)
    yield ledger
    if ledger.state == "ok":
        yield await _switch(settings)
        yield await _producers(settings)
        yield await _clock(settings)
    for url, connectors in _webhooks(settings).items():
        yield await _webhook(url, connectors, settings.webhook.connect_timeout_s)


def _settings(settings: Settings, config: Path | None) -> Finding:
    path = config or os.environ.get(CONFIG_ENV)
    variables = sorted(name for name in os.environ if name.upper().startswith(ENV_PREFIX) and "__" in name)
    sources = [str(path)] if path else []
    sources += [", ".join(variables)] if variables else []
    found = " and ".join(sources) or f"all at their defaults (no --config, no {CONFIG_ENV}, no {ENV_PREFIX}… variable)"
    if settings.connectors:
        found += f"; {plural(len(settings.connectors), 'connector')} named"
    return Finding("settings", "ok", found)


def _broker(url: str, connection: AbstractConnection) -> Finding:
    properties = connection.transport.connection.server_properties if connection.transport else {}
    told = [value for name in ("product", "version") if isinstance(value := properties.get(name), str)]
    known = " ".join(told) or "a broker that does not say its version"
    found = f"{escaped(known)} at {masked(url)}"
    if url.startswith("amqps"):
        return Finding("broker", "ok", f"{found}, its certificate checked")
    if is_loopback(URL(url).host or ""):
        return Finding("broker", "ok", found)
    return Finding("broker", "note", f"{found}, in plain text (broker.allow_plain)", "use amqps:// where it can be had")


def _no_broker(error: BrokerError) -> Finding:
    what, advice = (error.what, error.advice) if isinstance(error, BrokerUnreachable) else (str(error), None)
    return Finding("broker", "wrong", what, advice or "start RabbitMQ, or set broker.url (SIGNALQ_BROKER__URL)")


async def _retired(settings: Settings, connection: AbstractConnection) -> AsyncIterator[Finding]:
    """Own lanes that no setting names any more and that are there still; where there is no ledger, there are none."""
    try:
        async with LedgerClient(settings.ledger.url.get_secret_value()) as visit:
            known = await visit.read(known_lanes)
        asker = Inspector(connection)
        for queue in lanes.retired(settings, known):
            depth = await asker.depth(queue)
            if depth is not None:
                found = f"{escaped(queue)} belongs to no connector of these settings, {depth.ready:,} ready"
                yield Finding("retired lane", "note", found, _DELETE_WHEN_EMPTY)
        await asker.close()
    except (SignalQError, ModuleNotFoundError):
        return  # what is wrong with the ledger or the broker is a finding of its own


_DELETE_WHEN_EMPTY = "a consumer forwards what lies there; delete the queue once it is empty"


async def _ledger(settings: Settings, held: LedgerMark | None) -> Finding:
    """Where the ledger is, whether it is there, and whether the lanes on the broker belong to it."""
    theirs = f"the lanes on the broker belong to {escaped(held.ledger)} ({escaped(held.ledger_id)})" if held else ""
    try:
        mine = await read_mark(settings.ledger.url.get_secret_value())
    except ModuleNotFoundError as error:
        return Finding("ledger", "wrong", f"the package {error.name} is missing", how_to_install("postgres"))
    except SettingsError as error:
        if held is not None:
            return Finding("ledger", "wrong", f"{error}; {theirs}", _USE_THE_FORMER)
        if error.__cause__ is None or isinstance(error.__cause__, ProgrammingError):  # no file, or no tables
            return Finding("ledger", "note", f"none yet ({error})", "`signalq consume` makes it")
        return Finding("ledger", "wrong", str(error), "check ledger.url (SIGNALQ_LEDGER__URL), and whether it is up")
    if held is not None and held.ledger_id != mine.ledger_id:
        return Finding("ledger", "wrong", f"{mine.ledger} ({mine.ledger_id}) is there, but {theirs}", _USE_THE_FORMER)
    belongs = ", and the lanes on the broker belong to it" if held is not None else ""
    found = f"{mine.ledger} is there{belongs}"
    safety = _how_safe(settings)
    return Finding("ledger", "note" if safety else "ok", found + safety, _VERIFY if safety else None)


def _how_safe(settings: Settings) -> str:
    """What somebody on the way to the ledger could do."""
    read = read_ledger_url(settings.ledger.url.get_secret_value())
    if isinstance(read, SqliteFile) or read.is_local or read.is_checked:
        return ""
    if read.is_encrypted:
        return "; encrypted, its certificate not checked"
    return "; perhaps in plain text (ledger.allow_plain)"


_VERIFY = "add sslmode=verify-full to ledger.url, with sslrootcert for an authority of your own"


_USE_THE_FORMER = "set ledger.url to the one that they belong to; only if it is lost, `signalq topology adopt-ledger`"


async def _switch(settings: Settings) -> Finding:
    """What does not go out because a person said so."""
    try:
        switch = await read_switch(settings)
    except SignalQError as error:
        return Finding("switch", "wrong", str(error), "look at the ledger")
    if not switch.states:
        return Finding("switch", "ok", "every connector is open")
    found = named([f"{escaped(name) or 'all connectors'} {state}" for name, state in sorted(switch.states.items())])
    return Finding("switch", "note", found, "`signalq lanes resume` lets them go on, when they should")


async def _producers(settings: Settings) -> Finding:
    """Who publishes without what tells a second delivery from a second order, or an old order from a new one; and who
    lets the broker drop orders with nobody knowing.
    """
    try:
        async with LedgerClient(settings.ledger.url.get_secret_value()) as visit:
            found = await visit.read(careless)
    except SignalQError as error:
        return Finding("producers", "wrong", str(error), "check ledger.url (SIGNALQ_LEDGER__URL), and whether it is up")
    if not found:
        return Finding("producers", "ok", "all recent intents have an id and a creation time")
    # Whoever may lose orders is named in any case.
    losing = [one for one in found if one.with_expiration]
    others = [one for one in found if not one.with_expiration]
    told = [_careless(one) for one in (*losing, *others[:NAMED_MAX])]
    more = [f"{len(others) - NAMED_MAX} more strategies"] if len(others) > NAMED_MAX else []
    advice = [_SET_THEM] if any(one.without_id or one.without_date for one in found) else []
    advice += [_NO_EXPIRATION] if losing else []
    return Finding("producers", "note", "; ".join(told + more), "; ".join(advice))


def _careless(one: Careless) -> str:
    lacking = {"message_id": one.without_id, "creation time": one.without_date}
    counts = [f"{count:,} without a {what}" for what, count in lacking.items() if count]
    counts += [f"{one.with_expiration:,} with an AMQP expiration"] if one.with_expiration else []
    return f"strategy {escaped(one.strategy)}: {' and '.join(counts)}, of {plural(one.intents, 'recent intent')}"


_SET_THEM = "publish with message_id and the header signalq-created-ms, as the SDK and `signalq publish` do"
_NO_EXPIRATION = "set no expiration: the broker drops an order when it has passed, and nobody knows"


async def _clock(settings: Settings) -> Finding:
    """How far this machine's clock is from the ledger's, where that is a server's, and how it was set lately."""
    began_ms = machine_ms()
    try:
        async with LedgerClient(settings.ledger.url.get_secret_value()) as visit:
            began_ms = machine_ms()
            theirs_ms, steps = await visit.read(lambda connection: (clock_ms(connection), _steps(connection, began_ms)))
    except SignalQError as error:
        return Finding("clock", "wrong", str(error), "check ledger.url (SIGNALQ_LEDGER__URL), and whether it is up")
    ahead_ms = max(began_ms - theirs_ms, 0) or min(machine_ms() - theirs_ms, 0)
    if abs(ahead_ms) >= CLOCKS_AGREE_MS:
        return Finding("clock", "wrong", f"{_by(ahead_ms, 'ahead of', 'behind')} the ledger's server's", _SET_IT_RIGHT)
    if steps:
        found = ", ".join(_by(step_ms, "forward", "back") for step_ms in steps[-NAMED_MAX:])
        return Finding("clock", "note", f"within a day this machine's clock was set {found}", _SET_IT_RIGHT)
    return Finding("clock", "ok", "it agrees with the ledger's, and no consumer has seen it set within a day")


def _steps(connection: Connection, now_ms: int) -> list[int]:
    pairs = pairwise(clock_of(connection, machine()))
    return [after.offset_ms - before.offset_ms for before, after in pairs if after.since_ms >= now_ms - DAY_MS]


def _by(ms: int, forward: str, back: str) -> str:
    return f"{abs(ms) / 1000:.1f} s {forward if ms > 0 else back}"


_SET_IT_RIGHT = (
    "look at the time service of this machine (timedatectl, chronyc): by its clock orders are too old, or not"
)


def _webhooks(settings: Settings) -> dict[str, list[str]]:
    """Every URL that orders go to, and the connectors that have it for their own."""
    urls: dict[str, list[str]] = {settings.webhook.url: []}
    for name, connector in settings.connectors.items():
        if connector.url is not None:
            urls.setdefault(connector.url, []).append(name)
    return urls


async def _webhook(url: str, connectors: list[str], timeout_s: float) -> Finding:
    """Look the host up and open a TCP connection; nothing is sent, for a POST would be an order."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    where = f"{host}:{port}" + (f" (connector {escaped(', '.join(connectors))})" if connectors else "")
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Finding("webhook", "wrong", f"{where} did not answer within {timeout_s:g} s", _NETWORK)
    except socket.gaierror:
        return Finding("webhook", "wrong", f"the name {host} does not resolve", "check webhook.url and this host's DNS")
    except OSError as error:
        return Finding("webhook", "wrong", f"{where} took no connection ({type(error).__name__})", _NETWORK)
    writer.close()
    took_ms = (time.monotonic() - began) * 1000
    return Finding("webhook", "ok", f"{where} takes connections ({took_ms:.0f} ms); nothing was sent")


_NETWORK = "check webhook.url, and whether this host may reach it"
