"""The peer: a worker on kombu, with its delay ladder and its queue both of quorum queues.

It POSTs each message to BENCH_WEBHOOK when it comes, one by one over one connection, and acknowledges it after. It
promises no more than that: no order by due time, no memory of what it sent.
"""

from __future__ import annotations

import http.client
import os
from urllib.parse import urlsplit

from kombu import Connection, Consumer, Exchange, Message, Queue
from kombu.transport.native_delayed_delivery import (
    bind_queue_to_native_delayed_delivery_exchange,
    declare_native_delayed_delivery_exchanges_and_queues,
)

from benchmarks.delays.kombu_publish import ROUTING_KEY

PREFETCH = 100
TIMEOUT_S = 10.0


def main() -> None:
    """Declare, consume BENCH_QUEUE, POST, acknowledge; until SIGTERM."""
    address = urlsplit(os.environ["BENCH_WEBHOOK"])
    webhook = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)

    def handle(message: Message) -> None:
        webhook.request("POST", address.path, message.body, {"Content-Type": "application/json"})
        webhook.getresponse().read()
        message.ack()

    with Connection(os.environ["BENCH_BROKER"]) as connection:
        queue = declared(connection, os.environ["BENCH_QUEUE"])
        with Consumer(connection.channel(), [queue], on_message=handle, prefetch_count=PREFETCH):
            while True:
                connection.drain_events()


def declared(connection: Connection, name: str) -> Queue:
    """The ladder, and the queue that it delivers to, as a worker of Celery declares them."""
    queue = Queue(
        name, Exchange(name, type="topic"), routing_key=ROUTING_KEY, queue_arguments={"x-queue-type": "quorum"}
    )
    queue.bind(connection.channel()).declare()
    declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
    bind_queue_to_native_delayed_delivery_exchange(connection, queue)
    return queue


if __name__ == "__main__":
    main()
