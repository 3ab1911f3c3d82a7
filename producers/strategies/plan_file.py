"""The plan of a slot, on the disk before its first order goes out, so that the program decides only once.

The weights change with the first order that is filled, so a second look at them would make another plan. No token is
in the file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from signalq.producers.strategies.command_line import WrongInput
from signalq.producers.strategies.rebalancing import PlannedOrder


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """The orders of a slot, and when they were planned (ISO 8601, UTC); `published`: all were confirmed."""

    slot: str
    made_at: str
    orders: tuple[PlannedOrder, ...]
    published: bool = False


def read_plan(file: Path) -> SlotPlan | None:
    """The plan that was written last, None if there is none yet. Raises WrongInput."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return SlotPlan(**kept | {"orders": tuple(PlannedOrder(**order) for order in kept["orders"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise WrongInput(f"{file} holds no plan: name another file, or see what is in it and delete it") from None


def write_plan(file: Path, plan: SlotPlan) -> None:
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
