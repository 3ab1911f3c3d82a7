"""The actions of an order intent, and the kinds they come in."""

from __future__ import annotations

from typing import Literal

Action = Literal[
    "buy",
    "sell",
    "openLong",
    "closeLong",
    "openShort",
    "closeShort",
    "cancel",
    "cancelAll",
    "cancellAll",
    "cancel_all",
]
CANCEL_ALL_SPELLINGS = ("cancelAll", "cancellAll", "cancel_all")
FUTURES_ACTIONS = ("openLong", "closeLong", "openShort", "closeShort")
EXIT_ACTIONS = ("closeLong", "closeShort", "cancel", *CANCEL_ALL_SPELLINGS)
