"""The strategy of a message, and its rights: pure, by the settings alone.

A strategy with a `user` is known by the user that the broker has checked, and by nothing else; a strategy without one
is known by its label. A message of no strategy of the settings may do nothing, whatever it says.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from signalq.message.intent import OrderIntent
from signalq.settings.named import Strategy
from signalq.settings.sections import Settings

NOBODY = "no strategy of the settings is known by its user, or by its label without one"
NOT_NAMED = 'no setting names its connector, and delivery.connectors is "named"'
NOT_THIS_CONNECTOR = "its strategy is not allowed this connector"
NOT_THIS_ACTION = "its strategy is not allowed this action"
WRONG_TOKEN = "connectorToken: is not the one that is configured for its connector"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class Rights:
    """The strategies of the settings; without any, everybody may do everything, and a label is only a label.

    Orders may be for these `connectors`; None means any.
    """

    strategies: Mapping[str, Strategy]
    by_user: Mapping[str, str]
    connectors: Collection[str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Rights:
        """The rights that these settings give."""
        connectors = settings.connectors if settings.delivery.connectors == "named" else None
        return cls(settings.strategies, settings.strategy_by_user, connectors)

    @property
    def are_given(self) -> bool:
        """Whether the settings name a strategy: then no other may do anything."""
        return bool(self.strategies)

    def takes(self, connector: str) -> bool:
        """Whether orders may be for this connector, of whichever strategy."""
        return self.connectors is None or connector in self.connectors

    def name_of(self, user: str | None, label: str) -> str | None:
        """The strategy of a message with this user and this label; None for no strategy of the settings.

        The broker has checked `user`: now, or when the intent first came, as the ledger says. No header counts.
        """
        if user is not None and user in self.by_user:
            return self.by_user[user]
        named = self.strategies.get(label)
        return label if named is not None and named.user is None else None

    def strategy_of(self, user: str | None, label: str) -> Strategy | None:
        """The settings of the strategy that a message is from; None for no strategy of the settings."""
        name = self.name_of(user, label)
        return self.strategies[name] if name is not None else None

    def why_not(self, user: str | None, label: str, intent: OrderIntent) -> str | None:
        """The reason why the sender may not have this intent POSTed, or None; the sentence quotes nothing of it."""
        if not self.takes(intent.connector_name):
            return NOT_NAMED
        if not self.are_given:
            return None
        strategy = self.strategy_of(user, label)
        if strategy is None:
            return NOBODY
        if strategy.connectors is not None and intent.connector_name not in strategy.connectors:
            return NOT_THIS_CONNECTOR
        if strategy.actions is not None and intent.kind not in strategy.actions:
            return NOT_THIS_ACTION
        return None


def is_wrong_token(given: str | None, configured: str | None) -> bool:
    """Whether a message's token is another than its connector's. The time this takes tells nothing of either token."""
    if given is None or configured is None:
        return False
    return not hmac.compare_digest(given.encode(), configured.encode())
