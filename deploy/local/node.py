"""The folder, the configuration and the environment of one private node. Nothing here starts a process.

Every name and port is the node's own, and every listener is on 127.0.0.1, so it runs beside any other broker.
https://www.rabbitmq.com/docs/configure#supported-environment-variables lists the variables.
"""

import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from signalq.local.install import Installation
from signalq.local.ports import LOOPBACK, free_ports

# A test's node should cost little memory, and no CPU while idle: two schedulers that never spin, and not bound to
# the first two cores, where all nodes of the machine would meet. Most of a start is the loading of all modules.
_ERLANG_ARGUMENTS = (
    "+S 2:2 +SDcpu 1:1 +A 2 +stbt u +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"
)

_CONFIGURATION = """\
listeners.tcp.default = 127.0.0.1:{port}
log.console = true
log.console.level = info
# The default of 512 MB is for a server; before it rolls over, the log is held in memory as well.
raft.wal_max_size_bytes = 67108864
# A test's folder may lie on a small disk; RabbitMQ warns about less than this.
disk_free_limit.absolute = 50MB
"""

_PORT_FILE = "amqp-port"

MANAGEMENT, PROMETHEUS = "rabbitmq_management", "rabbitmq_prometheus"

# Plugins with a listener of their own, which would be on every address. Statistics would cost a test's node CPU and
# memory all the time, and the HTTP API publishes without them.
_PLUGINS_CONFIGURATION = {
    MANAGEMENT: """\
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
management_agent.disable_metrics_collector = true
""",
    PROMETHEUS: """\
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {prometheus}
""",
}

# The settings of a node of a cluster. A minority stops serving, as with RabbitMQ's operator for Kubernetes: else two
# halves that lost sight of each other would both go on.
_CLUSTER_CONFIGURATION = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_partition_handling = pause_minority
"""

# RabbitMQ tries again after this time, in ms, what the delay ladder could not hand over to a queue that had no
# leader yet, as when a node comes up. By itself it would wait for 3 minutes, and the order would be too late.
ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n"

# Erlang looks up no name but this one, and needs neither DNS nor a line in /etc/hosts for it.
_RESOLVER = '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n'


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one node, all on loopback; the last two are for plugins."""

    amqp: int
    distribution: int
    epmd: int
    management: int
    prometheus: int


@dataclass(frozen=True, slots=True)
class Member:
    """One node's place in a cluster: its own name, and the names, the cookie and the epmd that all nodes share."""

    name: str
    names: tuple[str, ...]
    cookie: str
    epmd_port: int

    def configuration(self) -> list[str]:
        """Lines for rabbitmq.conf, by which the nodes find each other at their first start."""
        nodes = (f"cluster_formation.classic_config.nodes.{at} = {name}" for at, name in enumerate(self.names, 1))
        return [*_CLUSTER_CONFIGURATION.splitlines(), *nodes]


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """The folder of one node, and the files in it."""

    folder: Path
    name: str

    @property
    def log(self) -> Path:
        """The file of the server's output, from its first word on."""
        return self.folder / "rabbitmq.log"

    @property
    def applications(self) -> Path:
        """RabbitMQ's own applications without its plugins; there only for a node without plugins."""
        return self.folder / "applications"

    @property
    def configuration(self) -> Path:
        """Its rabbitmq.conf."""
        return self.folder / "rabbitmq.conf"

    @property
    def advanced(self) -> Path:
        """Its advanced.config, for settings without a key in rabbitmq.conf."""
        return self.folder / "advanced.config"


def choose_ports(epmd: int | None = None, amqp: int | None = None) -> Ports:
    """A free port for each purpose but those given; `epmd` is that of a cluster's epmd, which runs already."""
    ports = Ports(*free_ports(len(fields(Ports))))
    given = {name: port for name, port in (("epmd", epmd), ("amqp", amqp)) if port is not None}
    return replace(ports, **given)


def kept_port(folder: Path) -> int | None:
    """The AMQP port of the nodes on this folder; None before the first one, unless `keep_port` has chosen it."""
    file = folder / _PORT_FILE
    return int(file.read_text("ascii")) if file.exists() else None


