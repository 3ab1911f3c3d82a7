"""compose.yaml, played: an order through all of it, a consumer killed, the broker restarted, an alert, the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.containers.desk import PROMETHEUS, Desk, owner_of, rights_of
from tests.containers.orders import CONNECTOR, SLOW, TOKEN, Flow
from tests.containers.podman import Podman
from tests.support.waiting import wait_until

Json = dict[str, Any]
Say = Callable[[str], None]
GATEWAY = "http://127.0.0.1:8081"
STARTS_AGAIN_S = 120.0
SCRAPED_S = 120.0
ALERT_S = 180.0
OWN = ("consumer", "console", "gateway", "sandbox")
OWNER = 10001
# Fires as soon as its rule is evaluated: others wait for minutes.
ALERT = "SignalqIntentsRejected"
NO_RIGHTS = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}


async def play(podman: Podman, desk: Desk, _folder: Path, say: Say) -> None:
    """All of it. Raises AssertionError and Failed."""
    services = await desk.prepare()
    began_s = time.monotonic()
    await desk.up(*services)
    say(f"{', '.join(sorted(services))} are up and healthy after {time.monotonic() - began_s:.0f} s")
    await check_rights(podman, desk, say)
    await one_order(desk, say)
    flow = Flow(desk)
    await desk.behave(**SLOW)
    async with flow.flowing():
        await flow.more(10)
        await kill_each_consumer(podman, desk, flow, say)
        await restart_the_broker(desk, flow, say)
    doubts = await flow.at_rest((await desk.containers("consumer"))[0])
    say(f"{len(flow.confirmed)} orders: none lost, none twice, {len(doubts)} in doubt since a kill")
    await check_prometheus(desk, say)
    await an_alert_fires(desk, say)
    await stop(desk, say)


async def check_rights(podman: Podman, desk: Desk, say: Say) -> None:
    """Who each container is, what it may do, and that it can't write to its root."""
    for container in await podman.containers():
        name, rights = container["Name"], rights_of(container)
        assert {rights[right] for right in NO_RIGHTS} == {"0" * 16}, (name, rights)
        assert (rights["NoNewPrivs"], rights["Seccomp"]) == ("1", "2"), (name, rights)
        assert container["HostConfig"]["ReadonlyRootfs"] is True, name
        limits = container["HostConfig"]
        assert min(limits["Memory"], limits["NanoCpus"], limits["PidsLimit"]) > 0, (name, limits)
        wrote = await podman.run("exec", container["Id"], "sh", "-c", "touch /written 2>&1 || true")
        assert "Read-only file system" in wrote, (name, wrote)
    for service in OWN:
        for container in await desk.containers(service):
            assert owner_of(container) == (OWNER, OWNER), service
    say("each root is read-only, no program has a capability or can get one; signalq runs as user 10001")


async def one_order(desk: Desk, say: Say) -> None:
    """From a caller of the gateway to the webhook."""
    url = f"{GATEWAY}/{desk.secret('gateway-path')}/trading-signal/webhook"
    order = {"connectorName": CONNECTOR, "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
    async with aiohttp.ClientSession() as client, client.post(url, json=order) as answer:
        assert (answer.status, await answer.text()) == (200, "ok"), await answer.text()

    async def came() -> bool:
        return [one["action"] for one in await desk.orders()] == ["openLong"]

    await wait_until(came, what="the order at the webhook")
    say("an order went from the gateway through RabbitMQ and a consumer to the webhook")


async def kill_each_consumer(podman: Podman, desk: Desk, flow: Flow, say: Say) -> None:
    """One after the other, so one of them had the lane; each comes back by itself."""
    for number, container in enumerate(await desk.containers("consumer"), 1):
        before = container["State"]["Pid"]
        os.kill(before, signal.SIGKILL)
        await flow.more(10)

        async def is_back(name: str = container["Id"], before: int = before) -> bool:
            state = (await podman.container(name))["State"]
            return state["Running"] and state["Pid"] != before and state["Health"]["Status"] == "healthy"

        await wait_until(is_back, STARTS_AGAIN_S, what="the consumer to be started again")
        say(f"consumer {number} of 2 was killed: orders went on, and it was started again")


async def restart_the_broker(desk: Desk, flow: Flow, say: Say) -> None:
    """Its container stops and starts, under orders."""
    began_s = time.monotonic()
    await desk.compose("restart", "rabbitmq")
    await flow.more(10)
    say(f"the broker was restarted: orders go on after {time.monotonic() - began_s:.0f} s")


async def check_prometheus(desk: Desk, say: Say) -> None:
    """It finds both consumers by their one name, and everything else that has metrics."""
    wanted = [
        "rabbitmq",
        "rabbitmq-queues",
        "signalq-console",
        "signalq-consumer",
        "signalq-consumer",
        "signalq-gateway",
    ]

    async def all_are_up() -> bool:
        found = await desk.ask_prometheus("targets?state=active")
        return sorted(one["labels"]["job"] for one in found["activeTargets"] if one["health"] == "up") == wanted

    await wait_until(all_are_up, SCRAPED_S, what=f"Prometheus at {PROMETHEUS} to reach {wanted}")
    say("Prometheus reads the metrics of both consumers, the gateway, the console and RabbitMQ")


async def an_alert_fires(desk: Desk, say: Say) -> None:
    """An order is rejected, and the rule about that tells it."""
    await desk.behave(mode="refuse", times=1)
    await Flow(desk).one("to-be-rejected")
    fired: list[Json] = []

    async def fires() -> bool:
        found = (await desk.ask_prometheus("alerts"))["alerts"]
        fired[:] = [one for one in found if (one["labels"]["alertname"], one["state"]) == (ALERT, "firing")]
        return bool(fired)

    await wait_until(fires, ALERT_S, what=f"the alert {ALERT}")
    say(f"an order was rejected, and Prometheus tells it: {json.dumps(fired[0]['labels'], sort_keys=True)}")


async def stop(desk: Desk, say: Say) -> None:
    """SIGTERM to the consumers: both drain, within their grace period."""
    began_s = time.monotonic()
    await desk.compose("stop", "consumer", "gateway", "console")
    for service in ("consumer", "gateway", "console"):
        for container in await desk.containers(service):
            assert container["State"]["ExitCode"] == 0, (service, container["State"])
    say(f"consumers, gateway and console were stopped: all ended with status 0 in {time.monotonic() - began_s:.0f} s")
