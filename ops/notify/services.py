"""The services that messages go to, by apprise: nothing else imports it.

A URL of apprise is a secret in any part. So a service is called by its place in `notify.urls` and its kind, and apprise
logs nothing by itself: what it says of a failure is shown without any part of the URL.
"""

import asyncio
import logging
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.ops.notify.causes import CausesOnly
from signalq.ops.notify.outbox import Message
from signalq.ops.terminal.escaping import escaped
from signalq.secrets.masking import MASK, shown_words
from signalq.version import how_to_install

if TYPE_CHECKING:
    from apprise import Apprise

WHY_CHARACTERS_MAX = 200
SERVICES = "https://appriseit.com/services/"


# Shorter parts of a URL say nothing.
PART_CHARACTERS_MIN = 3
_SEPARATORS = re.compile(r"[/?&=#:@,;+\s]+")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to send: whether somebody took the message, and why not, or why not all did."""

    is_taken: bool
    why: str | None = None


class Service:
    """One service. `name` is for people, `hide` takes all parts of its URL out of a text."""

    def __init__(self, name: str, service: "Apprise", hide: Callable[[str], str]) -> None:
        self.name = name
        self._service = service
        self._hide = hide
        self._is_busy = False

    async def send(self, message: Message, *, timeout_s: float) -> Attempt:
        """Send a message.

        Where a URL has several recipients, one that takes the message is enough: sent again, it would come again to
        those who have it. After the time-out it may be taken all the same. An attempt that hangs is the only one until
        it ends.
        """
        if self._is_busy:
            return Attempt(is_taken=False, why="an attempt before this one has not ended yet")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._in_a_thread(lambda: self._send(message))
        except TimeoutError:
            return Attempt(is_taken=False, why=f"no answer within {timeout_s:g} s")

    def _send(self, message: Message) -> Attempt:
        """Send it now, blocking."""
        from apprise import NotifyFormat, NotifyType  # noqa: PLC0415
        from apprise.plugins.base import _delivery_tracker  # noqa: PLC0415

        # apprise says only that all took it, or that some did not; but it notes each that did, where it is asked to.
        took: set[object] = set()
        _delivery_tracker.set(took)  # type: ignore[arg-type]
        result = self._service.notify(
            title=message.title,
            body=message.body,
            notify_type=NotifyType(message.level),
            body_format=NotifyFormat.TEXT,
        )
        if result:
            return Attempt(is_taken=True)
        said = self._hide(" ".join(entry.message for entry in result.logs()))
        shown = escaped(said or "the service did not take it")
        why = f"{shown[: WHY_CHARACTERS_MAX - 1]}…" if len(shown) > WHY_CHARACTERS_MAX else shown
        return Attempt(is_taken=bool(took), why=why)

    async def _in_a_thread(self, work: Callable[[], Attempt]) -> Attempt:
        """Run `work` in a thread that no end of the process waits for."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Attempt] = loop.create_future()

        def settle(attempt: Attempt) -> None:
            if not ended.done():
                ended.set_result(attempt)

        def run() -> None:
            try:
                attempt = work()
            except Exception as error:  # noqa: BLE001 - a plug-in may fail in any way
                attempt = Attempt(is_taken=False, why=f"it failed unexpectedly ({type(error).__name__})")
            self._is_busy = False
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, attempt)

        self._is_busy = True
        threading.Thread(target=run, name=f"notify {self.name}", daemon=True).start()
        return await ended


def load_services(urls: Sequence[str]) -> list[Service]:
    """The services of these URLs. Raises SettingsError, which shows no URL."""
    _silence()
    with warnings.catch_warnings():
        # apprise imports modules of Python that a later Python has no more.
        warnings.simplefilter("ignore", DeprecationWarning)
        return [_load(number, url) for number, url in enumerate(urls, start=1)]


def _load(number: int, url: str) -> Service:
    try:
        from apprise import Apprise, AppriseAsset, PersistentStoreMode  # noqa: PLC0415
    except ModuleNotFoundError as error:
        why = f"the package {error.name} is not installed: {how_to_install('notify')}"
        raise SettingsError(why, kind=Kind.PACKAGE_MISSING) from None
    asset = AppriseAsset(
        app_id="signalq",
        app_desc="signalq",
        app_url="",
        image_path_mask=False,
        image_url_mask="",
        # A POST that is redirected becomes a GET, and would count as sent.
        http_redirects=False,
        # Our own thread and time-out.
        async_mode=False,
        service_timeout=0,
        # Nothing is kept on disk, no key is made, and no other variable is read.
        storage_mode=PersistentStoreMode.MEMORY,
        pgp_autogen=False,
        pem_autogen=False,
        allow_templates=False,
    )
    name = f"URL {number} ({url.partition('://')[0].lower()})"
    service = Apprise(asset=asset)
    if not service.add(url):
        raise SettingsError(f"notify.urls: {name} is none that apprise can use: {SERVICES} has the form of each")
    return Service(name, service, _hiding(url))


def _hiding(url: str) -> Callable[[str], str]:
    """Blank every part of the URL in a text, also a plain word: whoever knows an ntfy's topic is let in.

    Its scheme and the names in its query stay: they are no secrets, and words of many sentences.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    values = [pair.partition("=")[2] for pair in re.split("[&;]", query)]
    written = {form for text in (rest, *values) for form in (text, unquote(text))}
    parts = {part for text in written for part in _SEPARATORS.split(text) if len(part) >= PART_CHARACTERS_MIN}
    if not parts:
        return lambda text: text
    any_part = "|".join(map(_pattern, sorted(parts, key=len, reverse=True)))
    return lambda text: re.sub(any_part, MASK, text, flags=re.IGNORECASE)


def _pattern(part: str) -> str:
    """A plain word counts where it stands alone; anything else is a secret anywhere."""
    return rf"(?<!\w){re.escape(part)}(?!\w)" if shown_words(part) == part else re.escape(part)


def _silence() -> None:
    """Let apprise log nothing; the result of each attempt has its words, and the cause of an error."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(one, CausesOnly) for one in logger.filters):
        logger.addFilter(CausesOnly())
