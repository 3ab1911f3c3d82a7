"""The look with which a transaction begins: the ledger's clock, the switch's version, and the epochs of lanes.

One statement: on PostgreSQL each costs a way to the server and back, which is more than all that the database does.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, FunctionElement, Select, bindparam, cast, func, select, true
from sqlalchemy.sql import literal_column
from sqlalchemy.sql.elements import BindParameter

from signalq.consumer.ledger.database import SERVER_CLOCK, machine_ms
from signalq.consumer.ledger.driver import HotStatement, note_number, select_all
from signalq.consumer.ledger.tables import lanes, switch_changes


@dataclass(slots=True)
class Look:
    """The time by the ledger's clock, which is the server's, or that of a file's machine; the switch's version; and the
    epochs of the lanes that were asked for, held still until the transaction ends: None for one without a row.
    """

    now_ms: int
    switch_version: int
    epochs: dict[str, int | None]


def look(connection: Connection, wanted: Collection[str] = ()) -> Look:
    """Look; hold the epochs of the lanes that are wanted still."""
    found = select_all(connection, _look, {"wanted": json.dumps(sorted(wanted))})
    epochs = dict.fromkeys(wanted) | {lane: epoch for _, lane, epoch, *_ in found if lane is not None}
    version, _, _, *by_the_server = found[0]
    if not by_the_server:
        return Look(machine_ms(), version, epochs)
    now_ms, number = by_the_server
    note_number(connection, number)
    return Look(now_ms, version, epochs)


_switch = select(func.coalesce(func.max(switch_changes.c.number), literal_column("0")).label("version")).subquery()
_wanted: BindParameter[str] = bindparam("wanted")


def _statement(wanted: FunctionElement[Any], *others: ColumnElement[Any]) -> Select[Any]:
    """A row for each lane that is there; where none is, one row all the same."""
    held = (
        select(lanes.c.lane, lanes.c.epoch)
        .where(lanes.c.lane.in_(select(wanted.table_valued("value").c.value)))
        .order_by(lanes.c.lane)
        # The weakest lock that take_lane's waits for, and the strongest that does not wait for a sign of life: two
        # consumers that claim on lanes of their own and note each other's would wait in a circle, until PostgreSQL
        # ends one.
        .with_for_update(read=True, key_share=True)
        .cte("held")
    )
    return select(_switch.c.version, held.c.lane, held.c.epoch, *others).select_from(_switch.outerjoin(held, true()))


_look = HotStatement(
    _statement(func.json_each(_wanted)),
    on_postgresql=_statement(
        func.json_array_elements_text(cast(_wanted, JSON)),
        SERVER_CLOCK,
        func.txid_current(),
    ),
)
