"""The lane of a connector's orders: pure, by the settings."""

from signalq.names import Names
from signalq.settings.sections import Settings

# How many messages a strict own lane takes in at a time: far more than are POSTed in the round trip that fetches the
# next ones. A constant, not a setting: after a crash with another prefetch RabbitMQ hands back in another order.
OWN_LANE_WINDOW = 200
# Of these, orders of so many bytes are read, and are handled or wait for their turn; the others wait as bytes. An order
# that is read may take five times its bytes.
OWN_LANE_BYTES = 4 * 1_048_576
SHARED_BYTES = 16 * 1_048_576
# An unordered lane takes in so many times the messages that it POSTs at once: the next are here when a POST ends.
UNORDERED_WINDOW_FACTOR = 2
# A message is forwarded so often, then handled where it is. Else consumers with different settings, as in a rolling
# restart, would hand it to each other for as long as both run.
FORWARDS_MAX = 3


def queue_of(settings: Settings, connector: str) -> str:
    """The queue of a connector's lane: its own, or the shared one."""
    names = Names(settings.broker.prefix)
    return names.lane(connector) if has_own_lane(settings, connector) else names.orders


def has_own_lane(settings: Settings, connector: str) -> bool:
    """Whether a connector has a lane of its own."""
    return settings.connector(connector).lane == "own"


def is_strict(settings: Settings, connector: str) -> bool:
    """Whether a connector's orders are POSTed one at a time, in order."""
    return settings.connector(connector).ordering == "strict"


def concurrency_of(settings: Settings, connector: str) -> int:
    """The number of a connector's orders that may be on the wire at once."""
    if is_strict(settings, connector):
        return 1
    return settings.connector(connector).concurrency or settings.delivery.concurrency


def window_of(settings: Settings, connector: str) -> int:
    """The number of messages that a connector's own lane takes in at a time."""
    if is_strict(settings, connector):
        return OWN_LANE_WINDOW
    return UNORDERED_WINDOW_FACTOR * concurrency_of(settings, connector)


def retired(settings: Settings, known_lanes: list[str]) -> list[str]:
    """Own lanes under this prefix that the ledger knows and no setting names any more."""
    names = Names(settings.broker.prefix)
    current = {names.lane(connector) for connector in settings.own_lanes()}
    return [lane for lane in known_lanes if names.connector_of(lane) and lane not in current]
