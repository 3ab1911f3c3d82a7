"""One example of the chart, rendered by Helm, and its pods, started and stopped as a cluster would."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import yaml

from tests.containers.podman import Podman
from tests.containers.pods import PROBES, Manifest, pod, probe
from tests.support.chart import template, the
from tests.support.manifests import documents
from tests.support.waiting import wait_until

HELM = "4"
READY_S = 120.0
TOLD_S = 120.0
# compose.yaml's, whose broker, database and webhook the pods use.
NETWORKS = ("signalq_desk", "signalq_memory")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a release finds in its cluster: the Secrets, and the addresses of the hosts that it speaks to."""

    secrets: Sequence[Manifest]
    hosts: Mapping[str, str]


class Release:
    """The manifests of one example of the chart, and its pods."""

    def __init__(
        self, podman: Podman, folder: Path, example: str, values: dict[str, object], around: Surroundings
    ) -> None:
        self._around = around
        self._podman = podman
        self._folder = folder
        own = folder / f"{example}-own.yaml"
        own.write_text(yaml.safe_dump(values), encoding="utf-8")
        ran = template(HELM, example, "-f", str(own))
        assert ran.returncode == 0, ran.stderr
        self._manifests = documents(ran.stdout)

    def the(self, kind: str, ending: str = "") -> Manifest:
        """The manifest of this kind whose name ends so."""
        return the(self._manifests, kind, ending)

    async def start(self, manifest: Manifest, name: str, *beside: Manifest) -> None:
        """Play a pod of it, with the settings, and with what else it needs that is not there yet."""
        file = self._folder / f"{name}.yaml"
        parts = [self.the("ConfigMap"), *self._around.secrets, *beside, pod(manifest, name, self._around.hosts)]
        file.write_text("---\n".join(yaml.safe_dump(part) for part in parts), encoding="utf-8")
        networks = [word for network in NETWORKS for word in ("--network", network)]
        await self._podman.run("kube", "play", *networks, str(file))

    async def ready(self, manifest: Manifest, name: str) -> None:
        """Ask its probes as the kubelet would, until it has started, lives and is ready."""
        container = await self.container(manifest, name)
        address = await self.address(name)
        for kind in PROBES:
            port, path = probe(manifest, kind)
            url = f"http://{address}:{port}{path}"
            await wait_until(lambda url=url: _answers(url), READY_S, what=f"{kind} of {name}")
        assert (await self._podman.container(container["Id"]))["State"]["Running"]

    async def stop(self, manifest: Manifest, name: str) -> float:
        """End it as a node would, with its grace period: the seconds that it took to end, with status 0."""
        spec = manifest["spec"]["template"]["spec"]
        grace_s = spec["terminationGracePeriodSeconds"]
        container = await self.container(manifest, name)
        began_s = time.monotonic()
        await self._podman.run("stop", "--time", str(grace_s), container["Id"])
        took_s = time.monotonic() - began_s
        state = (await self._podman.container(container["Id"]))["State"]
        assert (state["ExitCode"], took_s < grace_s) == (0, True), (name, took_s, state)
        await self._podman.run("pod", "rm", "--force", "--time", "0", name)
        return took_s

    async def finished(self, manifest: Manifest, name: str, *beside: Manifest) -> str:
        """Play a pod that ends by itself, to its end; what it says. Raises AssertionError unless that is status 0."""
        await self.start(manifest, name, *beside)
        container = await self.container(manifest, name)

        async def has_ended() -> bool:
            return not (await self._podman.container(container["Id"]))["State"]["Running"]

        await wait_until(has_ended, TOLD_S, what=f"the end of {name}")
        said = await self._podman.logs(container["Id"])
        state = (await self._podman.container(container["Id"]))["State"]
        assert state["ExitCode"] == 0, (name, state, said)
        await self._podman.run("pod", "rm", "--force", "--time", "0", name)
        return said

    async def container(self, manifest: Manifest, name: str) -> Manifest:
        """The container of the pod's program, as podman knows it."""
        (container,) = pod(manifest, name)["spec"]["containers"]
        return await self._podman.container(f"{name}-{container['name']}")

    async def address(self, name: str) -> str:
        """The pod's address on the first of its networks."""
        infra = json.loads(await self._podman.run("pod", "inspect", name))["InfraContainerID"]
        networks = (await self._podman.container(infra))["NetworkSettings"]["Networks"]
        return str(networks[NETWORKS[0]]["IPAddress"])


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
