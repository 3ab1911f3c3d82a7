"""The chart, played: its example values rendered by Helm, run by `podman kube play`, and its consumers replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import aiohttp

from signalq import OrderPublisher
from tests.containers.desk import Desk, owner_of, rights_of
from tests.containers.orders import CONNECTOR, SLOW, TOKEN, Flow, intent
from tests.containers.podman import Podman
from tests.containers.pods import NOT_SHOWN, Manifest, secret
from tests.containers.release import TOLD_S, Release, Surroundings
from tests.image.build import IMAGE
from tests.support.waiting import elapsed, wait_until

Say = Callable[[str], None]
WEBHOOK = "http://sandbox:8090/sandbox/trading-signal/webhook"
# A consumer's rights on compose.yaml's broker end at names that begin so.
SQLITE_PREFIX = "signalq.sqlite"
OWNER = 10001


def own_values(**sections: object) -> dict[str, object]:
    """What differs here from any example: the image, and no TLS on networks of this machine's containers alone."""
    repository, _, tag = IMAGE.rpartition(":")
    settings = {
        "broker": {"allow_plain": True, "topology": "declare"},
        "webhook": {"url": WEBHOOK, "allow_plain_http": True},
        "connectors": {CONNECTOR: {"tokenSecret": {"name": "signalq-tokens", "key": "main"}}},
    }
    image = {"repository": repository, "tag": tag, "digest": "", "pullSecrets": []}
    return {"image": image, "settings": settings, **sections}


async def play(podman: Podman, desk: Desk, folder: Path, say: Say) -> None:
    """All of it. Raises AssertionError and Failed."""
    await desk.prepare()
    await desk.up("rabbitmq", "postgres", "sandbox")
    say("compose.yaml's broker, database and webhook are up, for the pods to use")
    await with_postgresql(podman, desk, folder, say)
    await with_sqlite(podman, desk, folder, say)
    say("what this can't show of the chart:")
    for sentence in NOT_SHOWN:
        say(f"  {sentence}")


async def _around(desk: Desk) -> Surroundings:
    """Broker, database and webhook, and the Secrets that the examples name, of what make-secrets has made."""
    named = {
        "signalq-broker": {"url": desk.secret("consumer-broker-url")},
        "signalq-rabbitmq-ca": {"ca.crt": "not asked for without TLS\n"},
        "signalq-strategies": {"url": desk.secret("strategies-broker-url")},
        "signalq-operator": {"url": desk.secret("operator-broker-url")},
        "signalq-ledger": {"url": desk.secret("ledger-url")},
        "signalq-ops": {"token": desk.secret("ops-token")},
        "signalq-tokens": {"main": desk.secret("main-token")},
    }
    hosts = {name: await desk.address(name) for name in ("rabbitmq", "postgres", "sandbox")}
    return Surroundings([secret(name, values) for name, values in named.items()], hosts)


async def with_postgresql(podman: Podman, desk: Desk, folder: Path, say: Say) -> None:
    """Three consumers, the gateway, the console; then each consumer is replaced while orders come."""
    values = own_values(
        gateway={"enabled": True, "brokerSecret": {"name": "signalq-strategies"}},
        console={"enabled": True, "brokerSecret": {"name": "signalq-operator"}},
    )
    values["settings"]["ledger"] = {"allow_plain": True}  # type: ignore[index]
    release = Release(podman, folder, "postgresql", values, await _around(desk))
    consumer = release.the("Deployment", "-consumer")
    names = [f"consumer-{number}" for number in range(consumer["spec"]["replicas"])]
    for name in names:
        await release.start(consumer, name)
    for name in names:
        await release.ready(consumer, name)
    say(f"{len(names)} consumers of the example postgresql have started, live and are ready, as their probes say")
    await check_pod(podman, release, consumer, names[0], say)
    for ending in ("-gateway", "-console"):
        deployment = release.the("Deployment", ending)
        await release.start(deployment, ending.strip("-"))
        await release.ready(deployment, ending.strip("-"))
    await order_through(await release.address("gateway"), desk, say)
    said = await release.finished(release.the("Pod", "-check"), "check")
    say(f"the pod of `helm test` says: {said.strip().splitlines()[-1]}")
    said = await release.finished(release.the("Job", "-ledger-upgrade"), "ledger-upgrade")
    say(f"the Job before an upgrade says: {said.strip().splitlines()[-1]}")
    flow = Flow(desk)
    await desk.behave(**SLOW)
    async with flow.flowing():
        await flow.more(10)
        names = await replaced(release, consumer, names, flow, say)
    assert await flow.at_rest(await release.container(consumer, names[0])) == []
    say(f"all consumers were replaced under {len(flow.confirmed)} orders: none lost, none twice, none in doubt")
    for name in names:
        await release.stop(consumer, name)
    for ending in ("-gateway", "-console"):
        took_s = await release.stop(release.the("Deployment", ending), ending.strip("-"))
        say(f"the {ending.strip('-')} ended with status 0 in {took_s:.0f} s")


