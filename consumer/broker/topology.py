"""The topology that the settings ask for."""

from signalq.amqp.topology import OwnLane, Topology
from signalq.consumer.orders.lanes import is_strict
from signalq.names import Names
from signalq.settings.sections import Settings


def topology_of(settings: Settings) -> Topology:
    """All exchanges and queues, own lanes included."""
    lanes = (OwnLane(name, is_strict(settings, name)) for name in settings.own_lanes())
    return Topology(Names(settings.broker.prefix), tuple(lanes))
