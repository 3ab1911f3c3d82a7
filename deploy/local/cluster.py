"""`PrivateCluster`: three RabbitMQ nodes that know each other, each in processes and folders of its own.

Each keeps the promises of one private node: 127.0.0.1 only, no root, nothing left behind, also when this process is
killed. They share one epmd, which outlives every node, and one cookie.
"""

import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from signalq.local.errors import BrokerFailed, BrokerUnavailable
from signalq.local.guard import Guard, ServerPlan
from signalq.local.install import Installation, find_installation
from signalq.local.node import Member, epmd_command
from signalq.local.ports import free_ports
from signalq.local.rabbitmq import PrivateRabbitMQ

SIZE = 3
"""The fewest nodes that keep a majority when one is down."""
WHOLE_TIMEOUT_S = 90.0
"""Until all nodes see each other and every queue has all its members, after the start of one. 2 to 5 s is normal."""

_LOOK_INTERVAL_S = 0.2


class PrivateCluster:
    """A private cluster: `with PrivateCluster() as cluster: connect(cluster.nodes[0].url)`.

    Each of `nodes` may be killed and started by itself; then `wait_until_whole`. `installation`, `configuration` and
    `advanced` are as with PrivateRabbitMQ. Not thread-safe, except `running`, `queues` and `leaders`, which only look.
    """

    def __init__(
        self,
        installation: Installation | None = None,
        *,
        size: int = SIZE,
        configuration: Sequence[str] = (),
        advanced: str = "",
    ) -> None:
        found = installation or find_installation()
        if found is None:
            raise BrokerUnavailable("there is no RabbitMQ server here yet (`python -m signalq.local install` gets one)")
        self._installation = found
        self._epmd_port = free_ports(1)[0]
        self._epmd: Guard | None = None
        name, cookie = f"signalq-{secrets.token_hex(4)}", secrets.token_hex(16)
        names = tuple(f"{name}-{at}@localhost" for at in range(1, size + 1))
        self.nodes = tuple(
            PrivateRabbitMQ(
                found,
                configuration=configuration,
                advanced=advanced,
                member=Member(each, names, cookie, self._epmd_port),
            )
            for each in names
        )

    def start(self) -> None:
        """Start all nodes and wait until they see each other. Raises BrokerFailed; then none is left."""
        try:
            self._epmd = self._epmd or self._start_epmd()
            _side_by_side(node.start for node in self.nodes)
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes in order, side by side; their folders go with them. Stopping twice is no error."""
        epmd, self._epmd = self._epmd, None
        try:
            _side_by_side(node.stop for node in self.nodes)
        finally:
            if epmd is not None:
                epmd.dismiss()

    @property
    def living(self) -> list[PrivateRabbitMQ]:
        """The nodes that run, by their processes."""
        return [node for node in self.nodes if node.is_running]

    def running(self) -> set[str]:
        """The names of the nodes that run, as the first living node sees them; takes a second or two."""
        return set(self._ask("cluster_status")["running_nodes"])

    def queues(self, *columns: str) -> list[dict[str, Any]]:
        """Every queue with these columns of `rabbitmqctl list_queues`, such as `name`, `leader`, `online`."""
        rows: list[dict[str, Any]] = self._ask("list_queues", *columns)
        return rows

    def leaders(self) -> dict[str, PrivateRabbitMQ]:
        """The leading node of each queue; a queue without a leader at the moment is left out."""
        nodes = {node.name: node for node in self.nodes}
        rows = self.queues("name", "leader")
        return {row["name"]: nodes[row["leader"]] for row in rows if row["leader"] in nodes}

    def wait_until_whole(self, timeout_s: float = WHOLE_TIMEOUT_S) -> None:
        """Return when all nodes run, see each other, and hold their part of every queue: another may go now.

        Raises BrokerFailed when that takes longer.
        """
        deadline = time.monotonic() + timeout_s
        while (missing := self._missing()) is not None:
            if time.monotonic() > deadline:
                raise BrokerFailed(f"the private cluster was not whole within {timeout_s:g} s: {missing}")
            time.sleep(_LOOK_INTERVAL_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _missing(self) -> str | None:
        """A clause that says what the cluster lacks; None where it is whole."""
        try:
            absent = {node.name for node in self.nodes} - self.running()
            if absent:
                return f"{', '.join(sorted(absent))} not running"
            rows = self.queues("name", "members", "online")
        except BrokerFailed as error:
            return str(error)
        short = [row["name"] for row in rows if len(row["online"] or ()) < len(row["members"] or ())]
        return f"members of {', '.join(sorted(short))} not online" if short else None

    def _ask(self, *command: str) -> Any:
        for node in self.living:
            return json.loads(node.ctl(*command, "--formatter", "json"))
        raise BrokerFailed("no node of the private cluster runs")

    def _start_epmd(self) -> Guard:
        folder = Path(tempfile.mkdtemp(prefix="signalq-epmd-"))
        guard = Guard(
            ServerPlan(
                epmd=[],
                server=epmd_command(self._installation, self._epmd_port),
                environment=self._installation.environment(),
                folder=str(folder),
                log=str(folder / "epmd.log"),
                folder_is_temporary=True,
            )
        )
        with contextlib.suppress(ConnectionError):
            guard.start()
            return guard
        raise BrokerFailed("the epmd of the private cluster did not start")


def _side_by_side(works: Iterable[Callable[[], None]]) -> None:
    """Run all of them at once, each to its end. Raises the error of the first that failed."""
    with ThreadPoolExecutor(thread_name_prefix="private node") as pool:
        tasks = [pool.submit(work) for work in works]
    for task in tasks:
        task.result()
