"""The permissions that each user of the broker needs, and none beyond; another user declares the topology.

tests/integration/sdk/test_permissions.py proves them on a real broker, one by one.
"""

import re
from dataclasses import dataclass

from signalq.message.outcome import routing_key
from signalq.names import Names

NOTHING = "^$"
# The exchange without a name, as the broker calls it when it asks for a right: straight to a queue.
DEFAULT_EXCHANGE = "amq.default"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Regular expressions: over the names of exchanges and queues, and over the routing keys of the outcomes' exchange.

    The first three are for RabbitMQ's `set_permissions`, the two of keys for `set_topic_permissions`. To a user without
    any topic permission the broker allows every key.
    """

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    outcome_keys_written: str = NOTHING
    outcome_keys_read: str = NOTHING


def consumer_permissions(names: Names) -> Permissions:
    """The consumer with `broker.topology = "passive"`: it reads every lane, parks, dead-letters and publishes outcomes.

    Write on the dead letters' queue and on `unrouted` is for asking whether they are there: RabbitMQ 4.3 answers only a
    user with some right on them (3.10 and 4.0 answer every user). It allows nothing that the default exchange does not.
    """
    lane = f"{_exactly(names.lane(''))}.+"
    level = f"{_exactly(names.delay(0)).removesuffix('0')}[0-9]+"
    return Permissions(
        write=_one_of(
            _exactly(DEFAULT_EXCHANGE), _exactly(names.outcomes), level, _exactly(names.dead), _exactly(names.unrouted)
        ),
        read=_one_of(_exactly(names.orders), lane, _exactly(names.due), _exactly(names.ledger)),
        outcome_keys_written=".*",
    )


def producer_permissions(names: Names) -> Permissions:
    """A producer that only publishes, such as the gateway."""
    return Permissions(write=_one_of(_exactly(names.orders)))


def strategy_permissions(names: Names, strategy: str) -> Permissions:
    """A strategy that publishes, and listens for its own outcomes and no others."""
    queue = _listener_queue(names)
    own = _exactly(routing_key("", strategy, "").split(".")[1])
    return Permissions(
        configure=_one_of(queue),
        write=_one_of(_exactly(names.orders), queue),
        read=_one_of(_exactly(names.outcomes), queue),
        # Any connector and any status, or `*`. A `#` would bind to the events of other strategies as well.
        outcome_keys_read=rf"^[A-Za-z0-9_*-]+\.{own}\.[a-z*]+$",
    )


def listener_permissions(names: Names) -> Permissions:
    """A listener that hears of all outcomes and does nothing else, such as `signalq notify`."""
    queue = _listener_queue(names)
    return Permissions(
        configure=_one_of(queue),
        write=_one_of(queue),
        read=_one_of(_exactly(names.outcomes), queue),
        outcome_keys_read=".*",
    )


def operator_permissions(names: Names) -> Permissions:
    """An operator who looks at everything, replays and discards dead letters, and cancels scheduled orders.

    Write on everything is for asking what is there, as with the consumer; it takes no message away.
    """
    queue = _listener_queue(names)
    return Permissions(
        configure=_one_of(_exactly(names.dead_reader), queue),
        write=_one_of(rf"{_exactly(names.prefix)}\..+"),
        read=_one_of(_exactly(names.dead), _exactly(names.ledger), _exactly(names.outcomes), queue),
        outcome_keys_written=".*",
        outcome_keys_read=".*",
    )


def _listener_queue(names: Names) -> str:
    """A listener's queue ends with a UUID in hex (OutcomeFeed); one with any other name is no passing listener's."""
    return f"{_exactly(names.outcome_queue(''))}[0-9a-f]{{32}}"


def _one_of(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$" if len(patterns) > 1 else f"^{patterns[0]}$"


def _exactly(name: str) -> str:
    """A name as a regular expression with the same meaning in PCRE and in RE2."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: f"\\{found[0]}" if found[0].isascii() else found[0], name)
