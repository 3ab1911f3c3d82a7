"""The orders that a consumer with these settings would refuse, `unauthorized` or `forbidden`. Pure."""

from __future__ import annotations

from signalq.amqp.address import user_of
from signalq.consumer.orders.limits import Scoped
from signalq.consumer.orders.rights import Rights
from signalq.message.intent import OrderIntent
from signalq.message.outcome import ABSENT
from signalq.settings.sections import Settings


class Refusals:
    """Judges intents of one strategy by its rights, and by the limits of size and action; a rate needs a clock."""

    def __init__(self, settings: Settings, strategy: str | None) -> None:
        self._settings = settings
        # An unnamed connector has a warning of its own.
        self._rights = Rights(settings.strategies, settings.strategy_by_user)
        self._label = strategy or ABSENT
        # Without a strategy a message carries no user.
        self._user = user_of(settings.broker.url.get_secret_value()) if strategy is not None else None

    def why(self, intent: OrderIntent) -> str | None:
        """The reason for which it would be dead, and why; None where it would not."""
        unauthorized = self._rights.why_not(self._user, self._label, intent)
        if unauthorized is not None:
            return f"unauthorized: {unauthorized}"
        connector = self._settings.connector(intent.connector_name)
        is_exit = intent.is_exit(spot_sell_is_exit=connector.spot_sell_is_exit)
        scopes = [Scoped("connector", intent.connector_name, connector)]
        name = self._rights.name_of(self._user, self._label)
        if name is not None:
            scopes.append(Scoped("strategy", name, self._settings.strategies[name]))
        details = [one.detail for scope in scopes if scope.enforced for one in scope.exceeded(intent, is_exit=is_exit)]
        return f"forbidden: {'; '.join(details)}" if details else None
