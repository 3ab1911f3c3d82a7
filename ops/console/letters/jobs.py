"""Jobs: verdicts, replays, discards and looks into the queue, which go on when the tab is closed; one at a time.

The queue has one reader. So a second job waits in line, and one that finds a command at the queue waits for that, as
a command would. Results are kept as long as the process lives, on disk if they are many; the audit knows the rest.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.queries import audit
from signalq.errors import SignalQError
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.letters.job import Asked, Job
from signalq.ops.console.letters.job_work import carry_out
from signalq.ops.ledger import open_ledger
from signalq.settings.sections import Settings

# The latest ones are kept, and fewer where their results are many.
JOBS_MAX = 20
ROWS_MAX = 200_000
# So many may wait, or be at work: who asks again and again is told.
LINE_MAX = 8
# The end of a job that is told to end: the batch in hand, and the letters back in their order.
CLOSE_TIMEOUT_S = 15.0
RUN_BYTES = 3

log = structlog.get_logger()


class Jobs:
    """The jobs of this console, the latest JOBS_MAX of them; `on_change` is called as they go on."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        # A number alone would name another job after a restart, or in the console beside this one.
        self._run_id = secrets.token_hex(RUN_BYTES)
        self._count = 0
        self._jobs: list[Job] = []
        self._turn = asyncio.Lock()
        self._is_closing = False
        self.on_change: Callable[[], None] = lambda: None

    def ask(self, asked: Asked) -> Job:
        """Put a request in line, and return its job. Raises Refused where too many wait."""
        waiting = len(self.under_way())
        if waiting >= LINE_MAX:
            raise Refused(f"{waiting} jobs wait already: look at /jobs, and ask again when one is done", 429)
        self._count += 1
        job = Job(f"{self._run_id}-{self._count}", self._count, asked, self.on_change)
        self._jobs.append(job)
        job.task = asyncio.create_task(self._run(job), name=f"console job {job.key}")
        self._forget()
        self.on_change()
        return job

    def find(self, key: str) -> Job | None:
        """The job of a key; None where this process knows none."""
        return next((job for job in self._jobs if job.key == key), None)

    def latest(self) -> list[Job]:
        """All that are known, the newest first."""
        return self._jobs[::-1]

    def under_way(self) -> list[Job]:
        """The jobs that run or wait, in their order."""
        return [job for job in self._jobs if not job.is_over]

    def ahead_of(self, job: Job) -> Job | None:
        """The job that one waits for: the one that is just ahead of it in line."""
        before = [one for one in self.under_way() if one.number < job.number]
        return before[-1] if before and job.state == "waiting" else None

    def cancel(self, job: Job, actor: Actor) -> None:
        """Stop a job: the batch in hand is finished, and the rest stays where it is."""
        if job.task is not None and not job.is_over and job.canceled_by is None:
            job.canceled_by = actor.name
            # Once alone: a second time would not wait for the batch.
            job.task.cancel()
            self.on_change()

    async def close(self) -> None:
        """Tell those that run to end, wait for them, and forget all results."""
        self._is_closing = True
        running = [job for job in self.under_way() if job.task is not None]
        for job in running:
            if job.canceled_by is None and job.task is not None:
                job.task.cancel()
        if running:
            await asyncio.wait([job.task for job in running if job.task is not None], timeout=CLOSE_TIMEOUT_S)
        for job in self._jobs:
            if not job.is_over:  # not begun, or not done in time
                job.end("interrupted")
            job.rows.close()

    async def _run(self, job: Job) -> None:
        try:
            async with self._turn:
                job.begin()
                await carry_out(job, self._settings())
        except asyncio.CancelledError:
            job.end("interrupted" if self._is_closing else "canceled")
            raise
        except SignalQError as error:
            job.end("failed", str(error))
        except Exception:
            number = secrets.token_hex(4)
            log.exception("console.job_failed", number=number, job=job.key)
            job.end("failed", f"the console failed at this: see its log for {number}")
        else:
            job.end("done")
        finally:
            await self._note_end(job)

    async def _note_end(self, job: Job) -> None:
        """Note in the audit that it has ended; of one that was broken off, nothing says so."""
        if job.audited is None or job.state == "interrupted":
            return
        with suppress(SignalQError):
            async with open_ledger(self._settings()) as ledger:
                await ledger.transact(partial(audit.end, number=job.audited))

    def _forget(self) -> None:
        """Forget the oldest jobs that are over, where they are too many or their results are."""
        while len(self._jobs) > JOBS_MAX or sum(len(job.rows) for job in self._jobs) > ROWS_MAX:
            oldest = next((job for job in self._jobs if job.is_over), None)
            if oldest is None:
                return
            self._jobs.remove(oldest)
            oldest.rows.close()
