"""A world: the folder of its settings, its ledger and its messages, and the ports that it has.

The settings file is made at the first start and belongs to the user from then on: ports, connectors and limits stand in
it. Its orders go to its own sandbox alone.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.local.node import keep_port
from signalq.local.ports import LOOPBACK, is_free
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.environment import SANDBOX_PATH
from signalq.settings.ledger_url import SQLITE_SCHEME
from signalq.settings.private_files import FILE_MODE, make_private_folder, state_folder
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings

DEFAULT_PORT = 17_672
# Above the port of RabbitMQ. By default 17680, 17681, 17682 and 17690, by which 8080, 8081, 8082 and 8090 are known
# again; none of them is the default of a service.
OPS_ABOVE, GATEWAY_ABOVE, CONSOLE_ABOVE, SANDBOX_ABOVE = 8, 9, 10, 18
PORT_MAX = 65_535 - SANDBOX_ABOVE

_TEMPLATE = """\
# A world of `signalq dev`, made at its first start and yours to change. Connectors, strategies and their limits hold
# at once, the rest at the next start. Delete the folder to begin anew.

[broker]
url = {broker}

[webhook]
url = {webhook}

[ledger]
url = {ledger}

[ops]
port = {ops}
# The console has a process of its own.
console = false

[console]
port = {console}

[gateway]
port = {gateway}
# Also for connectors that have no table here; any token does.
connectors = "any"

[connectors.demo]
token = "any-token-does"
"""


@dataclass(frozen=True, slots=True)
class World:
    """A world whose settings have been read, while it is ours alone."""

    folder: Path
    settings: Settings

    @property
    def file(self) -> Path:
        """Its settings file."""
        return self.folder / "signalq.toml"

    @property
    def rabbitmq(self) -> Path:
        """The folder of its messages."""
        return self.folder / "rabbitmq"

    @property
    def broker_port(self) -> int:
        """The AMQP port of its RabbitMQ."""
        return URL(self.settings.broker.url.get_secret_value()).port or 0

    @property
    def sandbox_port(self) -> int:
        """The port of its sandbox."""
        return URL(self.settings.webhook.url).port or 0

    @property
    def console_port(self) -> int:
        """The port of its console. A world of the time before there was one has it where a new world has it."""
        console = self.settings.console
        return console.port if "port" in console.model_fields_set else self.broker_port + CONSOLE_ABOVE

    @property
    def console_address(self) -> str:
        """The address of its console."""
        return f"http://{self.settings.console.host}:{self.console_port}/"

    @property
    def ports(self) -> dict[str, int]:
        """Every port of it, by the program that listens there."""
        settings = self.settings
        return {
            "RabbitMQ": self.broker_port,
            "the consumer's health and metrics": settings.ops.port,
            "the gateway": settings.gateway.port,
            "the console": self.console_port,
            "the sandbox": self.sandbox_port,
        }


def default_folder() -> Path:
    """The folder `dev` in the state folder."""
    return state_folder() / "dev"


@contextmanager
def opened(folder: Path, port: int | None) -> Iterator[World]:
    """The world in this folder, made there if it is missing, for this process alone until the end of the block.

    `port` is that of RabbitMQ in a world that is made. Raises CommandFailed, SettingsError, OSError.
    """
    folder = folder.absolute()
    make_private_folder(folder)
    with _alone(folder):
        _make_settings(folder, port or DEFAULT_PORT)
        world = World(folder, _settings(folder / "signalq.toml"))
        _check_ends(world)
        if port not in (None, world.broker_port):
            raise CommandFailed(
                f"the world in {folder} has the port {world.broker_port}: leave --port out, or give another --folder"
            )
        _check_ports(world)
        make_private_folder(world.rabbitmq)
        keep_port(world.rabbitmq, world.broker_port)
        yield world


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CommandFailed(
                f"another `signalq dev` runs in {folder} (process {lock.read().strip()}): end it, or run a second "
                "world with another --folder and --port"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _make_settings(folder: Path, port: int) -> None:
    file = folder / "signalq.toml"
    if file.exists():
        return
    if "?" in str(folder):
        raise CommandFailed(f"{folder} can't be the folder of a world: a ? would end the ledger's path in its URL")
    # A JSON text is a TOML text, too.
    text = _TEMPLATE.format(
        broker=json.dumps(_broker_url(port)),
        webhook=json.dumps(_webhook_url(port + SANDBOX_ABOVE)),
        ledger=json.dumps(f"{SQLITE_SCHEME}:///{folder / 'ledger.db'}", ensure_ascii=False),
        ops=port + OPS_ABOVE,
        gateway=port + GATEWAY_ABOVE,
        console=port + CONSOLE_ABOVE,
    )
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE), "w", encoding="utf-8") as made:
        made.write(text)


def _settings(file: Path) -> Settings:
    try:
        return load_settings(file)
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}", kind=error.kind) from None


def _check_ends(world: World) -> None:
    """Raise CommandFailed unless orders come from the world's own RabbitMQ, and go to its own sandbox."""
    settings = world.settings
    if settings.broker.url.get_secret_value() != _broker_url(world.broker_port):
        raise CommandFailed(f"{world.file}: broker.url must be {_broker_url(DEFAULT_PORT)}, or have another port")
    if settings.webhook.url != _webhook_url(world.sandbox_port):
        said = _webhook_url(DEFAULT_PORT + SANDBOX_ABOVE)
        raise CommandFailed(f"{world.file}: webhook.url must be {said}, or have another port")
    for name, connector in settings.connectors.items():
        if connector.url not in (None, settings.webhook.url):
            raise CommandFailed(
                f"{world.file}: take connectors.{name}.url out, for a world sends orders to its own sandbox alone"
            )


def _check_ports(world: World) -> None:
    for program, port in world.ports.items():
        if not port or not is_free(port):
            raise CommandFailed(
                f"port {port}, for {program}, is taken: end the program that listens there, or run another world "
                "with --folder and --port",
                kind=Kind.CANNOT_LISTEN,
            )


def _broker_url(port: int) -> str:
    return f"amqp://guest:guest@{LOOPBACK}:{port}/"


def _webhook_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}{SANDBOX_PATH}"
