"""Settings that change while the consumer runs: by SIGHUP, or because a file that they were read from has changed.

Connectors and strategies, with their limits and tokens, are applied. What takes a restart stays as it is, and is named.
A file that can't be taken as a whole is refused, and the settings before it stay.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from consumer.settings import (
    NAMED_SECTIONS,
    SECTIONS,
    Connector,
    Section,
    Settings,
    digest_of_file,
    is_read_once,
    noting_files,
)
from signalq.errors import SettingsError

LOOK_PERIOD_S = 1.0
# A change is taken once the files have stood still for this long: half a file can be valid, with connectors missing.
STILL_S = 0.25
NAMED_MAX = 10

log = structlog.get_logger()


class CurrentSettings:
    """The settings that hold now. A change is another object: whoever kept one sees whether it still holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from new settings: those that hold then, the keys that changed, and those that take a restart."""

    settings: Settings
    keys: tuple[str, ...]
    need_restart: tuple[str, ...]


def change(now: Settings, wanted: Settings) -> Change:
    """What becomes of the settings that hold now. Raises SettingsError where a connector would change its lane."""
    _refuse_other_lanes(now, wanted)
    connectors = {name: _without_restart(now, name, connector) for name, connector in wanted.connectors.items()}
    applied = now.model_copy(update={"connectors": connectors, "strategies": wanted.strategies})
    keys = tuple(key for section in NAMED_SECTIONS for key in _changed(section, now, applied))
    need_restart = [
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        if section not in NAMED_SECTIONS
        for name in _differing(model, getattr(now, section), getattr(wanted, section))
    ]
    need_restart += [
        f"connectors.{name}.concurrency"
        for name, connector in wanted.connectors.items()
        if connector.concurrency != connectors[name].concurrency
    ]
    return Change(applied if keys else now, keys, tuple(need_restart))


def _without_restart(now: Settings, name: str, wanted: Connector) -> Connector:
    """As wanted, but for what is made once, at start."""
    return wanted.model_copy(update={"concurrency": now.connector(name).concurrency})


def _changed(section: str, now: Settings, applied: Settings) -> Iterator[str]:
    """The keys of a section with a table for each name; a table that came or went is one key."""
    before, after = getattr(now, section), getattr(applied, section)
    for name in {**before, **after}:
        if name in before and name in after:
            yield from (f"{section}.{name}.{key}" for key in _differing(SECTIONS[section], before[name], after[name]))
        else:
            yield f"{section}.{name}"


def _differing(model: type[Section], one: Section, other: Section) -> list[str]:
    return [name for name in model.model_fields if getattr(one, name) != getattr(other, name)]


def _refuse_other_lanes(now: Settings, wanted: Settings) -> None:
    """Moving between lanes takes a restart: what waits in the old one has to be read empty."""
    problems = []
    for name in {**now.connectors, **wanted.connectors}:
        before, after = now.connector(name), wanted.connector(name)
        if (before.lane, before.ordering) == (after.lane, after.ordering):
            continue
        if name not in now.connectors:
            problems.append(f'connectors.{name} is new, and would get a lane of its own: give it lane = "shared"')
        elif name not in wanted.connectors:
            problems.append(f"connectors.{name} is gone, and has a lane of its own: name it")
        else:
            key = "lane" if before.lane != after.lane else "ordering"
            problems.append(f"connectors.{name}.{key} has changed: take that back")
    if problems:
        rest = f"; and {len(problems) - NAMED_MAX} more" if len(problems) > NAMED_MAX else ""
        raise SettingsError("; ".join(problems[:NAMED_MAX]) + rest + "; or restart the consumer, which moves lanes")


class Reloader:
    """Looks at the files about once a second, and at once when asked; `load` and what it reads run in a thread.

    `on_change` is told of settings before they hold: logs must know their tokens, and metrics their names.
    """

    def __init__(
        self,
        current: CurrentSettings,
        *,
        file: Path | None,
        load: Callable[[], Settings],
        on_change: Callable[[Settings], None],
    ) -> None:
        self._current = current
        self._read_once = file is not None and is_read_once(file)
        self._load = load
        self._on_change = on_change
        self._asked = asyncio.Event()
        # What was read last time, by content: a mounted file is swapped by a symlink, and may be dated as before. None
        # until the first look, which so finds what has changed since the start.
        self._seen: Mapping[Path, bytes | None] | None = None

    def ask(self) -> None:
        """SIGHUP: look at once, and say what came of it."""
        self._asked.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look from here to the end of the block; SIGHUP asks for it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.ask)
        looking = asyncio.create_task(self.run(), name="reload")
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it must not end what is closing
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def run(self) -> None:
        """Look, until canceled."""
        while True:
            asked = self._asked.is_set()
            self._asked.clear()
            await self._look(asked=asked)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_PERIOD_S)

    async def _look(self, *, asked: bool) -> None:
        if self._read_once:
            if asked:
                log.info("settings.unchanged", why="the settings came through a pipe, which can't be read again")
            return
        is_first = self._seen is None
        if not asked and not is_first and not await self._has_changed():
            return
        wanted, why_not, self._seen = await asyncio.to_thread(self._read)
        if not self._seen:
            if asked:
                log.info("settings.unchanged", why="there is no settings file, and no file of a token, to read again")
        elif wanted is None:
            self._refuse(why_not)
        else:
            self._take(wanted, asked=asked or not is_first)

    async def _has_changed(self) -> bool:
        """Whether the files are others than were read, and have stood still."""
        found = await asyncio.to_thread(self._digests)
        if found == self._seen:
            return False
        await asyncio.sleep(STILL_S)
        return await asyncio.to_thread(self._digests) == found

    def _digests(self) -> dict[Path, bytes | None]:
        return {path: digest_of_file(path) for path in self._seen or ()}

    def _read(self) -> tuple[Settings | None, str, Mapping[Path, bytes | None]]:
        """The settings as they are in the files, or why they can't be taken; and the files that were read."""
        with noting_files() as files:
            try:
                return self._load(), "", files
            except SettingsError as error:
                return None, str(error), files
            except Exception as error:  # noqa: BLE001 - whatever stands in a file must not end the consumer
                return None, f"the settings can't be read ({type(error).__name__})", files

    def _take(self, wanted: Settings, *, asked: bool) -> None:
        """Apply what can be, and say so; `asked`: also if nothing is new."""
        try:
            found = change(self._current.settings, wanted)
        except SettingsError as error:
            self._refuse(str(error))
            return
        if found.keys:
            self._on_change(found.settings)
            self._current.settings = found.settings
            log.info("settings.reloaded", keys=", ".join(found.keys))
        if found.need_restart:
            log.warning("settings.need_restart", keys=", ".join(found.need_restart))
        if asked and not found.keys and not found.need_restart:
            log.info("settings.unchanged", why="the settings are those that hold already")

    def _refuse(self, why: str) -> None:
        """Those that hold stay; it is looked at again when it has changed again."""
        log.error("settings.refused", why=why)
