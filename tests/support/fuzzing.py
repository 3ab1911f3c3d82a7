"""schemathesis against a running gateway, and the account afterwards: every order of an `ok` is one message, and
nothing else is.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalq.producers.gateway.openapi import openapi_document
from tests.support.amqp import depth, drain
from tests.support.gateways import Front

ANSWERED = re.compile(r'^signalq_gateway_requests_total{connector="[^"]*",status="(\d+)"} ([0-9.]+)$', re.MULTILINE)
ORDERED = re.compile(r'^signalq_gateway_orders_total{connector="[^"]*"} ([0-9.]+)$', re.MULTILINE)
DELAY_MAX_S = 604_800
# Ready messages are counted by the broker a moment after they are.
PHASES = "examples,coverage,fuzzing"
# A schema can't say all: bytes where it counts characters, the digits of 1e-200. Enough examples find that out.
NOT_SAID = ("--exclude-checks", "positive_data_acceptance")


@dataclass(frozen=True, slots=True)
class Account:
    """What schemathesis found, how the gateway answered, and what became of it."""

    status: int
    output: str
    answers: dict[int, int]
    orders: int
    messages: int
    identities: int

    @property
    def faults(self) -> list[str]:
        """What must not be; empty is good."""
        taken = self.answers.get(200, 0)
        found = [] if self.status == 0 else [f"schemathesis found something:\n{self.output}"]
        found += [f"{count} answers were {status}" for status, count in self.answers.items() if status >= 500]
        if not taken:
            found.append("no order was taken: nothing is proved")
        elif self.orders <= taken:
            found.append("no array of orders was taken: nothing is proved of these")
        if not self.orders == self.messages == self.identities:
            found.append(
                f"{self.orders} orders were answered ok, {self.messages} messages came of {self.identities} identities"
            )
        return found


async def fuzz(front: Front, broker_url: str, queue: str, folder: Path, *options: str) -> Account:
    """Run schemathesis with `options`, on a document without text/plain: random text is no order, and no news."""
    document = openapi_document(url=front.url, delay_max_s=DELAY_MAX_S)
    for path in document["paths"].values():
        path.get("post", {}).get("requestBody", {}).get("content", {}).pop("text/plain", None)
    before, ordered_before = await _answers(front)
    status, output = await _schemathesis(document, front.url, folder, options)
    after, ordered = await _answers(front)
    answers = {code: count - before.get(code, 0) for code, count in after.items()}
    messages = await drain(broker_url, queue, await depth(broker_url, queue), timeout_s=60)
    identities = {message.properties.message_id for message in messages}
    return Account(status, output, answers, ordered - ordered_before, len(messages), len(identities))


async def _answers(front: Front) -> tuple[dict[int, int], int]:
    """The requests by their answers, and the orders that were answered `ok`."""
    counts: dict[int, int] = {}
    metrics = (await front.get("/metrics"))[1]
    for status, count in ANSWERED.findall(metrics):
        counts[int(status)] = counts.get(int(status), 0) + int(float(count))
    return counts, sum(int(float(count)) for count in ORDERED.findall(metrics))


async def _schemathesis(document: dict[str, Any], url: str, folder: Path, options: tuple[str, ...]) -> tuple[int, str]:
    file = folder / "gateway.openapi.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    program = Path(sys.executable).with_name("schemathesis")
    process = await asyncio.create_subprocess_exec(
        *(program, "run", file, "--url", url, "--phases", PHASES, "--checks", "all", "--no-color"),
        *("--continue-on-failure", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode()