async def replaced(release: Release, consumer: Manifest, names: list[str], flow: Flow, say: Say) -> list[str]:
    """As the Deployment says: one more, ready for so long, before an old one ends. The names of the new ones."""
    spec = consumer["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    new = [f"{name}-new" for name in names]
    for old_name, new_name in zip(names, new, strict=True):
        await release.start(consumer, new_name)
        await release.ready(consumer, new_name)
        await elapsed(spec["minReadySeconds"])
        took_s = await release.stop(consumer, old_name)
        await flow.more(5)
        say(f"{new_name} stood by, {old_name} drained with status 0 in {took_s:.1f} s, orders went on")
    return new


async def with_sqlite(podman: Podman, desk: Desk, folder: Path, say: Say) -> None:
    """One consumer with its volume, and another on the same volume, which knows what the first one has sent."""
    values = own_values()
    values["settings"]["broker"]["prefix"] = SQLITE_PREFIX  # type: ignore[index]
    release = Release(podman, folder, "sqlite", values, await _around(desk))
    consumer, claim = release.the("Deployment", "-consumer"), release.the("PersistentVolumeClaim")
    assert consumer["spec"]["strategy"] == {"type": "Recreate"}
    await release.start(consumer, "sqlite-old", claim)
    await release.ready(consumer, "sqlite-old")
    before = len(await desk.orders())
    url = desk.outside(desk.secret("consumer-broker-url"))
    async with OrderPublisher(url, strategy="containers", prefix=SQLITE_PREFIX) as publisher:
        first = await publisher.publish(intent("sqlite-1"))
        assert (await first.outcome(timeout_s=TOLD_S)).status == "delivered"
        took_s = await release.stop(consumer, "sqlite-old")
        again = await publisher.publish(intent("sqlite-1"), message_id=first.message_id)
        await release.start(consumer, "sqlite-new")
        await release.ready(consumer, "sqlite-new")
        assert (await again.outcome(timeout_s=TOLD_S)).status == "delivered"
        second = await publisher.publish(intent("sqlite-2"))
        assert (await second.outcome(timeout_s=TOLD_S)).status == "delivered"
    numbers = [order["body"]["clientOrderId"] for order in (await desk.orders())[before:]]
    assert numbers == ["sqlite-1", "sqlite-2"], numbers
    await release.stop(consumer, "sqlite-new")
    say(f"example sqlite: its consumer drained in {took_s:.1f} s, and the next one on its volume sent nothing twice")


async def check_pod(podman: Podman, release: Release, consumer: Manifest, name: str, say: Say) -> None:
    """Its user, its rights, its limit, its root, and the files that the manifest mounts."""
    container = await release.container(consumer, name)
    assert owner_of(container) == (OWNER, OWNER)
    rights = rights_of(container)
    assert {rights[right] for right in rights if right.startswith("Cap")} == {"0" * 16}, rights
    assert (rights["NoNewPrivs"], rights["Seccomp"]) == ("1", "2"), rights
    (limits,) = [one["resources"]["limits"] for one in consumer["spec"]["template"]["spec"]["containers"]]
    assert container["HostConfig"]["Memory"] == int(limits["memory"].removesuffix("Mi")) * 2**20
    (mounts,) = [one["volumeMounts"] for one in consumer["spec"]["template"]["spec"]["containers"]]
    for mount in mounts:
        script = f"ls {mount['mountPath']}; touch {mount['mountPath']}/written 2>&1 && rm {mount['mountPath']}/written"
        said = await podman.run("exec", container["Id"], "sh", "-c", f"{script} || true")
        assert ("Read-only file system" in said) is mount.get("readOnly", False), (mount, said)
    said = await podman.run("exec", container["Id"], "sh", "-c", "touch /written 2>&1 || true")
    assert "Read-only file system" in said, said
    say(f"{name}: user {OWNER}, no capability, {limits['memory']} of memory, a read-only root, {len(mounts)} mounts")


async def order_through(address: str, desk: Desk, say: Say) -> None:
    """An order by the gateway's pod."""
    url = f"http://{address}:8081/trading-signal/webhook"
    order = {"connectorName": CONNECTOR, "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
    async with aiohttp.ClientSession() as client, client.post(url, json=order) as answer:
        assert (answer.status, await answer.text()) == (200, "ok"), await answer.text()

    async def came() -> bool:
        return len(await desk.orders()) == 1

    await wait_until(came, what="the order at the webhook")
    say("the gateway and the console are ready, and an order went through the gateway's pod to the webhook")
