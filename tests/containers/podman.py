"""podman with everything of its own: storage, networks, volumes and a socket that speaks Docker's API.

It is to be used in namespaces of one's own (see `worlds.py`), and then nothing of it is left when they end.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.containers.health import keep_health
from tests.support.waiting import wait_until

DRIVER = "overlay"
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 120.0
LOG_LINES = 15
# crun fails where old and new control groups are mixed. Without the limits, a container would get this machine's own,
# which may be more than anybody here may set.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
log_driver = "k8s-file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{folder}/tmp"
static_dir = "{images}/root/libpod"
volume_path = "{folder}/volumes"
"""
STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{images}/root"
runroot = "{images}/runroot"
"""


class Failed(Exception):
    """A command did not do what it was to do; the sentence says which, and ends with its last words."""


class Podman:
    """The service, while the block lasts. `images` is the folder of a Workshop that has built them with DRIVER."""

    def __init__(self, folder: Path, images: Path) -> None:
        self._folder = folder
        self._socket = folder / "podman.sock"
        # podman's records are of one folder: those of an earlier part, or of a run that was killed, are of another.
        for records in ("libpod", f"{DRIVER}-containers"):
            shutil.rmtree(images / "root" / records, ignore_errors=True)
        (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder, images=images), encoding="utf-8")
        storage = STORAGE_CONF.format(driver=DRIVER, images=images)
        (folder / "storage.conf").write_text(storage, encoding="utf-8")
        self.environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{self._socket}",
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    async def __aenter__(self) -> Self:
        """Start it, and look after the health of its containers."""
        with (self._folder / "podman.log").open("ab") as log:
            command = ("podman", "system", "service", "--time", "0", f"unix://{self._socket}")
            self._service = subprocess.Popen(command, stdout=log, stderr=log, env=dict(self.environment))  # noqa: S603, ASYNC220
        self._client = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self._socket)))
        await wait_until(self._socket.exists, START_TIMEOUT_S, what="podman's socket")
        self._health = asyncio.create_task(keep_health(self), name="health checks")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Containers, pods, networks and volumes go, and then the service."""
        self._health.cancel()
        await asyncio.gather(self._health, return_exceptions=True)
        try:
            await self.run("pod", "rm", "--all", "--force", "--time", "0")
            await self.run("rm", "--all", "--force", "--time", "0")
            await self.run("volume", "rm", "--all", "--force")
        finally:
            await self._client.close()
            self._service.terminate()
            await asyncio.to_thread(self._service.wait)

    async def run(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What a command of podman says. Raises Failed."""
        return await self.do("podman", *arguments, timeout_s=timeout_s)

    async def do(self, *command: str, timeout_s: float, folder: Path | None = None) -> str:
        """What a program says that finds podman by its environment. Raises Failed."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(self.environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                said, complaint = await process.communicate()
        except TimeoutError:
            raise Failed(f"{' '.join(command)} took more than {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Failed(f"{' '.join(command)} ended with {process.returncode}: {complaint.decode()[-3000:]}")
        return said.decode()

    async def containers(self) -> list[dict[str, Any]]:
        """All of them, as `podman inspect` knows each."""
        listed = await self._get("containers/json?all=true") or []
        found = [await self._get(f"containers/{one['Id']}/json") for one in listed]
        return [one for one in found if one is not None]

    async def container(self, name: str) -> dict[str, Any]:
        """One of them, by its name or its number."""
        found = await self._get(f"containers/{name}/json")
        assert found is not None, f"there is no container {name}"
        return dict(found)

    async def check_health(self, container: str) -> None:
        """Run its health check, and note what that says."""
        await self._get(f"containers/{container}/healthcheck")

    async def last_words(self) -> list[str]:
        """The end of each container's log, with its name and its state."""
        lines = []
        for container in await self.containers():
            state = container["State"]
            health = (state.get("Health") or {}).get("Status", "")
            lines.append(f"{container['Name']}: {state['Status']}, exit code {state['ExitCode']}, {health}")
            lines += [f"    {line}" for line in (await self.logs(container["Id"])).splitlines()[-LOG_LINES:]]
        return lines

    async def logs(self, container: str) -> str:
        """All that the programs of a container have written, to either stream."""
        return await self.do("sh", "-c", 'exec podman logs "$1" 2>&1', "sh", container, timeout_s=COMMAND_TIMEOUT_S)

    async def _get(self, path: str) -> Any:
        """What the service answers; None where it has no such thing."""
        async with self._client.get(f"http://podman/v4.0.0/libpod/{path}") as answer:
            return await answer.json() if answer.ok else None
