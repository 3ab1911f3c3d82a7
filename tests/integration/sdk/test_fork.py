"""A publisher that was entered before a fork: the child connects anew or raises, and its parent never notices."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from pathlib import Path

from signalq.amqp.topology import Topology
from tests.support.amqp import drain
from tests.support.broker import Broker
from tests.support.commands import Ran, ended

# What every program below begins with; `child` runs in a forked process, and its status is what `forked` gives.
HEAD = """
import asyncio, gc, logging, os, sys, threading, time, traceback
from signalq import *

# How long a step of the loop takes is the machine's affair.
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))

url, prefix = sys.argv[1:]
INTENT = OrderIntent(connector_name="main", action="openLong", percent="50")

def forked(child):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        child()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
"""


async def run(broker: Broker, topology: Topology, program: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-X",
        "dev",
        # Since Python 3.12, of every fork of a process with threads.
        "-W",
        "ignore:This process:DeprecationWarning",
        "-c",
        HEAD + textwrap.dedent(program),
        broker.url,
        topology.names.prefix,
        cwd=Path(__file__).parents[3],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        return await ended(process, b"", 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ids_in(broker: Broker, topology: Topology) -> list[str | None]:
    return [message.properties.message_id for message in await drain(broker.url, topology.names.orders)]


async def test_the_child_of_a_fork_connects_anew_and_leaves_its_parents_connection_alone(
    broker: Broker, topology: Topology
) -> None:
    """Also at its end, when its objects go; also in the child's child, and where a thread was publishing meanwhile."""
    ran = await run(
        broker,
        topology,
        """
        with SyncOrderPublisher(url, strategy="fork", prefix=prefix) as orders:
            before = orders.publish(INTENT, message_id="parent-1")
            stop = threading.Event()

            def busy():
                while not stop.is_set():
                    orders.publish(INTENT, message_id="busy")

            thread = threading.Thread(target=busy)
            thread.start()

            def child():
                both = [threading.Thread(target=orders.publish, args=(INTENT,), kwargs={"message_id": f"child-{n}"})
                        for n in (1, 2)]
                for one in both: one.start()
                for one in both: one.join(10)
                assert orders.publish_many([(INTENT, "child-3")]) == 1
                try:
                    before.outcome(timeout_s=float("inf"))
                except OutcomesUnavailable as error:
                    assert "before a fork" in str(error), error
                assert forked(lambda: orders.publish(INTENT, message_id="grandchild")) == 0
                with orders: pass

            assert [forked(child) for _ in range(3)] == [0, 0, 0]

            def ends():
                global orders, before
                orders.publish(INTENT, message_id="child-4")
                orders.close()
                del orders, before
                gc.collect()

            assert forked(ends) == 0
            stop.set()
            thread.join()
            orders.publish(INTENT, message_id="parent-2")
            try:
                before.outcome(timeout_s=0.1)
            except OutcomeTimeout as error:
                assert "lost" not in str(error), error
        """,
    )
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    published = [one for one in await ids_in(broker, topology) if one != "busy"]
    assert published[0] == "parent-1"
    assert published[-1] == "parent-2"
    assert sorted(filter(None, published[1:-1])) == sorted(
        ["child-1", "child-2", "child-3", "grandchild"] * 3 + ["child-4"]
    )


async def test_an_asyncio_publisher_of_the_parent_raises_at_once_in_the_child(
    broker: Broker, topology: Topology
) -> None:
    ran = await run(
        broker,
        topology,
        """
        def in_child(orders, receipt):
            async def main():
                for publishing in (orders.publish(INTENT, message_id="c"), orders.publish_many([(INTENT, "c")])):
                    try:
                        await publishing
                    except Unconfirmed as error:
                        assert error.message_id == "c"
                        print(error)
                    except NotAllConfirmed as error:
                        assert [(one.message_id, type(one.error)) for one in error.unconfirmed] == [("c", Unconfirmed)]
                        print(error.unconfirmed[0].error)
                try:
                    await receipt.outcome(timeout_s=float("inf"))
                except OutcomesUnavailable as error:
                    print(error)
                await orders.close()
                async with OrderPublisher(url, prefix=prefix) as own:
                    await own.publish(INTENT, message_id="own")
            asyncio.run(main())

        async def main():
            async with OrderPublisher(url, prefix=prefix) as orders:
                receipt = await orders.publish(INTENT, message_id="1")
                began_s = time.monotonic()
                assert forked(lambda: in_child(orders, receipt)) == 0
                assert time.monotonic() - began_s < 20  # publish_timeout_s is 30
                await orders.publish(INTENT, message_id="2")

        asyncio.run(main())
        """,
    )
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("entered in another process, before a fork") == 3
    assert await ids_in(broker, topology) == ["1", "own", "2"]


async def test_the_child_of_a_fork_gives_up_in_time_where_no_broker_answers(broker: Broker, topology: Topology) -> None:
    """A server that takes connections and says nothing: connecting and publishing together take `publish_timeout_s`."""
    ran = await run(
        broker,
        topology,
        """
        import socket
        with SyncOrderPublisher(url, prefix=prefix, publish_timeout_s=0.5) as orders:
            silent = socket.create_server(("127.0.0.1", 0))
            deaf = f"amqp://127.0.0.1:{silent.getsockname()[1]}/"
            orders._make = lambda: OrderPublisher(deaf, prefix=prefix, publish_timeout_s=0.5)

            def child():
                try:
                    orders.publish(INTENT.model_copy(update={"percent": "0"}))
                except InvalidIntent:
                    pass
                began_s = time.monotonic()
                try:
                    orders.publish(INTENT, message_id="c")
                except Unconfirmed as error:
                    assert error.message_id == "c"
                    print(round(time.monotonic() - began_s, 1))

            assert forked(child) == 0
            silent.close()
        """,
    )
    assert (ran.status, ran.err) == (0, "")
    assert 0.4 <= float(ran.out) <= 1.5


async def test_the_sdk_leaves_the_codec_of_other_users_in_its_process_alone(broker: Broker, topology: Topology) -> None:
    ran = await run(
        broker,
        topology,
        """
        from pamqp import decode, encode
        def kept(module):
            return {name: dict(value) if type(value) is dict else value for name, value in vars(module).items()}
        before = [kept(decode), kept(encode)]
        with SyncOrderPublisher(url, strategy="s", prefix=prefix) as orders:
            orders.publish(INTENT)
        assert [kept(decode), kept(encode)] == before
        """,
    )
    assert (ran.status, ran.out, ran.err) == (0, "", "")
