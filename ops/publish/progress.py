"""How far a file was published, on disk: what `signalq publish --resume` goes on from, and what is known to be there.

One small file for each file or batch, broker, prefix and strategy, in the folder `publish` of the state folder. It
names lines that RabbitMQ has confirmed, never others: written behind the confirms, at most WRITE_PERIOD_S late. A run
that is killed in between is resumed a little too early, under the same identities, and the consumer drops what it has
seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from yarl import URL

from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark, MarkedLines
from signalq.secrets.masking import masked
from signalq.settings.private_files import make_private_folder, open_private, state_folder
from signalq.settings.sections import Settings

WRITE_PERIOD_S = 0.1
FORMAT_VERSION = 2
# In the one before, lines had identities of their bytes alone.
FORMAT_OF_BYTES_ALONE = 1
# Of the files that were published longest ago, more than these are forgotten.
FILES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Published:
    """So far a file was published by its last run, whose identities have this `salt`, in hex.

    `known_lines` are those that were ever confirmed under identities without a salt, and have not changed since: a run
    without --again sends them as duplicates. `at` is when the last run began, ISO 8601.
    """

    file: str
    broker: str
    prefix: str
    strategy: str | None
    batch: str | None
    lines: int
    digest: str
    salt: str
    known_lines: int
    known_digest: str
    at: str

    @property
    def mark(self) -> Mark:
        """Where it goes on."""
        return Mark(self.lines, self.digest)

    @property
    def known(self) -> Mark:
        """Up to where a run without --again is of duplicates."""
        return Mark(self.known_lines, self.known_digest)


UNKNOWN = ", so it is not known what of the file was published before"
NO_LINES = Mark(0, MarkedLines([]).mark().digest)


class OfAnEarlierVersion(CommandFailed):
    """The progress was written by a version that made other identities of lines; `mark` is how far it came."""

    def __init__(self, path: Path, mark: Mark) -> None:
        super().__init__(f"{path} was written by an earlier version of signalq")
        self.mark = mark


class Progress:
    """The progress of one file, or of one batch, wherever its lines come from (of a pipe, `file` is `-`).

    `keep` writes it down as it goes on, `write` at once.
    """

    def __init__(
        self, settings: Settings, file: str, *, strategy: str | None, kind: str, batch: str | None = None
    ) -> None:
        self._published = Published(
            file=str(Path(file).resolve()),
            broker=masked(settings.broker.url.get_secret_value()),
            prefix=settings.broker.prefix,
            strategy=strategy,
            batch=batch,
            lines=0,
            digest=NO_LINES.digest,
            salt="",
            known_lines=0,
            known_digest=NO_LINES.digest,
            at="",
        )
        named = "batch" if batch is not None else Path(self._published.file).name[:64]
        self.path = _folder() / f"{named}-{_key(settings, self._published, kind)}.json"
        self._known_holds = True
        self.why_not_kept: str | None = None
        self._changed = asyncio.Event()
        self._written: Published | None = None
        self._writing = threading.Lock()

    def load(self) -> Published | None:
        """What is kept of the runs before; None where nothing is.

        Raises CommandFailed where it can't be read, OfAnEarlierVersion where it does not tell of the same identities.
        """
        try:
            fields = json.loads(self.path.read_text(encoding="utf-8"))
            version = fields.pop("version")
            if version == FORMAT_OF_BYTES_ALONE:
                raise OfAnEarlierVersion(self.path, Mark(int(fields["lines"]), str(fields["digest"])))
            if version != FORMAT_VERSION:
                raise CommandFailed(f"{self.path} was written by another version of signalq{UNKNOWN}")
            # A batch may have come from another file.
            self._published = replace(Published(**fields), file=self._published.file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CommandFailed(
                f"the progress in {self.path} can't be read ({type(error).__name__}){UNKNOWN}"
            ) from None
        return self._published

    def begin(self, salt: bytes, *, known_holds: bool) -> None:
        """Nothing of it is published by this run yet; written down before the first line goes out.

        Where the known lines of the runs before do not hold any more, they are replaced by the first that is confirmed:
        a run of no line at all (an export that failed) leaves them as they are.
        """
        self._published = replace(
            self._published,
            lines=0,
            digest=NO_LINES.digest,
            salt=salt.hex(),
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        self._known_holds = known_holds
        _forget_the_oldest(self.path.parent)
        self.write()

    def reached(self, mark: Mark) -> None:
        """Everything up to here is confirmed."""
        self._published = replace(self._published, lines=mark.lines, digest=mark.digest)
        if not self._published.salt and (mark.lines > self._published.known_lines or not self._known_holds):
            self._published = replace(self._published, known_lines=mark.lines, known_digest=mark.digest)
            self._known_holds = True
        self._changed.set()

    async def keep(self) -> None:
        """For as long as it runs, write down what has changed; what can't be written does not stop the publishing."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.to_thread(self.write)
            await asyncio.sleep(WRITE_PERIOD_S)

    def write(self) -> None:
        """Replace the file as a whole, on disk when this returns; `why_not_kept` says what was in the way.

        One at a time, each with what holds then: the one of `keep` may still be at it when the last one comes.
        """
        with self._writing:
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
    # Where its lines come from is no part of a batch.
    source = [published.file] if published.batch is None else ["", published.batch]
    named = [broker, published.prefix, published.strategy or "", kind, *source]
    return hashlib.blake2b("\0".join(named).encode(), digest_size=8).hexdigest()


def _replace(path: Path, text: str) -> None:
    make_private_folder(path.parent)
    beside = path.with_suffix(f".{os.getpid()}")
    with open_private(beside) as file:
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
