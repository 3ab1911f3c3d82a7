"""signalq: publish order intents that end in exactly one place."""

from signalq.blocking import SyncOrderPublisher
from signalq.client import OrderPublisher
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
from signalq.results import NotAllConfirmed, PublishResult, SyncPublishResult
from signalq.version import __version__

__all__ = [
    "BrokerError",
    "BrokerUnreachable",
    "InvalidIntent",
    "NotAllConfirmed",
    "OrderIntent",
    "OrderPublisher",
    "Outcome",
    "OutcomeError",
    "OutcomeTimeout",
    "OutcomesUnavailable",
    "Problem",
    "PublishError",
    "PublishResult",
    "Receipt",
    "SignalQError",
    "SyncOrderPublisher",
    "SyncPublishResult",
    "SyncReceipt",
    "Unconfirmed",
    "Unroutable",
    "__version__",
]
