"""compose.yaml as a desk starts it: its own folder, secrets made by make-secrets, .env as the example has it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import aiohttp

from tests.containers.override import override
from tests.containers.podman import Podman
from tests.image.build import ROOT
from tests.support.tools import PROGRAMS

COPIED = ("container", "alerts", "grafana")
UP_TIMEOUT_S = 300
DOWN_TIMEOUT_S = 120.0
READ_ONLY_ERROR = "Read-only file system"
# The service that has a webhook's place.
WEBHOOK = "http://127.0.0.1:8090"
PROMETHEUS = "http://127.0.0.1:9090"
Json = dict[str, Any]


class Desk:
    """The services of compose.yaml, driven by docker-compose over podman."""

    def __init__(self, podman: Podman, folder: Path) -> None:
        self._podman = podman
        self._folder = folder / "deploy" / "container"
        for name in COPIED:
            shutil.copytree(ROOT / "deploy" / name, folder / "deploy" / name, ignore=shutil.ignore_patterns("secrets"))
        shutil.copy(self._folder / ".env.example", self._folder / ".env")

    async def prepare(self) -> Collection[str]:
        """Make the secrets, and the override file; the services that will be started."""
        await self._podman.do(str(self._folder / "make-secrets"), timeout_s=DOWN_TIMEOUT_S)
        services = json.loads(await self.compose("config", "--format", "json"))["services"]
        changed = override(services)
        (self._folder / "override.json").write_text(json.dumps(changed), encoding="utf-8")
        return [name for name, change in changed["services"].items() if "image" in change]

    async def up(self, *services: str) -> None:
        """Start them, or all, and wait until each is healthy."""
        words = ("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(UP_TIMEOUT_S))
        await self.compose(*words, *services, timeout_s=UP_TIMEOUT_S + DOWN_TIMEOUT_S)

    async def compose(self, *arguments: str, timeout_s: float = DOWN_TIMEOUT_S) -> str:
        """What a command of docker-compose says. Raises Failed."""
        changed = self._folder / "override.json"
        files = [
            word for file in (self._folder / "compose.yaml", changed) if file.exists() for word in ("-f", str(file))
        ]
        return await self._podman.do(
            str(PROGRAMS / "docker-compose"), *files, *arguments, timeout_s=timeout_s, folder=self._folder
        )

    async def containers(self, service: str) -> list[Json]:
        """The containers of a service."""
        label = "com.docker.compose.service"
        return [one for one in await self._podman.containers() if one["Config"]["Labels"].get(label) == service]

    async def dead_letters(self, consumer: Json) -> list[Json]:
        """The dead letters, as the command in a consumer's container lists them."""
        said = await self._podman.run("exec", consumer["Id"], "signalq", "dead", "list", "--json")
        return [json.loads(line) for line in said.splitlines()]

    async def address(self, service: str) -> str:
        """The address of a service's one container, on its first network."""
        (container,) = await self.containers(service)
        networks = container["NetworkSettings"]["Networks"]
        return str(next(network["IPAddress"] for network in networks.values()))

    def secret(self, name: str) -> str:
        """What make-secrets wrote."""
        return (self._folder / "secrets" / name).read_text(encoding="utf-8").strip()

    def outside(self, url: str) -> str:
        """The URL of the broker, as a program outside the containers has it."""
        return url.replace("@rabbitmq:", "@127.0.0.1:")

    async def orders(self) -> list[Json]:
        """What the webhook has had, in order."""
        async with aiohttp.ClientSession() as client, client.get(f"{WEBHOOK}/orders") as answer:
            return list(await answer.json())

    async def behave(self, **behaviour: object) -> None:
        """Let the webhook answer so from now on."""
        async with aiohttp.ClientSession() as client, client.put(f"{WEBHOOK}/behaviour", json=behaviour) as answer:
            assert answer.status == 200, await answer.text()

    async def ask_prometheus(self, path: str) -> Json:
        """The data of an answer of its API."""
        async with aiohttp.ClientSession() as client, client.get(f"{PROMETHEUS}/api/v1/{path}") as answer:
            return dict((await answer.json())["data"])


def owner_of(container: Json) -> tuple[int, int]:
    """The user and the group that run its program, as the kernel has them."""
    status = os.stat(f"/proc/{container['State']['Pid']}")  # noqa: PTH116
    return status.st_uid, status.st_gid


def rights_of(container: Json) -> dict[str, str]:
    """What the kernel says of its program's capabilities."""
    lines = Path(f"/proc/{container['State']['Pid']}/status").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(":\t", 1) for line in lines if line.startswith(("Cap", "NoNewPrivs", "Seccomp:"))]
    return {name: value.strip() for name, value in pairs}
