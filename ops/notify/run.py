"""The notifier as the command runs it: from the settings, until it is asked to stop."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from yarl import URL

from signalq.errors import SettingsError
from signalq.logs import configure_logging
from signalq.ops.notify.outbox import Message, Outbox
from signalq.ops.notify.services import Service, load_services
from signalq.ops.notify.trouble import Trouble
from signalq.ops.notify.watch import LOOK_BACK_MS, Watch
from signalq.ops.terminal.stopping import stop_event
from signalq.settings.sections import Settings
from signalq.times import backoff_s
from signalq.version import __version__

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of a notifier; `every_s` between two messages to a service is a setting.

    It looks every `look_s`; a trouble has to last `lasts_s`, and a lane to be silent for `lane_s`; the first news waits
    `gather_s` for more. An attempt may take `send_s`; at the end the last look may take `last_look_s`, an attempt may
    begin beside it, and the last attempt may take `stop_s`: together less than the 30 s that Kubernetes gives.
    """

    every_s: float
    look_s: float = 5.0
    lasts_s: float = 10.0
    lane_s: float = 15.0
    gather_s: float = 5.0
    retry_base_s: float = 5.0
    retry_max_s: float = 300.0
    send_s: float = 15.0
    last_look_s: float = 3.0
    stop_s: float = 10.0


@dataclass
class _Desk:
    """One service and its news; the next message may go at `next_s`, and `failures` attempts in a row have failed."""

    service: Service
    outbox: Outbox
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    next_s: float = 0.0


class Notifier:
    """Watches, and tells each service by itself: one that is away holds up no other."""

    def __init__(self, settings: Settings, services: Sequence[Service], timing: Timing) -> None:
        self._timing = timing
        self._desks = [_Desk(service, _outbox(settings)) for service in services]
        self._stopping = asyncio.Event()
        self._troubles: dict[str, Trouble] = {}
        self._watch = Watch(
            settings,
            on_letter=self._add,
            on_look=self._take_stock,
            on_listening=lambda: log.info("notify.listening"),
            lasts_s=timing.lasts_s,
            lane_s=timing.lane_s,
        )

    async def run(self, until: asyncio.Event) -> None:
        """Watch and tell until `until`; then tell what is gathered. Raises NotPermitted and SettingsError."""
        log.info("notify.started", services=[desk.service.name for desk in self._desks], version=__version__)
        looking = asyncio.create_task(self._watch.keep_looking(self._timing.look_s), name="notify: look")
        tasks: list[asyncio.Task[object]] = [
            looking,
            asyncio.create_task(self._watch.listen(), name="notify: listen"),
            asyncio.create_task(until.wait(), name="notify: until it is asked to stop"),
        ]
        try:
            telling = [asyncio.create_task(self._serve(one), name=f"notify: {one.service.name}") for one in self._desks]
            tasks += telling
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # an error of one of them ends all
            log.info("notify.stopping")
            # First: its news go with the last message.
            await self._look_a_last_time(looking)
            self._stopping.set()
            self._take_stock()
            await asyncio.gather(*telling)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._watch.close()
        log.info("notify.stopped")

    async def _look_a_last_time(self, looking: asyncio.Task[object]) -> None:
        """Look once more, in the place of the look that is under way."""
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.last_look_s):
                await self._watch.look()

    def _add(self, reason: str, connector: str) -> None:
        for desk in self._desks:
            desk.outbox.add(reason, connector)

    def _take_stock(self) -> None:
        """Log the troubles that are new or over, and let each service be told."""
        before, self._troubles = self._troubles, self._watch.troubles()
        for key in self._troubles.keys() - before.keys():
            log.warning("trouble.began", trouble=self._troubles[key].name, detail=self._troubles[key].detail)
        for key in before.keys() - self._troubles.keys():
            log.info("trouble.ended", trouble=before[key].over)
        for desk in self._desks:
            desk.changed.set()

    async def _serve(self, desk: _Desk) -> None:
        """Send what is new, as soon as it may go; at the end once more."""
        while not self._stopping.is_set():
            await desk.changed.wait()
            desk.changed.clear()
            if desk.outbox.message(self._troubles) is not None:
                await self._pause(max(self._timing.gather_s, desk.next_s - time.monotonic()))
                if not self._stopping.is_set():
                    await self._tell(desk)
        await self._tell(desk, is_last=True)

    async def _tell(self, desk: _Desk, *, is_last: bool = False) -> None:
        """Send one message with everything new, if there is any, and note how that went."""
        message, at = desk.outbox.message(self._troubles), datetime.now(UTC)
        if message is None:
            return  # all of it was over before it could be told
        timeout_s = self._timing.stop_s if is_last else self._timing.send_s
        attempt = await desk.service.send(message, timeout_s=timeout_s)
        if attempt.is_taken:
            desk.outbox.taken(message, at)
            desk.failures, desk.next_s = 0, time.monotonic() + self._timing.every_s
            log.info("notification.sent", service=desk.service.name, title=message.title)
            if attempt.why is not None:
                log.warning("notification.not_taken_by_all", service=desk.service.name, why=attempt.why)
            return
        desk.failures += 1
        if is_last:
            log.error("notification.lost", service=desk.service.name, title=message.title, why=attempt.why)
            return
        wait_s = self._backoff_s(desk.failures)
        desk.next_s = time.monotonic() + wait_s
        desk.changed.set()
        log.warning(
            "notification.not_taken",
            service=desk.service.name,
            why=attempt.why,
            failures=desk.failures,
            retry_in_s=round(wait_s, 1),
        )

    def _backoff_s(self, failures: int) -> float:
        fraction = random.uniform(0.5, 1)  # noqa: S311 - no secret
        return backoff_s(failures, base_s=self._timing.retry_base_s, max_s=self._timing.retry_max_s, fraction=fraction)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def run(settings: Settings) -> None:
    """Watch and tell until SIGTERM or SIGINT. Raises SettingsError and NotPermitted."""
    services = load_services(settings.notify.each_url)
    if not services:
        raise SettingsError("notify.urls is not set: name the services to send to, as docs/operate/notify.md shows")
    configure_logging(form=settings.log.format, level=settings.log.level, blanker=settings.blanker)
    asyncio.run(_run(settings, services))


async def _run(settings: Settings, services: Sequence[Service]) -> None:
    await Notifier(settings, services, Timing(settings.notify.every_s)).run(stop_event())


async def preview(settings: Settings) -> tuple[Message | None, list[str]]:
    """The message that would be sent now, if any, and the services' names. Raises SettingsError and NotPermitted."""
    names = [service.name for service in load_services(settings.notify.each_url)]
    outbox = _outbox(settings)
    watch = Watch(settings, on_letter=outbox.add, lane_s=Timing(settings.notify.every_s).lane_s)
    try:
        await watch.look_once()
        return outbox.message(watch.troubles()), names
    finally:
        await watch.close()


def _outbox(settings: Settings) -> Outbox:
    broker = settings.broker
    host = URL(broker.url.get_secret_value()).host or ""
    where = host if broker.prefix == "signalq" else f"{host}/{broker.prefix}"
    return Outbox(where, datetime.now(UTC) - timedelta(milliseconds=LOOK_BACK_MS))
