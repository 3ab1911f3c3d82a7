"""Private servers on this machine, for demo, tests and benchmarks: a RabbitMQ node, a cluster of them, a PostgreSQL.

It uses the standard library alone, and nothing of the project: it also runs before anything is installed.

    say = print
    with PrivateRabbitMQ(ensure_installed(say)) as broker, PrivatePostgres(ensure_postgres_installed(say)) as postgres:
        connect(broker.url, postgres.url)
"""

from signalq.local.cluster import PrivateCluster
from signalq.local.errors import (
    BrokerFailed,
    BrokerUnavailable,
    FetchFailed,
    PostgresFailed,
    PostgresUnavailable,
    PrivateBrokerError,
)
from signalq.local.install import Installation, ensure_installed, find_installation
from signalq.local.postgres import PrivatePostgres
from signalq.local.postgres_install import PostgresInstallation, ensure_postgres_installed, find_postgres
from signalq.local.rabbitmq import PrivateRabbitMQ
from signalq.local.versions import RELEASES, ensure_version, find_version

__all__ = [
    "RELEASES",
    "BrokerFailed",
    "BrokerUnavailable",
    "FetchFailed",
    "Installation",
    "PostgresFailed",
    "PostgresInstallation",
    "PostgresUnavailable",
    "PrivateBrokerError",
    "PrivateCluster",
    "PrivatePostgres",
    "PrivateRabbitMQ",
    "ensure_installed",
    "ensure_postgres_installed",
    "ensure_version",
    "find_installation",
    "find_postgres",
    "find_version",
]
