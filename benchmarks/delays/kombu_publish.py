"""kombu's producer: native delayed delivery, the way Celery publishes it. Prints when each message was created.

Celery puts `int(countdown)` whole seconds into the routing key (`celery.app.base.Celery.send_task`, 5.7), so up to a
second too few, and fails on less than one. Here they are rounded up, so that nothing is early. As with Celery, every
message enters at the top of the ladder.

Confirms are awaited (`confirm_publish`, which Celery leaves off): without them the last message before the connection
closed was lost in two runs of four (RabbitMQ 3.10.8). kombu waits for each confirm, hence several connections.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

from kombu import Connection, Producer
from kombu.transport.native_delayed_delivery import MAX_LEVEL, calculate_routing_key, level_name

from benchmarks.delays.plan import CONNECTORS, Plan, whole_seconds

ROUTING_KEY = "orders"
CONNECTIONS = 8


def main() -> None:
    """Publish what the plan says."""
    plan = Plan.from_argument()
    created_ms = [0.0] * plan.orders
    began_s = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for done in [threads.submit(publish_share, plan, share, began_s, created_ms) for share in range(CONNECTIONS)]:
            done.result()
    print(json.dumps(created_ms))


def publish_share(plan: Plan, share: int, began_s: float, created_ms: list[float]) -> None:
    """Publish every CONNECTIONS-th order, over a connection of its own."""
    delays_ms = plan.delays_ms()
    with Connection(os.environ["BENCH_BROKER"], transport_options={"confirm_publish": True}) as connection:
        producer = Producer(connection.channel())
        for number in range(share, plan.orders, CONNECTIONS):
            time.sleep(plan.wait_s(number, began_s))
            # Whole ms, as in signalq-created-ms.
            created_ms[number] = time.time_ns() // 1_000_000
            producer.publish(
                body(plan, number),
                exchange=level_name(MAX_LEVEL),
                routing_key=calculate_routing_key(whole_seconds(delays_ms[number]), ROUTING_KEY),
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode="persistent",
            )


def body(plan: Plan, number: int) -> str:
    """The order as signalq would POST it."""
    fields = {
        "connectorName": f"connector-{number % CONNECTORS}",
        "connectorToken": "benchmark",
        "action": "openLong",
        "percent": "50",
        "log": plan.log(number),
    }
    return json.dumps(fields, separators=(",", ":"))


if __name__ == "__main__":
    main()
