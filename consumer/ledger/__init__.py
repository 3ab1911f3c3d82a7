"""The memory behind "never twice": what is known of each intent, by identity.

The pipeline reads a History, steps it on, and saves it before the effect that depends on it. This package holds the
interface and a form in memory; a restart forgets that one.
"""

from __future__ import annotations

from typing import Protocol

from consumer.history import History
from consumer.order import Order


class Ledger(Protocol):
    """Recall and save. Whatever `save` returned from must be found by every later `recall`."""

    name: str

    async def recall(self, order: Order) -> History:
        """What is known of the intent; one never saved is `received`."""
        ...

    async def save(self, order: Order, history: History) -> None:
        """Return once this is what is known."""
        ...
