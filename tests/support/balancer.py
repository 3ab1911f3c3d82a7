"""A TCP balancer on loopback: one address for several servers, as a Service of Kubernetes is for its pods.

async with Balancer([node.port for node in cluster.nodes]) as service:
    ...                         # connect to service.port: in turn to each server that takes connections

A server that dies takes its connections with it, and gets no new ones before it listens again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.support.proxy import Proxy


class Balancer(Proxy):
    """A Proxy to several servers; `port`, `stall`, `heal` and `cut` are as there, for all connections."""

    def __init__(self, target_ports: Sequence[int]) -> None:
        super().__init__(target_ports[0])
        self._target_ports = list(target_ports)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the next server in turn that takes connections. Raises ConnectionError where none does."""
        for port in list(self._target_ports):
            self._target_ports.remove(port)
            self._target_ports.append(port)
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
        raise ConnectionRefusedError("no server takes connections")
