"""signalq: publish order intents that end in exactly one place.

The names of the library are loaded when they are asked for: the commands and the private broker are parts of this
package, too, and start without the library's dependencies.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from signalq.version import __version__

if TYPE_CHECKING:
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
    from signalq.message.intent import OrderIntent
    from signalq.message.outcome import Outcome
    from signalq.publishing.publisher import OrderPublisher
    from signalq.publishing.receipt import Receipt, SyncReceipt
    from signalq.publishing.results import NotAllConfirmed, PublishResult, SyncPublishResult
    from signalq.publishing.sync import SyncOrderPublisher

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

_ROOMS = {
    "signalq.message.intent": {"OrderIntent"},
    "signalq.message.outcome": {"Outcome"},
    "signalq.publishing.publisher": {"OrderPublisher"},
    "signalq.publishing.receipt": {"Receipt", "SyncReceipt"},
    "signalq.publishing.results": {"NotAllConfirmed", "PublishResult", "SyncPublishResult"},
    "signalq.publishing.sync": {"SyncOrderPublisher"},
}


def __getattr__(name: str) -> object:
    """Load a public name, once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = next((room for room, names in _ROOMS.items() if name in names), "signalq.errors")
    globals()[name] = value = getattr(import_module(room), name)
    return value


def __dir__() -> list[str]:
    return __all__
