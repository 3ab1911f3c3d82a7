"""`PrivateRabbitMQ`: a RabbitMQ node that is only ours, for as long as we want it.

It shares nothing with another node on the machine (name, cookie, ports, epmd, folders), listens on 127.0.0.1
only, needs no root and no service manager, and leaves no process and no folder behind, also when this process is
killed: see guard.py.
"""

import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from signalq.local.errors import BrokerFailed, BrokerUnavailable
from signalq.local.guard import STOP_TIMEOUT_S, Guard, ServerPlan
from signalq.local.install import Installation, find_installation
from signalq.local.node import (
    MANAGEMENT,
    Member,
    NodeFiles,
    choose_ports,
    environment,
    epmd_command,
    keep_port,
    kept_port,
    prepare,
)
from signalq.local.ports import LOOPBACK, is_free
from signalq.local.server import PrivateServer

START_TIMEOUT_S = 90.0
"""From `start()` until AMQP answers. 3 to 8 s is normal; a busy CI machine may need several times that."""
CTL_TIMEOUT_S = 60.0
"""For one `rabbitmqctl`, most of which is the start of its own Erlang."""

_PROBE_TIMEOUT_S = 2.0
# AMQP 0-9-1's protocol header (specification 4.2.2): a server that is up answers it with Connection.Start.
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class PrivateRabbitMQ(PrivateServer):
    """A private node: `with PrivateRabbitMQ() as broker: connect(broker.url)`.

    `installation` is the server to run; the default is that of `find_installation()`, BrokerUnavailable without
    one. `folder` holds the messages: a folder given here is kept, and a later node on it has its messages again; the
    default is a temporary one that goes with the node. `configuration` are further lines for rabbitmq.conf, such as
    `vm_memory_high_watermark.absolute = 200MB`, `advanced` the text of an advanced.config. `plugins` are the names of
    the plugins that it runs with: with `rabbitmq_management` (about a second more) it has an HTTP API at
    `management_url`, without statistics. `member` is its place in a cluster: see cluster.py.

    One node has the same ports through all its starts, and a given folder the same AMQP port: see keep_port. Not
    thread-safe; `ctl` alone may run in any thread.
    """

    title = "the private RabbitMQ node"
    failure = BrokerFailed

    def __init__(
        self,
        installation: Installation | None = None,
        *,
        folder: Path | None = None,
        configuration: Sequence[str] = (),
        plugins: Sequence[str] = (),
        advanced: str = "",
        member: Member | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = STOP_TIMEOUT_S,
    ) -> None:
        super().__init__(start_timeout_s=start_timeout_s, stop_timeout_s=stop_timeout_s)
        found = installation or find_installation()
        if found is None:
            raise BrokerUnavailable("there is no RabbitMQ server here yet (`python -m signalq.local install` gets one)")
        self._installation = found
        self._given_folder = folder.absolute() if folder else None
        self._configuration = tuple(configuration)
        self._plugins = tuple(plugins)
        self._advanced = advanced
        self._member = member
        self._ports = choose_ports(
            member.epmd_port if member else None, kept_port(self._given_folder) if self._given_folder else None
        )
        self._hold(*asdict(self._ports).values())
        self._files: NodeFiles | None = None

    @property
    def url(self) -> str:
        """The AMQP address: user guest, password guest, virtual host `/`."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/"

    @property
    def port(self) -> int:
        """The AMQP port on 127.0.0.1."""
        return self._ports.amqp

    @property
    def management_url(self) -> str:
        """The address of the HTTP API, for user guest; BrokerFailed where the node runs without `rabbitmq_management`.

        It answers once the node has started.
        """
        if MANAGEMENT not in self._plugins:
            raise BrokerFailed(f"the private node has no HTTP API: it runs without the plugin {MANAGEMENT}")
        return f"http://{LOOPBACK}:{self._ports.management}"

    @property
    def name(self) -> str:
        """Its name among Erlang's nodes; BrokerFailed before the first start."""
        return self._prepared().name

    @property
    def folder(self) -> Path:
        """The folder of its messages, configuration and log; BrokerFailed before the first start."""
        return self._prepared().folder

    @property
    def log_path(self) -> Path:
        """The file of its output, over all its starts; BrokerFailed before the first start."""
        return self._prepared().log

    def kill(self) -> None:
        """End all its processes with SIGKILL, as a power cut would; its data stays for the next `start()`.

        RabbitMQ writes the names of its quorum queues down with a delay of up to seconds: a queue that is declared
        right before a kill comes back without a leader, and every command on it hangs (3.10.8, seen). Declare well
        before.
        """
        super().kill()

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node and return what it printed; takes about a second.

        For example `ctl("close_all_connections", "a test")`, `ctl("list_queues", "name", "messages")` or
        `ctl("set_vm_memory_high_watermark", "absolute", "1MB")`. Raises BrokerFailed with its words when it fails.
        """
        command = [str(self._installation.scripts / "rabbitmqctl"), "--silent", *arguments]
        result = self._ask(command)
        if result.returncode != 0:
            raise BrokerFailed(f"rabbitmqctl {' '.join(arguments)}: {(result.stderr or result.stdout).strip()}")
        return result.stdout

    def evaluate(self, expression: str) -> str:
        """Return what the node makes of an Erlang expression that ends with a full stop.

        It does what `ctl("eval", expression)` does, for a hundredth of the CPU: it starts no Erlang. Raises
        BrokerFailed with the node's words when the expression fails.
        """
        erl_call = self._installation.erlang / "erl_call"
        if not erl_call.exists():
            return self.ctl("eval", expression)
        # erl_call takes the cookie from HOME.
        result = self._ask([str(erl_call), "-sname", self.name, "-e"], f"{expression}\n")
        if result.returncode != 0 or not result.stdout.startswith("{ok, "):
            raise BrokerFailed(f"erl_call {expression}: {(result.stderr or result.stdout).strip()}")
        return result.stdout.removeprefix("{ok, ").removesuffix("}")

    def _ask(self, command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - a program of this node's own installation, without a shell
                command,
                env=environment(self._installation, self._prepared(), self._ports),
                input=given,
                capture_output=True,
                text=True,
                timeout=CTL_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerFailed(f"{Path(command[0]).name} took more than {CTL_TIMEOUT_S:.0f} s") from error

    def _hire_guard(self) -> Guard:
        if not is_free(self.port):
            raise BrokerFailed(f"port {self.port} is taken: end the program that listens there, or choose another port")
        folder = self._given_folder or Path(tempfile.mkdtemp(prefix="signalq-rabbitmq-"))
        # The messages in it have tokens.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keep_port(folder, self.port)
        self._files = files = prepare(
            folder,
            self._ports,
            self._configuration,
            plugins=self._plugins,
            member=self._member,
            advanced=self._advanced,
            installation=self._installation,
        )
        plan = ServerPlan(
            # A cluster's is its own, and outlives each node.
            epmd=[] if self._member else epmd_command(self._installation, self._ports.epmd),
            server=[str(self._installation.scripts / "rabbitmq-server"), "-noinput"],
            environment=environment(self._installation, files, self._ports),
            folder=str(folder),
            log=str(files.log),
            folder_is_temporary=self._given_folder is None,
            stop_timeout_s=self._stop_timeout_s,
        )
        return Guard(plan)

    def _is_ready(self) -> bool:
        """Plugins listen before AMQP does, which RabbitMQ opens last of all."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=_PROBE_TIMEOUT_S) as probe:
                probe.sendall(_PROTOCOL_HEADER)
                return bool(probe.recv(1))
        except OSError:
            return False

    def _first_telling(self, lines: Sequence[str]) -> int:
        """The first error, where there is one: only Erlang's reports follow it."""
        return next((at for at, line in enumerate(lines) if "[error]" in line), super()._first_telling(lines))

    def _forget_folder(self) -> None:
        self._files = None

    def _prepared(self) -> NodeFiles:
        if self._files is None:
            raise BrokerFailed(f"{self.title} was not started")
        return self._files