def keep_port(folder: Path, port: int) -> None:
    """Let every later node on this folder, which exists, have this AMQP port."""
    (folder / _PORT_FILE).write_text(str(port), "ascii")


def epmd_command(installation: Installation, port: int) -> list[str]:
    """Erlang's port mapper, in the foreground: one that Erlang starts by itself would be a daemon."""
    return [str(installation.erlang / "epmd"), "-address", LOOPBACK, "-port", str(port)]


def prepare(
    folder: Path,
    ports: Ports,
    configuration: Sequence[str],
    *,
    plugins: Sequence[str] = (),
    member: Member | None = None,
    advanced: str = "",
    installation: Installation | None = None,
) -> NodeFiles:
    """Write the files that the node reads; a folder that held a node before keeps its messages, name and cookie.

    `configuration` are further lines for rabbitmq.conf, which win over ours; `plugins` are the plugins that it runs
    with; `member` is its place in a cluster; `advanced` is the text of its advanced.config, ADVANCED without one;
    `installation` is the server that is to run.
    """
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    # Messages are stored under the node's name, so the name stays with the folder.
    name = _kept(folder / "node-name", member.name if member else f"signalq-{secrets.token_hex(4)}@localhost")
    cookie = home / ".erlang.cookie"
    _kept(cookie, member.cookie if member else secrets.token_hex(16))
    cookie.chmod(0o400)
    files = NodeFiles(folder, name)
    (home / "resolver").write_text(_RESOLVER, "utf-8")
    (folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n", "utf-8")
    texts = [_CONFIGURATION.format(port=ports.amqp)]
    texts += [text.format(**asdict(ports)) for name, text in _PLUGINS_CONFIGURATION.items() if name in plugins]
    further = [*(member.configuration() if member else ()), *configuration]
    files.configuration.write_text("".join([*texts, *(f"{line}\n" for line in further)]), "utf-8")
    files.advanced.write_text(advanced or ADVANCED, "utf-8")
    files.log.touch()
    shutil.rmtree(files.applications, ignore_errors=True)
    if installation and not plugins:
        _link_applications(files.applications, installation)
    return files


def environment(installation: Installation, files: NodeFiles, ports: Ports) -> dict[str, str]:
    """The whole environment of the node and of `rabbitmqctl` towards it."""
    folder = files.folder
    home = folder / "home"
    variables = installation.environment()
    if files.applications.exists():
        variables["RABBITMQ_PLUGINS_DIR"] = str(files.applications)
    return variables | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "ERL_EPMD_PORT": str(ports.epmd),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_INETRC": str(home / "resolver"),
        # For every Erlang there is: rabbitmqctl, and the one RabbitMQ starts only to have an epmd, listen too.
        "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": files.name,
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(files.configuration),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(files.advanced),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        # The script then becomes the server itself instead of waiting for it: one process, one pid, SIGTERM to it.
        "RABBITMQ_ALLOW_INPUT": "1",
    }


def _link_applications(applications: Path, installation: Installation) -> None:
    """Make a folder of RabbitMQ's own applications, without its plugins.

    Erlang looks for each of a thousand modules in every application's folder in turn: with the plugins', a start tries
    to open 53,000 files that are not there, for a quarter of its CPU. Nothing is made where RabbitMQ's folders are not
    as usual.
    """
    home = installation.scripts.parent
    server = next(home.glob("lib/rabbitmq_server-*/plugins"), home / "plugins")
    if any(server.glob("rabbit-*")) and any(server.glob("rabbitmq_prelaunch-*")):
        applications.mkdir()
        for path in server.iterdir():
            if not path.name.startswith("rabbitmq_") or path.name.startswith("rabbitmq_prelaunch-"):
                (applications / path.name).symlink_to(path)


def _kept(path: Path, value: str) -> str:
    if not path.exists():
        path.write_text(value, "utf-8")
    return path.read_text("utf-8")
