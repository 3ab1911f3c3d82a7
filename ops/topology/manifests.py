"""The broker's objects as resources of RabbitMQ's messaging topology operator, for `broker.topology = "passive"`.

Everything comes from the settings: the topology with the own lanes of its connectors, and a user with its rights for
each strategy that has one. The operator's schemas are at rabbitmq.com/kubernetes/operator/using-topology-operator.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from signalq.amqp.permissions import (
    Permissions,
    consumer_permissions,
    listener_permissions,
    operator_permissions,
    producer_permissions,
    strategy_permissions,
)
from signalq.amqp.topology import Binding, Exchange, Queue
from signalq.consumer.broker.topology import topology_of
from signalq.errors import SettingsError
from signalq.names import Names
from signalq.producers.gateway.outlet import STRATEGY as GATEWAY
from signalq.settings.sections import Settings

API_VERSION = "rabbitmq.com/v1beta1"
# Names of objects in Kubernetes (RFC 1123) have at most 253 characters; ours end with a digest where they are cut.
NAME_CHARACTERS_MAX = 200
DIGEST_CHARACTERS = 8

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
# YAML 1.1 reads these as truth values, nothing or numbers.
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})

Manifest = dict[str, Any]


class Manifests:
    """All resources for the virtual host `vhost` of the RabbitmqCluster `cluster`, in their namespace."""

    def __init__(self, settings: Settings, *, cluster: str, vhost: str) -> None:
        self._settings = settings
        self._names = Names(settings.broker.prefix)
        self._cluster = cluster
        self._vhost = vhost

    def all(self) -> Iterator[Manifest]:
        """All resources, each after those that it needs. Raises SettingsError if a strategy's user is one of ours."""
        topology = topology_of(self._settings)
        yield self._virtual_host()
        yield from map(self._exchange, topology.exchanges())
        yield from map(self._queue, topology.queues())
        yield from map(self._binding, topology.bindings())
        for user, permissions in self.permissions().items():
            yield from self._user(user, permissions)

    def permissions(self) -> dict[str, Permissions]:
        """The rights by the user's name: the consumer, its operator, `notify` if set up, each strategy with a user."""
        prefix = self._names.prefix
        users = {
            f"{prefix}-consumer": consumer_permissions(self._names),
            f"{prefix}-operator": operator_permissions(self._names),
        }
        if self._settings.notify.urls is not None:
            users[f"{prefix}-notify"] = listener_permissions(self._names)
        for name, strategy in self._settings.strategies.items():
            if strategy.user is None:
                continue
            if strategy.user in users:
                raise SettingsError(f"strategies.{name}.user: {strategy.user} is another's user: choose one of its own")
            # The gateway reads no outcomes: it has answered long before.
            publishes_only = name == GATEWAY
            users[strategy.user] = (
                producer_permissions(self._names) if publishes_only else strategy_permissions(self._names, name)
            )
        return users

    def _virtual_host(self) -> Manifest:
        # When its resource is deleted, the virtual host stays, with its messages.
        return self._resource("Vhost", self._vhost, {"name": self._vhost, "deletionPolicy": "retain"})

    def _exchange(self, exchange: Exchange) -> Manifest:
        spec: Manifest = {"name": exchange.name, "vhost": self._vhost, "type": exchange.kind, "durable": True}
        return self._resource("Exchange", exchange.name, spec | _arguments(exchange.arguments))

    def _queue(self, queue: Queue) -> Manifest:
        others = {name: value for name, value in queue.arguments.items() if name != "x-queue-type"}
        spec: Manifest = {
            "name": queue.name,
            "vhost": self._vhost,
            "type": queue.arguments["x-queue-type"],
            "durable": True,
            "deletionPolicy": "retain",
        }
        return self._resource("Queue", queue.name, spec | _arguments(others))

    def _binding(self, binding: Binding) -> Manifest:
        spec = {
            "source": binding.source,
            "destination": binding.destination,
            "destinationType": "queue",
            "routingKey": binding.routing_key,
            "vhost": self._vhost,
        }
        # A queue has one binding, so its name is the binding's, too.
        return self._resource("Binding", binding.destination, spec)

    def _user(self, user: str, permissions: Permissions) -> Iterator[Manifest]:
        """The user, whose name and password are in the Secret `rabbitmq-<user>`, and its rights."""
        yield self._resource("User", user, {"importCredentialsSecret": {"name": resource_name(f"rabbitmq-{user}")}})
        rights = {"configure": permissions.configure, "write": permissions.write, "read": permissions.read}
        spec: Manifest = {"vhost": self._vhost, "user": user}
        yield self._resource("Permission", user, spec | {"permissions": rights})
        keys = {"write": permissions.outcome_keys_written, "read": permissions.outcome_keys_read}
        yield self._resource("TopicPermission", user, spec | {"permissions": {"exchange": self._names.outcomes} | keys})

    def _resource(self, kind: str, name: str, spec: Manifest) -> Manifest:
        return {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": resource_name(name)},
            "spec": spec | {"rabbitmqClusterReference": {"name": self._cluster}},
        }


def resource_name(name: str) -> str:
    """The name in Kubernetes' form; if that changes it, a digest keeps two names from becoming one."""
    plain = re.sub(r"[^a-z0-9.-]+", "-", name.lower())
    # Each part between dots begins and ends with a letter or a digit.
    plain = ".".join(filter(None, (part.strip("-") for part in plain.split("."))))
    if plain == name and len(name) <= NAME_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_CHARACTERS]
    start = plain[:NAME_CHARACTERS_MAX].rstrip(".-")
    return f"{start}-{digest}" if start else f"x-{digest}"


def _arguments(arguments: dict[str, Any]) -> Manifest:
    return {"arguments": dict(arguments)} if arguments else {}


def yaml_stream(manifests: Iterable[Manifest]) -> str:
    """The manifests as YAML, one after the other, each begun by `---`.

    They hold nothing but mappings, texts, numbers and truth values: so little needs no library at run time. A text is
    plain only if no reader could take it for anything else; all others are in JSON's quotes, in ASCII.
    """
    return "".join("---\n" + "".join(f"{line}\n" for line in _lines(manifest)) for manifest in manifests)


def _lines(mapping: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)  # an empty mapping, a number or a truth value: JSON's are YAML's, too
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    # JSON has no escape for characters beyond the first 65,536; YAML has.
    return re.sub(r"[^ -~]", lambda found: f"\\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False))
