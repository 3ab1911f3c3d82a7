"""A private RabbitMQ node on this machine, for the demo, the tests and the benchmarks.

Only the standard library, and nothing of the project: it also runs before anything is installed.

    say = print
    with PrivateRabbitMQ(ensure_installed(say)) as broker:
        connect(broker.url)
"""

from deploy.local.errors import BrokerFailed, BrokerUnavailable, PrivateBrokerError
from deploy.local.install import Installation, ensure_installed, find_installation
from deploy.local.rabbitmq import PrivateRabbitMQ

__all__ = [
    "BrokerFailed",
    "BrokerUnavailable",
    "Installation",
    "PrivateBrokerError",
    "PrivateRabbitMQ",
    "ensure_installed",
    "find_installation",
]
