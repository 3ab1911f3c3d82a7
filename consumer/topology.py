"""What has to be on the broker, by the settings."""

from __future__ import annotations

from consumer.lanes import is_strict
from consumer.settings import Settings
from signalq.amqp.topology import OwnLane, Topology
from signalq.names import Names


def topology_of(settings: Settings) -> Topology:
    """All of it, own lanes too."""
    lanes = (OwnLane(name, is_strict(settings, name)) for name in settings.own_lanes())
    return Topology(Names(settings.broker.prefix), tuple(lanes))
