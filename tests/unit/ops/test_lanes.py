"""`signalq lanes`: who has taken up a change of the switch, as far as the ledger tells."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from signalq.consumer.ledger.client import LedgerUnavailable
from signalq.ops import lanes


class SilentLedger:
    """Answers nothing."""

    shown = "the ledger"

    async def read(self, _look: object) -> Any:
        await asyncio.Event().wait()


async def test_a_ledger_that_does_not_answer_is_not_taken_for_one_without_consumers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "SWITCH_WAIT_S", 0.01)
    with pytest.raises(LedgerUnavailable, match="did not answer within"):
        await lanes._taken_up(cast("Any", SilentLedger()), 1)
