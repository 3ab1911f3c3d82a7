"""Where `signalq notify` sends to in tests: a real SMTP server and a real HTTP endpoint; and the notifier itself."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP

from signalq.ops.notify.run import Notifier, Timing
from signalq.ops.notify.services import load_services
from signalq.settings.sources import load_settings
from tests.support.waiting import wait_until
from tests.support.warm import WarmCommand, command
from tests.support.webhook import Webhook

# So short that tests need not wait, and so long that what is meant to be in one message is.
FAST = Timing(
    every_s=0.3,
    look_s=0.1,
    lasts_s=0.3,
    lane_s=5,
    gather_s=0.3,
    retry_base_s=0.1,
    retry_max_s=0.3,
    send_s=10,
    stop_s=10,
)


@dataclass
class Mailbox:
    """A mail server's port, the mails that came, and the recipients that it does not know."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: object, envelope: Any, address: str, _options: object
    ) -> str:
        """Take a recipient, or not."""
        if address in self.refused:
            return "550 there is nobody of this name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    @property
    def url(self) -> str:
        """As notify.urls has it."""
        return self.url_to("desk")

    def url_to(self, *names: str) -> str:
        """The same with these recipients."""
        to = ",".join(f"{name}@example.com" for name in names)
        return f"mailto://127.0.0.1:{self.port}/?from=signalq@example.com&to={to}&mode=insecure"


@asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    """A real SMTP server on loopback."""
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box


def service_url(hook: Webhook, secret: str = "") -> str:
    """The URL of apprise for an HTTP endpoint, with a secret in its path."""
    return f"json://127.0.0.1:{hook.port}/{secret}"


def messages(hook: Webhook) -> list[dict[str, Any]]:
    """The messages that an HTTP endpoint was sent: title, message, type."""
    return [order.json for order in hook.orders]


def told(hook: Webhook) -> str:
    """All that it was told, in one text."""
    return "\n".join(f"{one['title']}\n{one['message']}" for one in messages(hook))


def letters(hook: Webhook) -> dict[tuple[str, str], int]:
    """How many dead letters it was told of, by reason and connector, in all messages together."""
    counted: Counter[tuple[str, str]] = Counter()
    for one in messages(hook):
        for reason, named in re.findall(r"^[\d,]+ (?:dead, ([a-z-]+)|in doubt) \((.*)\)", one["message"], re.MULTILINE):
            for each in named.split(", "):
                connector, _, count = each.rpartition(" ")
                counted[reason or "outcome-unknown", connector] += int(count)
    return dict(counted)


@asynccontextmanager
async def notifying(*urls: str, timing: Timing = FAST) -> AsyncIterator[Notifier]:
    """A notifier in this process, by the settings of the environment; at the end it sends what is gathered."""
    stop = asyncio.Event()
    notifier = Notifier(load_settings(), load_services(urls), timing)
    running = asyncio.create_task(notifier.run(stop), name="the notifier of a test")
    try:
        yield notifier
    finally:
        stop.set()
        await running


@dataclass
class Process:
    """`signalq notify` in a process of its own, and its log."""

    process: WarmCommand
    log: list[dict[str, Any]] = field(default_factory=list)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        return [line for line in self.log if line["event"] == name]

    async def end(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def notify_process(urls: Sequence[str], **settings: str) -> AsyncIterator[Process]:
    """The process, once it watches."""
    variables = {"SIGNALQ_NOTIFY__URLS": "\n".join(urls), "SIGNALQ_LOG__FORMAT": "json", **settings}
    one = Process(await command("ops", "notify", environment={**os.environ, **variables}))
    reading = asyncio.create_task(_read(one))
    try:
        await wait_until(lambda: one.events("notify.started") or one.process.returncode is not None, what="its start")
        yield one
    finally:
        one.process.kill()
        await one.process.wait()
        await reading


async def _read(one: Process) -> None:
    async for line in one.process.stderr:
        text = line.decode()
        one.log.append(json.loads(text) if text.startswith("{") else {"event": "text", "text": text})
