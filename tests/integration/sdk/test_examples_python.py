"""The README's lines and the Python examples as they stand: a real broker, a real consumer, the sandbox."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.ops.sandbox.server import Sandbox
from tests.support.amqp import plain_channel
from tests.support.bare import REPOSITORY, BareEnvironment
from tests.support.consumer import Consumer

EXAMPLES = REPOSITORY / "examples" / "python"
README_URL = "amqp://guest:guest@127.0.0.1:5672/"
PROGRAM_TIMEOUT_S = 60.0
# pytest without our own plug-ins, which the example needs none of.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
OTHERS = ("aiohttp", "click", "rich", "structlog", "sqlalchemy", "pytest")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    """The SDK alone."""
    return BareEnvironment(tmp_path_factory.mktemp("bare"))


@pytest_asyncio.fixture
async def prefix(own_broker: PrivateRabbitMQ) -> AsyncIterator[str]:
    """The prefix that programs use which name none; only on a broker of our own, and taken away again."""
    yield "signalq"
    topology = Topology(Names("signalq"))
    async with plain_channel(own_broker.url) as channel:
        for queue in topology.queues():
            await channel.queue_delete(queue.name, timeout=10)
        for exchange in topology.exchanges():
            await channel.exchange_delete(exchange.name, timeout=10)


def readme_program(url: str) -> str:
    """The block of "Publish an order", with the URL of the broker of the tests."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## Publish an order\n\n```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert block, "the README has no program under Publish an order"
    assert README_URL in block[1]
    return block[1].replace(README_URL, url)


async def ran(command: list[str], environment: dict[str, str]) -> str:
    """The standard output of a program that exits 0."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment, cwd="/")
    try:
        async with asyncio.timeout(PROGRAM_TIMEOUT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command[-1]}: {err.decode()}{out.decode()}"
    return out.decode()


async def test_the_readmes_lines_and_every_example_run_with_the_sdk_alone(
    own_broker: PrivateRabbitMQ, prefix: str, bare: BareEnvironment, tmp_path: Path
) -> None:
    readme = tmp_path / "readme.py"
    readme.write_text(readme_program(own_broker.url), encoding="utf-8")
    environment = bare.environment(SIGNALQ_BROKER__URL=own_broker.url)
    programs = [readme, *(EXAMPLES / name for name in ("publish_one.py", "publish_many.py", "publish_sync.py"))]
    async with Sandbox() as sandbox, Consumer(own_broker.url, prefix, sandbox.url) as consumer:
        await consumer.started()
        of_readme, one, many, blocking = await asyncio.gather(
            *(ran(bare.command(str(program)), environment) for program in programs)
        )
        orders = await sandbox.received(1 + 1 + 50 + 4, timeout_s=30)
    assert re.fullmatch(r"the broker has it: [0-9a-f]{32}\nit is delivered \n", of_readme)
    assert one.endswith("it is delivered \n")
    assert many.splitlines() == [*(f"{number} of 50" for number in range(10, 51, 10)), "RabbitMQ has all 50"]
    assert blocking.splitlines() == ["it is delivered", "1 confirmed", "2 confirmed", "3 confirmed", "3 more"]
    batch = [order.body["fixed"] for order in orders if order.body and "log" in order.body]
    assert batch == [f"0.{number:02}" for number in range(1, 51)]


async def test_the_example_of_a_test_is_one(tmp_path: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    out = await ran([sys.executable, "-m", "pytest", *options, str(EXAMPLES / "test_my_strategy.py")], ALONE)
    assert "3 passed" in out


def test_every_example_is_in_the_index_and_no_other() -> None:
    index = (REPOSITORY / "examples" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\((python/[^)]+)\)", index))
    assert listed == {f"python/{path.name}" for path in EXAMPLES.glob("*.py")}


async def test_the_bare_environment_lacks_everything_else(bare: BareEnvironment) -> None:
    """Or the test above would prove nothing."""
    look = f"import importlib.util, signalq; print(signalq.__file__, *filter(importlib.util.find_spec, {OTHERS!r}))"
    assert (await ran(bare.command("-c", look), bare.environment())).split() == [str(bare.site / "signalq/__init__.py")]


def test_the_documented_number_of_dependencies_is_right(bare: BareEnvironment) -> None:
    text = (REPOSITORY / "docs" / "sdk.md").read_text(encoding="utf-8")
    assert f"signalq and {len(bare.needed)} distributions" in text
