"""The plan of a slot, on the disk before its first order goes out: what a program decided, it decides only once.

The weights change with the first order that is filled, so a second look at them would make another plan. No token is
in the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from signalq.producers.strategies.command_line import WrongInput
from signalq.producers.strategies.rebalancing import Order


@dataclass(frozen=True, slots=True)
class Plan:
    """What a slot orders, and when that was decided (ISO 8601, UTC); `published`: all of it was confirmed."""

    slot: str
    made_at: str
    orders: tuple[Order, ...]
    published: bool = False


def read_plan(file: Path) -> Plan | None:
    """The plan that was written last, None where there is none yet. Raises WrongInput."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return Plan(**kept | {"orders": tuple(Order(**order) for order in kept["orders"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise WrongInput(f"{file} holds no plan: name another file, or look what it is and delete it") from None


def write_plan(file: Path, plan: Plan) -> None:
    """Replace the plan, whole or not at all; it is on the disk when this returns."""
    beside = file.with_name(f"{file.name}.new")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(asdict(plan), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
