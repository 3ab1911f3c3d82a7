"""signalq: publish order intents that end in exactly one place.

The intent, the publishers and what they return are loaded when they are first asked for. The commands and the private
broker are parts of this package as well, and start without the library's dependencies.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from signalq.message.intent import OrderIntent
    from signalq.message.outcome import Outcome
    from signalq.publishing.publisher import OrderPublisher
    from signalq.publishing.results import NotAllConfirmed, PublishResult, Receipt, SyncPublishResult, SyncReceipt
    from signalq.publishing.sync import SyncOrderPublisher
else:  # A type checker that saw `__getattr__` would let a misspelt name pass.
    _LOADED_LATER = {
        "NotAllConfirmed": "signalq.publishing.results",
        "OrderIntent": "signalq.message.intent",
        "OrderPublisher": "signalq.publishing.publisher",
        "Outcome": "signalq.message.outcome",
        "PublishResult": "signalq.publishing.results",
        "Receipt": "signalq.publishing.results",
        "SyncOrderPublisher": "signalq.publishing.sync",
        "SyncPublishResult": "signalq.publishing.results",
        "SyncReceipt": "signalq.publishing.results",
    }

    def __getattr__(name: str) -> object:
        """Load a public name, once."""
        if name not in _LOADED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(import_module(_LOADED_LATER[name]), name)
        return value

    def __dir__() -> list[str]:
        """Every attribute, those included that are not loaded yet."""
        return sorted({*globals(), *__all__})
