"""The peer: the gateway that most teams write first, after aiohttp's and aio-pika's own examples.

It waits for the broker's confirm, and that is all: no token, no check of the body, no time limit, no identity that a
repeat would have again. What its promises cost is what signalq's are compared with.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid

import aio_pika
from aiohttp import web


async def main() -> None:
    """Publish each body to BENCH_EXCHANGE, with its connectorName as the routing key, and answer `ok`."""
    connection = await aio_pika.connect_robust(os.environ["BENCH_BROKER"])
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.get_exchange(os.environ["BENCH_EXCHANGE"])

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        message = aio_pika.Message(
            body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, message_id=uuid.uuid4().hex, app_id="naive"
        )
        await exchange.publish(message, routing_key=json.loads(body)["connectorName"])
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/trading-signal/webhook", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stderr.write(json.dumps({"event": "gateway.started", "port": runner.addresses[0][1]}) + "\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
