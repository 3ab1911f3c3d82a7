"""The progress of a file on disk, from which `signalq publish --resume` goes on.

One small file for each file or batch, broker, prefix and strategy, in the folder `publish` of the state folder. It
counts only lines that RabbitMQ has confirmed: it is written after the confirms, at most WRITE_PERIOD_S late. A run that
is killed in between is resumed a little too early, under the same identities, and the consumer drops the duplicates.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from yarl import URL

from signalq.causes import plain_words
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark, MarkedLines
from signalq.secrets.masking import masked
from signalq.settings.private_files import make_private_folder, replace_private, state_folder
from signalq.settings.sections import Settings

WRITE_PERIOD_S = 0.1
FORMAT_VERSION = 2
# In that version, a line's identity was made of its bytes alone.
FORMAT_OF_BYTES_ALONE = 1
# With more files, those that were published longest ago are forgotten.
FILES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """The progress of the last run over a file, whose identities have this `salt`, in hex.

    The first `known_lines` were once confirmed under identities without a salt, and have not changed since: a run
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
        """The lines that the last run saw confirmed: --resume goes on behind them."""
        return Mark(self.lines, self.digest)

    @property
    def known(self) -> Mark:
        """The lines that are duplicates in a run without --again."""
        return Mark(self.known_lines, self.known_digest)


UNKNOWN = ", so it is not known what of the file was published before"
NO_LINES = Mark(0, MarkedLines([]).mark().digest)


class OfAnEarlierVersion(CommandFailed):
    """An earlier version wrote the progress, which made other identities of lines; `mark` is how far it came."""

    def __init__(self, path: Path, mark: Mark) -> None:
        super().__init__(f"{path} was written by an earlier version of signalq")
        self.mark = mark


class Progress:
    """The progress of one file, or of one batch, wherever its lines come from (for a pipe, `file` is `-`).

    Within `kept` it is written to disk while the run goes on; `write` does so at once.
    """

    def __init__(
        self, settings: Settings, file: str, *, strategy: str | None, kind: str, batch: str | None = None
    ) -> None:
        self._record = ProgressRecord(
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
        named = "batch" if batch is not None else Path(self._record.file).name[:64]
        self.path = state_folder() / "publish" / f"{named}-{_key(settings, self._record, kind)}.json"
        self._known_holds = True
        self.why_not_kept: str | None = None
        self._changed = asyncio.Event()
        self._written: ProgressRecord | None = None
        self._writing = threading.Lock()

    def load(self) -> ProgressRecord | None:
        """The record of earlier runs; None if there is none.

        Raises CommandFailed if it can't be read, OfAnEarlierVersion if it is about other identities.
        """
        try:
            fields = json.loads(self.path.read_text(encoding="utf-8"))
            version = fields.pop("version")
            if version == FORMAT_OF_BYTES_ALONE:
                raise OfAnEarlierVersion(self.path, Mark(int(fields["lines"]), str(fields["digest"])))
            if version != FORMAT_VERSION:
                raise CommandFailed(f"{self.path} was written by another version of signalq{UNKNOWN}")
            # A batch may have come from another file.
            self._record = replace(ProgressRecord(**fields), file=self._record.file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CommandFailed(f"the progress in {self.path} can't be read ({plain_words(error)}){UNKNOWN}") from None
        return self._record

    def begin(self, salt: bytes, *, known_holds: bool) -> None:
        """Begin a run; this is on disk before the first line goes out.

        If the known lines of earlier runs have changed (not `known_holds`), the first line that is confirmed replaces
        them: a run of no line at all (an export that failed) leaves them as they are.
        """
        self._record = replace(
            self._record,
            lines=0,
            digest=NO_LINES.digest,
            salt=salt.hex(),
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )
        self._known_holds = known_holds
        _forget_the_oldest(self.path.parent)
        self.write()

    def reached(self, mark: Mark) -> None:
        """Note that every line up to the mark is confirmed."""
        self._record = replace(self._record, lines=mark.lines, digest=mark.digest)
        if not self._record.salt and (mark.lines > self._record.known_lines or not self._known_holds):
            self._record = replace(self._record, known_lines=mark.lines, known_digest=mark.digest)
            self._known_holds = True
        self._changed.set()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write each change to disk, and the last one at the end; a write that fails does not stop the publishing."""
        keeping = asyncio.create_task(self._keep(), name="progress")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            self.write()

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.to_thread(self.write)
            await asyncio.sleep(WRITE_PERIOD_S)

    def write(self) -> None:
        """Replace the file as a whole; it is on disk when this returns, or `why_not_kept` says why not.

        A lock lets one write run at a time, each with the newest record: that of `_keep` may still run at the end.
        """
        with self._writing:
            record = self._record
            if record == self._written:
                return
            try:
                make_private_folder(self.path.parent)
                replace_private(self.path, json.dumps({"version": FORMAT_VERSION} | asdict(record)) + "\n")
            except OSError as error:
                self.why_not_kept = f"{self.path} can't be written ({plain_words(error)})"
            else:
                self.why_not_kept, self._written = None, record


def _key(settings: Settings, record: ProgressRecord, kind: str) -> str:
    url = URL(settings.broker.url.get_secret_value())
    broker = f"{url.host}:{url.port}{url.path}"
    # Where its lines come from is no part of a batch.
    source = [record.file] if record.batch is None else ["", record.batch]
    named = [broker, record.prefix, record.strategy or "", kind, *source]
    return hashlib.blake2b("\0".join(named).encode(), digest_size=8).hexdigest()


def _forget_the_oldest(folder: Path) -> None:
    with suppress(OSError):
        kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[FILES_MAX - 1 :]:
            path.unlink()
