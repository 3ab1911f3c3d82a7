"""The finding on this machine's clock."""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Connection

from signalq.consumer.clocks.skew import machine
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms, machine_ms
from signalq.consumer.ledger.queries.replicas import clock_of
from signalq.consumer.orders.delays import DAY_MS
from signalq.errors import SignalQError
from signalq.message.creation import CLOCKS_AGREE_MS
from signalq.ops.check.finding import CHECK_THE_LEDGER, NAMED_MAX, Finding
from signalq.settings.sections import Settings

_SET_IT_RIGHT = (
    "look at the time service of this machine (timedatectl, chronyc): by its clock orders are too old, or not"
)


async def check_clock(settings: Settings) -> Finding:
    """Compare this machine's clock with that of the ledger's server, and see how it was set within a day."""
    began_ms = machine_ms()
    try:
        async with LedgerClient(settings.ledger.url.get_secret_value()) as ledger:
            began_ms = machine_ms()
            theirs_ms, steps = await ledger.read(
                lambda connection: (clock_ms(connection), _steps(connection, began_ms))
            )
    except SignalQError as error:
        return Finding("clock", "wrong", str(error), CHECK_THE_LEDGER)
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
