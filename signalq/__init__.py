"""signalq: publish order intents that end in exactly one place."""

from signalq.client import OrderPublisher, SyncOrderPublisher
from signalq.errors import (
    BrokerError,
    BrokerUnreachable,
    InvalidIntent,
    OutcomeError,
    OutcomesUnavailable,
    OutcomeTimeout,
    Problem,
    PublishError,
    SignalQError,
    Unconfirmed,
    Unroutable,
)
from signalq.intent import OrderIntent
from signalq.outcome import Outcome
from signalq.receipt import Receipt, SyncReceipt
from signalq.version import __version__

__all__ = [
    "BrokerError",
    "BrokerUnreachable",
    "InvalidIntent",
    "OrderIntent",
    "OrderPublisher",
    "Outcome",
    "OutcomeError",
    "OutcomeTimeout",
    "OutcomesUnavailable",
    "Problem",
    "PublishError",
    "Receipt",
    "SignalQError",
    "SyncOrderPublisher",
    "SyncReceipt",
    "Unconfirmed",
    "Unroutable",
    "__version__",
]
