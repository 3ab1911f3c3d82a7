"""signalq: publish order intents that end in exactly one place."""

from signalq.client import OrderPublisher, Receipt, SyncOrderPublisher
from signalq.errors import (
    BrokerError,
    BrokerUnreachable,
    InvalidIntent,
    Problem,
    PublishError,
    SignalQError,
    Unconfirmed,
    Unroutable,
)
from signalq.intent import OrderIntent
from signalq.version import __version__

__all__ = [
    "BrokerError",
    "BrokerUnreachable",
    "InvalidIntent",
    "OrderIntent",
    "OrderPublisher",
    "Problem",
    "PublishError",
    "Receipt",
    "SignalQError",
    "SyncOrderPublisher",
    "Unconfirmed",
    "Unroutable",
    "__version__",
]
