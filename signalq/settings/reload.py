"""Settings that change while a process runs: on SIGHUP, or because a file that they were read from has changed.

Connectors and strategies, with their limits and tokens, are applied. A setting that takes a restart stays as it is, and
is named. A broken file is refused whole, and the former settings stay.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from signalq.errors import SettingsError
from signalq.settings.base import Section
from signalq.settings.config_file import found_file
from signalq.settings.environment import told
from signalq.settings.named import Connector
from signalq.settings.noted_files import digest_of_file, is_read_once, noting_files
from signalq.settings.sections import NAMED_SECTIONS, SECTIONS, Settings

LOOK_PERIOD_S = 1.0
# A change is taken once the files have stood still for so long: half a file can be valid, with connectors missing.
STILL_S = 0.25
NAMED_MAX = 10

log = structlog.get_logger()


def log_found_file(config: Path | None) -> None:
    """Log the settings file of the working folder, if nobody named one: not `config`, and not the environment."""
    file = found_file(config)
    if file is not None:
        log.info("settings.found", file=str(file))


def warn_of_environment(before: Settings, after: Settings) -> None:
    """Log where orders go, if these settings lead them elsewhere. For the process that sends them."""
    environments = after.environments()
    if environments != before.environments():
        log.warning("environment.changed", environment=told(environments))


class CurrentSettings:
    """The settings that hold now. A change brings another object, so a kept one tells whether it still holds."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """`settings` hold from now on, `keys` changed, `need_restart` changed in vain; `refused` has a sentence a lane."""

    settings: Settings
    keys: tuple[str, ...]
    need_restart: tuple[str, ...]
    refused: tuple[str, ...]


def change(now: Settings, wanted: Settings) -> SettingsChange:
    """The effect of the wanted settings on those that hold now.

    Raises SettingsError where the new settings, without those that take a restart, do not go together.
    """
    lanes = [(name, why) for name in {**wanted.connectors, **now.connectors} for why in _other_lane(now, wanted, name)]
    applied = now.with_names(_connectors(now, wanted), wanted.strategies)
    keys = tuple(key for section in NAMED_SECTIONS for key in _changed(section, now, applied))
    need_restart = [
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        if section not in NAMED_SECTIONS
        for name in _differing(model, getattr(now, section), getattr(wanted, section))
    ]
    refused = {name for name, _ in lanes}
    need_restart += [
        f"connectors.{name}.concurrency"
        for name, connector in wanted.connectors.items()
        if name not in refused and connector.concurrency != applied.connectors[name].concurrency
    ]
    return SettingsChange(applied if keys else now, keys, tuple(need_restart), tuple(why for _, why in lanes))


def _connectors(now: Settings, wanted: Settings) -> dict[str, Connector]:
    """The wanted connectors, in the lanes of now: lanes are made at the start, and an old one has to be read empty."""
    kept = {name: one for name, one in now.connectors.items() if name not in wanted.connectors and one.lane == "own"}
    known = {name: one for name, one in wanted.connectors.items() if name in now.connectors or one.lane == "shared"}
    return kept | {name: _in_its_lane(now.connector(name), one) for name, one in known.items()}


def _in_its_lane(before: Connector, wanted: Connector) -> Connector:
    return wanted.model_copy(update={key: getattr(before, key) for key in ("lane", "ordering", "concurrency")})


def _other_lane(now: Settings, wanted: Settings, name: str) -> Iterator[str]:
    """Why the wanted lane of this connector is refused, and which holds instead."""
    before, after = now.connector(name), wanted.connector(name)
    if name not in now.connectors and after.lane == "own":
        yield (
            f"connectors.{name} is new, with a lane of its own, and is not known until the consumer is restarted: "
            'restart it, or give the connector lane = "shared"'
        )
    elif name not in wanted.connectors and before.lane == "own":
        yield f"connectors.{name} is gone, and stays as it was until the consumer is restarted: its lane is of its own"
    elif name in now.connectors and name in wanted.connectors:
        for key in ("lane", "ordering"):
            old, new = getattr(before, key), getattr(after, key)
            if old != new:
                yield f'connectors.{name}.{key} stays "{old}" until the consumer is restarted: do, or take it back'


def _changed(section: str, now: Settings, applied: Settings) -> Iterator[str]:
    """The keys that differ in a section with a table for each name; a table that came or went is one key."""
    before, after = getattr(now, section), getattr(applied, section)
    for name in {**before, **after}:
        if name in before and name in after:
            yield from (f"{section}.{name}.{key}" for key in _differing(SECTIONS[section], before[name], after[name]))
        else:
            yield f"{section}.{name}"


def _differing(model: type[Section], one: Section, other: Section) -> list[str]:
    return [name for name in model.model_fields if getattr(one, name) != getattr(other, name)]


class Reloader:
    """Looks at the files about once a second, and at once when asked; `load` runs in a thread.

    `on_change` is called with settings before they hold: logs must know their tokens, and metrics their names.
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
        # The files of the last look, by content: a mounted file is swapped by a symlink, and may be dated as before.
        # None until the first look, which so finds changes since the start.
        self._seen: Mapping[Path, bytes | None] | None = None

    def ask(self) -> None:
        """Look at once, on SIGHUP, and log the result."""
        self._asked.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look from here to the end of the block, and at once on SIGHUP."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.ask)
        looking = asyncio.create_task(self.run(), name="reload")
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # an error here must not end a process that is closing
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
        found, why_not, self._seen = await asyncio.to_thread(self._read)
        if not self._seen:
            if asked:
                log.info("settings.unchanged", why="there is no settings file, and no file of a token, to read again")
        elif found is None:
            log.error("settings.refused", why=why_not)
        else:
            self._take(found, asked=asked or not is_first)

    async def _has_changed(self) -> bool:
        """Whether the files have changed since the last look, and stand still."""
        found = await asyncio.to_thread(self._digests)
        if found == self._seen:
            return False
        await asyncio.sleep(STILL_S)
        return await asyncio.to_thread(self._digests) == found

    def _digests(self) -> dict[Path, bytes | None]:
        return {path: digest_of_file(path) for path in self._seen or ()}

    def _read(self) -> tuple[SettingsChange | None, str, Mapping[Path, bytes | None]]:
        """The effect of the files' settings, or why they can't be taken; and the files that were read."""
        with noting_files() as files:
            try:
                return change(self._current.settings, self._load()), "", files
            except SettingsError as error:
                return None, str(error), files
            except Exception as error:  # noqa: BLE001 - whatever stands in a file must not end the consumer
                return None, f"the settings can't be read ({type(error).__name__})", files

    def _take(self, found: SettingsChange, *, asked: bool) -> None:
        """Apply the settings that can be applied, and log them; where `asked`, also that nothing is new."""
        if found.keys:
            self._on_change(found.settings)
            self._current.settings = found.settings
            log.info("settings.reloaded", keys=", ".join(found.keys))
        if found.refused:
            log.error("settings.refused", why=_sentence(found.refused))
        if found.need_restart:
            log.warning("settings.need_restart", keys=", ".join(found.need_restart))
        if asked and not found.keys and not found.need_restart and not found.refused:
            log.info("settings.unchanged", why="the settings are those that hold already")


def _sentence(refused: tuple[str, ...]) -> str:
    more = len(refused) - NAMED_MAX
    return "; ".join([*refused[:NAMED_MAX], *([f"and {more} more"] if more > 0 else [])]) + "; the rest of it holds"
