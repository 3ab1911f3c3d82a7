"""What RabbitMQ's messaging topology operator would make of its resources, as definitions that a broker can import.

The operator sends each to the broker's HTTP API; `rabbitmqctl import_definitions` takes the same words, all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Manifest = dict[str, Any]
PASSWORD = "a-password-of-the-tests"


def definitions(manifests: Iterable[Manifest]) -> dict[str, list[dict[str, Any]]]:
    """The definitions; every user has PASSWORD, and guest all rights in each virtual host."""
    found: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("vhosts", "users", "permissions", "topic_permissions", "exchanges", "queues", "bindings")
    }
    users: set[str] = set()
    for manifest in manifests:
        spec = manifest["spec"]
        match manifest["kind"]:
            case "Vhost":
                found["vhosts"].append({"name": spec["name"]})
                found["permissions"].append(_right("guest", spec["name"], configure=".*", write=".*", read=".*"))
            case "Exchange":
                found["exchanges"].append(_durable(spec) | {"type": spec["type"]})
            case "Queue":
                queue = _durable(spec)
                queue["arguments"] = {"x-queue-type": spec["type"], **queue["arguments"]}
                found["queues"].append(queue)
            case "Binding":
                binding = {name: spec[name] for name in ("source", "destination", "vhost")}
                binding |= {"destination_type": spec["destinationType"], "routing_key": spec["routingKey"]}
                found["bindings"].append(binding | {"arguments": spec.get("arguments", {})})
            case "Permission":
                users.add(spec["user"])
                found["permissions"].append(_right(spec["user"], spec["vhost"], **spec["permissions"]))
            case "TopicPermission":
                found["topic_permissions"].append(_right(spec["user"], spec["vhost"], **spec["permissions"]))
    found["users"] = [{"name": user, "password": PASSWORD, "tags": []} for user in sorted(users)]
    return found


def _durable(spec: Manifest) -> dict[str, Any]:
    return {
        "name": spec["name"],
        "vhost": spec["vhost"],
        "durable": spec["durable"],
        "auto_delete": spec.get("autoDelete", False),
        "arguments": spec.get("arguments", {}),
    }


def _right(user: str, vhost: str, **patterns: str) -> dict[str, Any]:
    return {"user": user, "vhost": vhost, **patterns}
