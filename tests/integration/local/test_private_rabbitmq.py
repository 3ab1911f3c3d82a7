"""The private node of signalq.local keeps its promises, with a real RabbitMQ."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import aio_pika
import pytest

from signalq.local import BrokerFailed, BrokerUnavailable, Installation, PrivateRabbitMQ
from signalq.local.__main__ import main
from signalq.local.guard import Guard, ServerPlan
from signalq.local.node import keep_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to see what is left behind")

DEADLINE_S = 20.0
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run_command(installation: Installation, rabbitmq_version: str | None) -> list[str]:
    """Runs a node as a program would."""
    version = ["--version", rabbitmq_version] if rabbitmq_version else []
    return [sys.executable, "-m", "deploy.local", "run", "--json", *version]


@pytest.fixture(scope="module")
def broker(installation: Installation) -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ(installation) as node:
        yield node


def test_starts_beside_another_node_and_keeps_a_folder_that_was_given(
    broker: PrivateRabbitMQ, installation: Installation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "with a space"
    with PrivateRabbitMQ(installation, folder=folder) as other:
        assert other.port != broker.port
        other.ctl("add_vhost", "only-here")
        assert "only-here" not in broker.ctl("list_vhosts", "name")
        processes = {other.pid} | with_siblings(other.pid)
    assert gone(processes)
    with PrivateRabbitMQ(installation, folder=folder) as later:
        assert "only-here" in later.ctl("list_vhosts", "name")
        assert later.port == other.port, "who has its URL need not ask again"
    assert (folder / "rabbitmq.log").exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert capfd.readouterr() == ("", ""), "it is silent: its words are in its log"


def test_listens_on_loopback_only(broker: PrivateRabbitMQ) -> None:
    addresses = listening_addresses({broker.pid} | with_siblings(broker.pid))
    assert (f"127.0.0.1:{broker.port}") in addresses
    assert len(addresses) >= 3, "AMQP, distribution and epmd"
    assert {address for address in addresses if not address.startswith(("127.0.0.1:", "::1:"))} == set()


def test_speaks_amqp_to_guest(broker: PrivateRabbitMQ) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=DEADLINE_S) as client:
        client.sendall(b"AMQP\x00\x00\x09\x01")
        assert client.recv(1) == b"\x01", "a method frame: Connection.Start"
    assert broker.url == f"amqp://guest:guest@127.0.0.1:{broker.port}/"


def test_a_refused_command_raises_with_its_words(broker: PrivateRabbitMQ) -> None:
    with pytest.raises(BrokerFailed, match="no-such-user"):
        broker.ctl("change_password", "no-such-user", "secret")


def test_an_expression_is_evaluated_and_one_that_fails_raises_with_its_words(broker: PrivateRabbitMQ) -> None:
    assert broker.evaluate('[1 + 1, "up"].') == '[2, "up"]'
    with pytest.raises(BrokerFailed, match="undef"):
        broker.evaluate("there_is:no_such_function().")


async def test_persistent_messages_survive_a_kill_and_a_restart_on_the_same_port(broker: PrivateRabbitMQ) -> None:
    for kind in ("classic", "quorum"):
        await publish(broker.url, kind, b"an order")
    port, processes = broker.port, with_siblings(broker.pid)
    assert eventually(lambda: is_written_down("quorum", broker.folder))
    broker.kill()
    assert gone(processes)
    assert not broker.is_running
    with pytest.raises(BrokerFailed, match="not running"):
        _ = broker.pid
    broker.start()
    assert broker.port == port
    assert await take(broker.url, "classic") == b"an order"
    broker.restart()
    assert broker.port == port
    assert await take(broker.url, "quorum") == b"an order"


def test_a_node_that_cannot_start_fails_at_once_with_the_end_of_its_log(installation: Installation) -> None:
    node = PrivateRabbitMQ(installation, configuration=["no.such.setting = 1"])
    began = time.monotonic()
    with pytest.raises(BrokerFailed, match=r"no\.such\.setting"):
        node.start()
    assert time.monotonic() - began < node._start_timeout_s / 2
    assert not node.is_running


def test_a_folder_whose_port_is_taken_says_so(installation: Installation, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        keep_port(tmp_path, port)
        node = PrivateRabbitMQ(installation, folder=tmp_path)
        with pytest.raises(BrokerFailed, match=f"port {port} is taken: .* choose another"):
            node.start()
    assert not node.is_running


def test_a_port_goes_with_a_folder_that_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in ((["--port", "17000"], "--folder"), (["--folder", "x", "--port", "0"], "1 to 65535")):
        with pytest.raises(SystemExit) as left:
            main(["run", *arguments])
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_nothing_is_left_when_the_parent_of_a_server_is_killed(run_command: list[str]) -> None:
    parent = subprocess.Popen(run_command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    assert parent.stdout is not None
    with parent.stdout:
        facts = json.loads(parent.stdout.readline())
    processes = descendants(parent.pid)
    assert facts["pid"] in processes
    parent.kill()
    parent.wait(DEADLINE_S)
    assert gone(processes)
    assert eventually(lambda: not Path(facts["log"]).parent.exists())
    assert not is_open(facts["port"])


def test_the_server_dies_with_its_guard(tmp_path: Path) -> None:
    guard = Guard(
        ServerPlan(
            epmd=["/bin/sleep", "600"],
            server=["/bin/sleep", "600"],
            environment={},
            folder=str(tmp_path),
            log=str(tmp_path / "log"),
            folder_is_temporary=False,
        )
    )
    pid = guard.start()
    processes = with_siblings(pid)
    os.kill(parent_of(pid), signal.SIGKILL)
    assert gone(processes)
    with pytest.raises(ConnectionError):
        guard.stop()
    guard.dismiss()


def test_run_prints_its_url_and_leaves_no_process_no_folder_and_no_port_at_sigterm(run_command: list[str]) -> None:
    command = subprocess.Popen(run_command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    assert command.stdout is not None
    with command.stdout:
        facts = json.loads(command.stdout.readline())
        assert facts["url"] == f"amqp://guest:guest@127.0.0.1:{facts['port']}/"
        processes = descendants(command.pid)
        assert len(processes) >= 4, "the guard, the server, epmd and at least one helper"
        command.terminate()
        assert command.wait(DEADLINE_S) == 0
    assert gone(processes)
    assert not Path(facts["log"]).parent.exists()
    assert not is_open(facts["port"])


def test_without_a_server_it_names_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signalq.local.rabbitmq.find_installation", lambda: None)
    with pytest.raises(BrokerUnavailable, match=r"brew install rabbitmq.*docker run.*SIGNALQ_BROKER__URL"):
        PrivateRabbitMQ()


async def publish(url: str, kind: str, body: bytes) -> None:
    """To a durable queue of this kind, called by its kind."""
    connection = await aio_pika.connect(url, timeout=DEADLINE_S)
    async with connection:
        channel = await connection.channel()
        await channel.declare_queue(kind, durable=True, arguments={"x-queue-type": kind})
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, kind, timeout=DEADLINE_S)


async def take(url: str, queue: str) -> bytes:
    connection = await aio_pika.connect(url, timeout=DEADLINE_S)
    async with connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        message = await declared.get(timeout=DEADLINE_S)
        await message.ack()
        return message.body


def is_written_down(queue: str, folder: Path) -> bool:
    """RabbitMQ writes the names of quorum queues down late; one that is not, has no leader after a kill."""
    return any(f"%2F_{queue}".encode() in names.read_bytes() for names in folder.rglob("names.dets"))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(processes: set[int]) -> bool:
    return eventually(lambda: not any(is_alive(pid) for pid in processes))


def is_alive(pid: int) -> bool:
    """A zombie counts as gone: in a container whose first process waits for no child, it stays for ever."""
    try:
        return process_fields(pid)[0] != "Z"
    except OSError:
        return False


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def process_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, … proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()


def parent_of(pid: int) -> int:
    return int(process_fields(pid)[1])


def descendants(pid: int) -> set[int]:
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = parent_of(int(folder.name))
        except OSError:  # it ended meanwhile
            continue
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh}
        found |= fresh
    return found


def with_siblings(pid: int) -> set[int]:
    """The processes that the guard of a server owns: the server itself, its epmd, and all that they started."""
    return descendants(parent_of(pid))


def listening_addresses(processes: set[int]) -> set[str]:
    inodes = set()
    for pid in processes:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(descriptor.readlink()))
            except OSError:  # closed meanwhile
                continue
    return {f"{host}:{port}" for host, port, inode in listening_sockets() if f"socket:[{inode}]" in inodes}


def listening_sockets() -> Iterator[tuple[str, int, str]]:
    """Address, port and inode of each listening TCP socket. proc_net(5): state 0A, addresses in host byte order."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = Path("/proc/net") / table
        for line in path.read_text("utf-8").splitlines()[1:] if path.exists() else ():
            fields = line.split()
            host, _, port = fields[1].partition(":")
            if fields[3] == "0A":
                words = [int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8)]
                yield socket.inet_ntop(family, b"".join(words)), int(port, 16), fields[9]
