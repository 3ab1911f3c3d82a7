"""How far a file was published, on disk: what `signalq publish --resume` goes on from.

One small file for each file, broker, prefix and strategy, in the folder `publish` of the state folder. It names lines
that RabbitMQ has confirmed, never others: written behind the confirms, at most WRITE_PERIOD_S late. A run that is
killed in between is resumed a little too early, under the same identities, and the consumer drops what it has seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from yarl import URL

from consumer.private import make_private_file, make_private_folder
from consumer.settings import Settings, state_folder
from ops.errors import CommandFailed
from producers.files.marks import Mark
from signalq.amqp.connection import masked

WRITE_PERIOD_S = 0.1
FORMAT_VERSION = 1
# Of the files that were published longest ago, more than these are forgotten.
FILES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Published:
    """So far a file was published; `salt` is that of its lines' identities, in hex."""

    file: str
    broker: str
    prefix: str
    strategy: str | None
    lines: int
    digest: str
    salt: str

    @property
    def mark(self) -> Mark:
        """Where it goes on."""
        return Mark(self.lines, self.digest)


class Progress:
    """The progress of one file; `keep` writes it down as it goes on, `write` at once."""

    def __init__(self, settings: Settings, file: str, *, strategy: str | None, kind: str) -> None:
        broker = masked(settings.broker.url.get_secret_value())
        self._published = Published(
            str(Path(file).resolve()), broker, settings.broker.prefix, strategy, 0, Mark(0, "").digest, ""
        )
        self.path = _folder() / f"{Path(file).name[:64]}-{_key(settings, self._published, kind)}.json"
        self.why_not_kept: str | None = None
        self._changed = asyncio.Event()
        self._written: Published | None = None

    def load(self) -> Published:
        """How far it came. Raises CommandFailed where that is not known."""
        try:
            fields = json.loads(self.path.read_text(encoding="utf-8"))
            if fields.pop("version") != FORMAT_VERSION:
                raise CommandFailed(f"{self.path} was written by another version of signalq: publish without --resume")
            self._published = Published(**fields)
        except FileNotFoundError:
            raise CommandFailed(
                f"there is nothing to resume: no progress of this file, with this broker, prefix and strategy, is kept "
                f"in {self.path.parent}; publish it without --resume"
            ) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CommandFailed(
                f"the progress in {self.path} can't be read ({type(error).__name__}): publish without --resume"
            ) from None
        return self._published

    def begin(self, salt: bytes) -> None:
        """Nothing of it is published yet; written down before the first line goes out."""
        self._published = replace(self._published, salt=salt.hex())
        _forget_the_oldest(self.path.parent)
        self.write()

    def reached(self, mark: Mark) -> None:
        """Everything up to here is confirmed."""
        self._published = replace(self._published, lines=mark.lines, digest=mark.digest)
        self._changed.set()

    async def keep(self) -> None:
        """For as long as it runs, write down what has changed; what can't be written does not stop the publishing."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.to_thread(self.write)
            await asyncio.sleep(WRITE_PERIOD_S)

    def write(self) -> None:
        """Replace the file as a whole, on disk when this returns; `why_not_kept` says what was in the way."""
        published = self._published
        if published == self._written:
            return
        try:
            _replace(self.path, json.dumps({"version": FORMAT_VERSION} | asdict(published)) + "\n")
        except OSError as error:
            self.why_not_kept = f"{self.path} can't be written ({type(error).__name__})"
        else:
            self.why_not_kept, self._written = None, published


def _folder() -> Path:
    return state_folder() / "publish"


def _key(settings: Settings, published: Published, kind: str) -> str:
    url = URL(settings.broker.url.get_secret_value())
    broker = f"{url.host}:{url.port}{url.path}"
    named = [broker, published.prefix, published.strategy or "", kind, published.file]
    return hashlib.blake2b("\0".join(named).encode(), digest_size=8).hexdigest()


def _replace(path: Path, text: str) -> None:
    make_private_folder(path.parent)
    beside = path.with_suffix(f".{os.getpid()}")
    make_private_file(beside)
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _forget_the_oldest(folder: Path) -> None:
    with suppress(OSError):
        kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[FILES_MAX - 1 :]:
            path.unlink()
