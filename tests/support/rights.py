"""What somebody tries on a broker, as whom; and users who lack just one of another's rights."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import plain_channel
from tests.support.definitions import Manifest

Act = Callable[[AbstractChannel], Awaitable[Any]]


async def attempt(url: str, act: Act) -> None:
    """Do it on a connection of its own; raises what the broker answers."""
    async with plain_channel(url) as channel:
        await act(channel)


def a_queue() -> str:
    """As a listener names its own."""
    return Names().outcome_queue(uuid.uuid4().hex)


def bind(key: str, source: str = Names().outcomes) -> Act:
    """Listen to an exchange with a queue as a listener's."""

    async def act(channel: AbstractChannel) -> None:
        queue = a_queue()
        await channel.queue_declare(queue, exclusive=True, auto_delete=True)
        await channel.queue_bind(queue, source, key)

    return act


def declare(queue: str, **arguments: Any) -> Act:
    """Make an exclusive queue."""
    return lambda channel: channel.queue_declare(queue, exclusive=True, auto_delete=True, arguments=arguments)


def ask(queue: str) -> Act:
    """Ask whether it is there."""
    return lambda channel: channel.queue_declare(queue, passive=True)


def consume(queue: str) -> Act:
    """Become a consumer."""

    async def ignore(_message: Any) -> None: ...

    return lambda channel: channel.basic_consume(queue, ignore)


def publish(exchange: str, key: str, user_id: str | None = None) -> Act:
    """Publish, as the connection's user or as another."""
    properties = Basic.Properties(delivery_mode=2, user_id=user_id)
    return lambda channel: channel.basic_publish(b"{}", exchange=exchange, routing_key=key, properties=properties)


@dataclass(frozen=True)
class Lacking:
    """One who may all that `user` may, but for one alternative of one pattern."""

    name: str
    user: str
    kind: str
    right: str
    alternative: str

    def __str__(self) -> str:
        return f"{self.user}, {self.kind}, {self.right} {self.alternative}"

    def rights(self, resources: list[Manifest]) -> Iterator[Manifest]:
        """What `user` has in `resources`, for this one, with the alternative left out."""
        for theirs in resources:
            if theirs["spec"].get("user") == self.user:
                lacking = copy.deepcopy(theirs)
                lacking["spec"]["user"] = self.name
                if theirs["kind"] == self.kind:
                    permissions = lacking["spec"]["permissions"]
                    permissions[self.right] = without(permissions[self.right], self.alternative)
                yield lacking


def alternatives(pattern: str) -> list[str]:
    """`a` and `b` of `^(a|b)$`; none of the pattern that matches nothing."""
    inside = pattern.removeprefix("^").removesuffix("$")
    return inside.removeprefix("(").removesuffix(")").split("|") if inside else []


def without(pattern: str, alternative: str) -> str:
    """The pattern with this alternative left out."""
    kept = [one for one in alternatives(pattern) if one != alternative]
    return f"^({'|'.join(kept)})$" if kept else "^$"


def everybody_lacking(resources: list[Manifest]) -> Iterator[Lacking]:
    """For each right that a user of the resources has, one who lacks it."""
    for resource in resources:
        if resource["kind"] in ("Permission", "TopicPermission"):
            user, patterns = resource["spec"]["user"], resource["spec"]["permissions"]
            for right in sorted(patterns.keys() - {"exchange"}):
                for number, alternative in enumerate(alternatives(patterns[right])):
                    name = f"{user}-lacks-{resource['kind']}-{right}-{number}"
                    yield Lacking(name, user, resource["kind"], right, alternative)
