"""A virtual host on a private broker as deploy/kubernetes/rabbitmq lays it down: its topology, users and rights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yarl import URL

from signalq.amqp.topology import OwnLane, Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.definitions import PASSWORD, Manifest, definitions

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes/rabbitmq"
VHOST = "signalq"
# The connectors of its settings, `spot` without order.
TOPOLOGY = Topology(Names(), (OwnLane("main"), OwnLane("spot", strict=False)))


def manifests(file: str = "topology.yaml") -> list[Manifest]:
    """The resources of one file of deploy/kubernetes/rabbitmq."""
    return list(yaml.safe_load_all((FOLDER / file).read_text("utf-8")))


def settings_text(token: str) -> str:
    """Its settings, with one token for all connectors in place of the files of a pod."""
    lines = (FOLDER / "signalq.toml").read_text("utf-8").splitlines()
    return "\n".join(f'token = "{token}"' if line.startswith("token_file") else line for line in lines)


@dataclass(frozen=True)
class Site:
    """The virtual host, laid down."""

    broker: PrivateRabbitMQ

    def url(self, user: str) -> str:
        """Where to connect as one of its users, `guest` included."""
        password = "guest" if user == "guest" else PASSWORD
        return str(URL(self.broker.url).with_user(user).with_password(password).with_path(f"/{VHOST}"))


@contextmanager
def laid_down(broker: PrivateRabbitMQ, resources: Sequence[Manifest]) -> Iterator[Site]:
    """A Site of these resources (1 s); its virtual host and users are gone after the block."""
    wanted = definitions(resources)
    _import(broker, wanted)
    try:
        yield Site(broker)
    finally:
        users = ",".join(f'<<"{user["name"]}">>' for user in wanted["users"])
        broker.evaluate(f'[rabbit_auth_backend_internal:delete_user(U, <<"tests">>) || U <- [{users}]].')
        broker.evaluate(f'rabbit_vhost:delete(<<"{VHOST}">>, <<"tests">>).')


def _import(broker: PrivateRabbitMQ, wanted: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(wanted, file)
        file.flush()
        broker.ctl("import_definitions", file.name)
