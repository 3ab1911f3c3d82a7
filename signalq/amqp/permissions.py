"""What each user of the broker needs to be allowed, and nothing beyond it; the topology is declared by somebody else.

Proved on a real broker, right by right, in tests/integration/test_permissions.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from signalq.message.outcome import routing_key
from signalq.names import Names

NOTHING = "^$"
# The exchange without a name, as the broker calls it when it asks for a right: straight to a queue.
DEFAULT_EXCHANGE = "amq.default"
# A listener's queue ends with a UUID in hex (OutcomeFeed): a queue with any other name is not a passing listener's.
_LISTENER = "[0-9a-f]{32}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Regular expressions: over the names of exchanges and queues, and over the keys of the exchange of outcomes.

    The three of a user are of RabbitMQ's `set_permissions`, the two of keys of `set_topic_permissions`. Without the
    latter the broker lets a user bind and publish with every key, so they count only for users who have none of both.
    """

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    outcome_keys_written: str = NOTHING
    outcome_keys_read: str = NOTHING


def consumer_permissions(names: Names) -> Permissions:
    """The consumer with `broker.topology = "passive"`: every lane, what it parks, dead-letters and tells.

    Write on the dead letters' queue and on `unrouted` is for asking whether they are there, which RabbitMQ 4.3 answers
    only to those who have some right on it (3.10 and 4.0 answer everybody). Write allows nothing there that the default
    exchange does not.
    """
    return Permissions(
        write=_one_of(
            _exactly(DEFAULT_EXCHANGE),
            _exactly(names.outcomes),
            _any_level(names),
            _exactly(names.dead),
            _exactly(names.unrouted),
        ),
        read=_one_of(_exactly(names.orders), _any_lane(names), _exactly(names.due), _exactly(names.ledger)),
        outcome_keys_written=".*",
    )


def producer_permissions(names: Names) -> Permissions:
    """Whoever only publishes, as the gateway does."""
    return Permissions(write=_one_of(_exactly(names.orders)))


def strategy_permissions(names: Names, strategy: str) -> Permissions:
    """A strategy that publishes, and hears of its own outcomes and of nobody else's."""
    queue = f"{_exactly(names.outcome_queue(''))}{_LISTENER}"
    own = _exactly(routing_key("", strategy, "").split(".")[1])
    return Permissions(
        configure=_one_of(queue),
        write=_one_of(_exactly(names.orders), queue),
        read=_one_of(_exactly(names.outcomes), queue),
        # The connector and the status may be any, or `*`. A `#` would bind to the events of others, too.
        outcome_keys_read=rf"^[A-Za-z0-9_*-]+\.{own}\.[a-z*]+$",
    )


def operator_permissions(names: Names) -> Permissions:
    """A person who looks at all there is, replays and discards dead letters, cancels what is scheduled.

    Write on everything is for looking, as for the consumer; it takes no message away.
    """
    queue = f"{_exactly(names.outcome_queue(''))}{_LISTENER}"
    reader = _exactly(names.dead_reader)
    return Permissions(
        configure=_one_of(reader, queue),
        write=_one_of(rf"{_exactly(names.prefix)}\..+"),
        read=_one_of(_exactly(names.dead), _exactly(names.ledger), _exactly(names.outcomes), queue),
        outcome_keys_written=".*",
        outcome_keys_read=".*",
    )


def _one_of(*patterns: str) -> str:
    return f"^({'|'.join(patterns)})$" if len(patterns) > 1 else f"^{patterns[0]}$"


def _exactly(name: str) -> str:
    """A name as a regular expression that PCRE and RE2 read alike."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda found: f"\\{found[0]}" if found[0].isascii() else found[0], name)


def _any_lane(names: Names) -> str:
    return f"{_exactly(names.lane(''))}.+"


def _any_level(names: Names) -> str:
    return f"{_exactly(names.delay(0)).removesuffix('0')}[0-9]+"
