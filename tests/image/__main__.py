"""`python -m tests.image`: builds the image, looks at its files, and lets it place an order. Exits 1 where it fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from signalq import OrderIntent, OrderPublisher
from signalq.local import FetchFailed, PrivateRabbitMQ, find_installation
from signalq.ops.sandbox.server import Sandbox
from signalq.version import __version__
from tests.image.build import ROOT, Built, Workshop
from tests.image.findings import CODE, OWNER, findings, megabytes
from tests.image.inside import command_line, run
from tests.support.waiting import wait_until

START_TIMEOUT_S = 60.0
# delivery.drain_timeout_s, and what closing may take.
DRAIN_TIMEOUT_S = 40.0
ARCHITECTURES = ("x86_64", "aarch64")
# Of Debian's own files and of what the Dockerfile takes out: the checks have to see them.
PLANTED = ("changes who runs it", "ensurepip builds or installs", "/usr/local/bin/pip3 builds", "is missing")


def main() -> int:
    """Build, check, run; 0 where all of it holds."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        print("image: this needs Linux, and root: it mounts and changes its root folder", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="signalq-image-"))
    folder.chmod(0o755)
    workshop = Workshop(folder)
    try:
        say("building it: a base of Debian, the wheels, the Dockerfile")
        began_s = time.monotonic()
        built = workshop.build()
        say(
            f"built in {time.monotonic() - began_s:.0f} s: {megabytes(built.files):.0f} MB, "
            f"of them {megabytes(built.files / CODE):.0f} MB signalq and what it needs"
        )
        check_files(built)
        check_config(built)
        version = workshop.run(built, "signalq", "--version")
        assert version == f"signalq {__version__}", version
        say(f"{version}, run by buildah")
        for machine in ARCHITECTURES:
            workshop.fetch_wheels(machine, folder / machine)
        say(f"every package of the lock has a wheel for {' and '.join(ARCHITECTURES)}")
        state = folder / "state"
        state.mkdir(mode=0o700)
        os.chown(state, OWNER, OWNER)
        check_nothing_can_be_written(built, state)
        asyncio.run(check_an_order(built, state))
    except subprocess.CalledProcessError as error:
        print(f"image: {error.cmd[0]} ended with {error.returncode}; the end of what it said:", file=sys.stderr)
        print((folder / "build.log").read_text("utf-8", errors="replace")[-3000:], file=sys.stderr)
        return 1
    except FetchFailed as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    finally:
        workshop.sweep()
        shutil.rmtree(folder)
    left = [line for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines() if str(folder) in line]
    assert not left, left
    say("all of it holds, and nothing of it is left")
    return 0


def say(words: str) -> None:
    """A line of progress."""
    print(f"image: {words}", flush=True)


def check_files(built: Built) -> None:
    """Nothing builds, nothing is setuid, nothing can be changed; and the checks see what they are to see."""
    found = findings(built.files)
    assert not found, "\n".join(found)
    before = "\n".join(findings(built.base_files))
    assert all(words in before for words in PLANTED), before
    say(f"files: nothing found, {before.count(chr(10)) + 1} things in the base that it is built on")


def check_config(built: Built) -> None:
    """What a container is started with."""
    config = built.config
    assert config["User"] == f"{OWNER}:{OWNER}"
    assert (config["Entrypoint"], config["Cmd"]) == (["signalq"], ["--help"])
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "signalq", "probe"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    assert (labels["title"], labels["version"], labels["revision"]) == ("signalq", "1.2.3", "abc")
    say("user, entry, health check, labels: as they should be")


def check_nothing_can_be_written(built: Built, state: Path) -> None:
    """Neither the root nor its own code, but the folder of the ledger."""
    for place in ("/", "/opt/signalq", "/etc"):
        ran = run(built, state, "touch", f"{place}/x")
        assert (ran.returncode, "Read-only file system" in ran.stderr) == (1, True), ran.stderr
    ran = run(built, state, "sh", "-c", "touch /var/lib/signalq/x && rm /var/lib/signalq/x && id -u && id -g")
    assert (ran.returncode, ran.stdout.split()) == (0, [str(OWNER), str(OWNER)]), ran.stderr
    caps = run(built, state, "sh", "-c", "grep -E 'Cap(Eff|Bnd)|NoNewPrivs' /proc/self/status").stdout.split()
    assert caps == ["CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"], caps
    say("read-only root, no capability, no new privileges, a ledger's folder that can be written")


async def check_an_order(built: Built, state: Path) -> None:
    """From a publisher outside through the consumer inside to the sandbox; then SIGTERM."""
    installation = find_installation()
    assert installation is not None, "there is no RabbitMQ here: ./run setup gets one"
    port = free_port()
    with PrivateRabbitMQ(installation) as broker:
        async with Sandbox() as sandbox:
            environment = {
                "SIGNALQ_BROKER__URL": broker.url,
                "SIGNALQ_WEBHOOK__URL": sandbox.url,
                "SIGNALQ_OPS__PORT": str(port),
            }
            probe = built.config["Healthcheck"]["Test"][1:]
            assert run(built, state, *probe, environment=environment).returncode == 1
            log_path = state.parent / "consumer.log"
            with log_path.open("wb") as log:
                command = command_line(built, state, *built.config["Entrypoint"], "consume", environment=environment)
                consumer = subprocess.Popen(  # noqa: S603, ASYNC220 - starting it takes no time
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            try:
                await _placed(built, state, environment, consumer, sandbox)
            except AssertionError as error:
                error.add_note(log_path.read_text("utf-8", errors="replace")[-3000:])
                raise
            finally:
                consumer.kill()
                consumer.wait()
            assert run(built, state, *probe, environment=environment).returncode == 1


async def _placed(
    built: Built, state: Path, environment: dict[str, str], consumer: subprocess.Popen[bytes], sandbox: Sandbox
) -> None:
    probe = built.config["Healthcheck"]["Test"][1:]

    async def is_ready() -> bool:
        assert consumer.poll() is None, "it ended while it started"
        ran = await asyncio.to_thread(run, built, state, *probe, "--ready", environment=environment)
        return ran.returncode == 0

    await wait_until(is_ready, START_TIMEOUT_S, what="the probe to say ready")
    ran = await asyncio.to_thread(run, built, state, *probe, environment=environment)
    assert ran.returncode == 0, ran.stderr
    owner = os.stat(f"/proc/{consumer.pid}").st_uid  # noqa: PTH116
    assert owner == OWNER, owner
    async with OrderPublisher(environment["SIGNALQ_BROKER__URL"], strategy="image") as orders:
        intent = OrderIntent(connector_name="main", action="openLong", percent="50", connector_token="a-token")
        receipt = await orders.publish(intent)
        outcome = await receipt.outcome(timeout_s=START_TIMEOUT_S)
    assert outcome.status == "delivered", outcome
    assert [order.connector for order in sandbox.orders] == ["main"]
    assert (state / "signalq.db").stat().st_uid == OWNER
    say("an order went out as user 10001, its outcome: delivered; the probe says ready")
    began_s = time.monotonic()
    consumer.terminate()
    await wait_until(lambda: consumer.poll() is not None, DRAIN_TIMEOUT_S, what="its end after SIGTERM")
    assert consumer.returncode == 0, consumer.returncode
    say(f"SIGTERM: drained with status 0 in {time.monotonic() - began_s:.1f} s")


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


if __name__ == "__main__":
    if not ROOT.samefile("."):
        os.chdir(ROOT)
    sys.exit(main())
