"""Jobs: the latest ones, and each on a page of its own that stays: how far it is, and the result of each letter."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from signalq.consumer.ledger.queries import audit, replays
from signalq.consumer.ledger.queries.audit import Audited
from signalq.consumer.ledger.queries.replays import Standing
from signalq.errors import SignalQError
from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.query import many, number, text
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.letters.job import MARK, Asked, Chosen, Job, JobKind
from signalq.ops.console.letters.tally import Line
from signalq.ops.console.pages.dead import warnings, why_not
from signalq.ops.console.pages.letter_acts import go_to_job
from signalq.ops.console.view import View
from signalq.ops.dead_letters.rules import without_option
from signalq.ops.terminal.order_columns import order_text
from signalq.ops.terminal.plain import Row, json_line

ROWS_MAX = 100
DOWNLOAD_ROWS = 500
# Above this a discard is confirmed by typing its number.
TYPED_FROM = 20
LOST_MAX = 20
ENDING = ".jsonl"
KEY = re.compile(r"[0-9a-f]{1,16}-[0-9]{1,9}")
# Of a line, and of a row.
NUMBER_MAX = 10**9
READERS = {"line": number(0, NUMBER_MAX), "from": number(0, NUMBER_MAX)}


async def jobs(view: View) -> web.StreamResponse:
    """The page."""
    view.query()
    return view.page("jobs.html", **await _jobs_context(view))


async def jobs_part(view: View) -> web.StreamResponse:
    """The list, as it changes."""
    view.query()
    return view.part("parts/jobs.html", **await _jobs_context(view))


async def job(view: View) -> web.StreamResponse:
    """The page of one job; or its results as JSON lines, where the address ends so."""
    if view.parts["job"].endswith(ENDING):
        return await download(view)
    given = view.query(**READERS)
    found = view.desk.jobs.find(view.parts["job"])
    if found is None:
        return await _lost(view)
    return view.page("job.html", **await _job_context(view, found, given))


async def job_part(view: View) -> web.StreamResponse:
    """The job as it goes on, and what becomes of its letters."""
    given = view.query(**READERS)
    return view.part("parts/job.html", **await _job_context(view, _known(view), given))


async def download(view: View) -> web.StreamResponse:
    """Every result as a line of JSON, as the command has it."""
    view.query()
    found = view.desk.jobs.find(view.parts["job"].removesuffix(ENDING))
    if found is None or found.asked.kind in {"letter", "queue"}:
        raise NotFound("there are no results of such a job here: they are kept as long as the console lives")
    headers = {"Content-Disposition": f'attachment; filename="signalq-job-{found.key}{ENDING}"'}
    return web.Response(body=_lines(found), content_type="application/jsonl", charset="utf-8", headers=headers)


async def _lines(found: Job) -> AsyncIterator[bytes]:
    """The results as lines of JSON, some at a time: between them the loop is free for others."""
    for at in range(0, len(found.rows), DOWNLOAD_ROWS):
        rows = _rows(found, range(at, min(at + DOWNLOAD_ROWS, len(found.rows))))
        lines = [json_line({name: value for name, value in row.items() if name != MARK}) for row in rows]
        yield "".join(f"{line}\n" for line in lines).encode()


async def act(view: View) -> web.StreamResponse:
    """Do what a verdict has judged: to exactly these letters, and to those of the doubtful ones that are ticked."""
    actor = view.actor()
    verdict = _known(view)
    action = view.path.rpartition("/")[2]
    given = await view.form(line=many(number(0, NUMBER_MAX)), confirm=text)
    if verdict.asked.kind != "verdict" or verdict.asked.action != action or verdict.state != "done":
        raise Refused(f"only a verdict on a {action} that is done can be acted on")
    if (followed := view.desk.jobs.find(verdict.followed_by or "")) is not None:
        return go_to_job(view, followed)
    ticked = [line for line in verdict.tally.of("doubt") if line.number in given["line"]]
    needed = number_to_type(verdict, ticked)
    if needed is not None and digits_of(given["confirm"]) != str(needed):
        context = await _job_context(view, verdict, dict.fromkeys(READERS))
        return view.page("job.html", status=400, **context | {"wrong": needed})
    forced = b"".join(bytes(line.marks) for line in ticked)
    marks = b"".join(bytes(line.marks) for line in verdict.tally.lines if line.fate in {"done", "already"}) + forced
    if not marks:
        raise Refused("none of these letters would go: tick those that you want all the same")
    chosen = Chosen(marks, verdict.asked.chosen.about)
    asked = Asked(verdict.asked.action, actor, chosen, verdict.asked.action, forced, follows=verdict.key)
    begun = view.desk.jobs.ask(asked)
    verdict.followed_by = begun.key
    return go_to_job(view, begun)


def number_to_type(verdict: Job, ticked: Sequence[Line]) -> int | None:
    """The number that a person has to type: of those that are forced, or of many that are thrown away for good."""
    forced = sum(line.count for line in ticked)
    if verdict.asked.action == "replay":
        return forced or None
    total = verdict.tally.count("done") + forced
    return total if forced or total > TYPED_FROM else None


def digits_of(typed: str | None) -> str:
    """The number that was typed, however it was grouped."""
    return re.sub(r"[\s,.'_]", "", typed or "")


async def again(view: View) -> web.StreamResponse:
    """Ask the same once more; of a replay or a discard, its verdict on the letters that are still there."""
    actor = view.actor()
    before = _known(view)
    await view.form()
    asked = before.asked
    kind: JobKind = "verdict" if asked.chosen.count else asked.kind
    if not before.is_over:
        raise Refused("this job is not done yet")
    repeated = Asked(kind, actor, asked.chosen, asked.action, intent_id=asked.intent_id, follows=before.key)
    return go_to_job(view, view.desk.jobs.ask(repeated))


async def cancel(view: View) -> web.StreamResponse:
    """Stop a job after the batch in hand."""
    actor = view.actor()
    await view.form()
    found = _known(view)
    view.desk.jobs.cancel(found, actor)
    return go_to_job(view, found)


def _known(view: View) -> Job:
    found = view.desk.jobs.find(view.parts["job"])
    if found is None:
        raise NotFound("this console knows no such job: it keeps the latest ones, as long as it lives")
    return found


@dataclass(frozen=True, slots=True)
class Became:
    """The fate of a letter's intent since then, by the ledger: its generation, status, reason and ending now."""

    generation: int
    status: str
    reason: str | None
    ended_ms: int | None


def became(row: Row, standing: Standing | None) -> Became | None:
    """The state that a replay has led to; None where it has led to nothing, or nobody knows."""
    generation = row["generation"]
    if standing is None or not isinstance(generation, int) or standing.generation <= generation:
        return None
    # An intent whose letter is not confirmed yet goes on by itself, as one that is tried again.
    status = "retrying" if standing.status == "dying" else standing.status
    return Became(standing.generation, status, standing.reason, standing.ended_ms)


@dataclass(frozen=True, slots=True)
class Result:
    """A row of the results: its order in words, why, and what has become of its intent since."""

    row: Row
    order: str | None
    why: str | None
    since: Became | None


def _shown(row: Row, since: Mapping[str, Standing]) -> Result:
    why = row["why"]
    standing = since.get(str(row[MARK]))
    return Result(row, order_text(row), without_option(why) if isinstance(why, str) else None, became(row, standing))


async def _job_context(view: View, found: Job, given: Mapping[str, Any]) -> dict[str, Any]:
    line = found.tally.line(given["line"])
    places: Sequence[int] = range(len(found.rows)) if line is None else line.rows
    start = given["from"] or 0
    rows = _rows(found, places[start : start + ROWS_MAX])
    since = await _since(view, rows) if found.asked.kind == "replay" else {}
    return {
        "job": found,
        "ahead": view.desk.jobs.ahead_of(found),
        "followed": view.desk.jobs.find(found.followed_by or ""),
        "line": line,
        "rows": [_shown(row, since) for row in rows] if found.tally.lines else [],
        "letters": rows if found.asked.kind == "letter" else [],
        "start": start,
        "total": len(places),
        "rows_max": ROWS_MAX,
        "why_not": why_not(view.snapshot),
        "switched": warnings(view.snapshot.switch, found.tally.opens),
        "typed_from": TYPED_FROM,
        "queue": view.desk.names.dead,
        "wrong": None,
    }


def _rows(found: Job, places: Sequence[int]) -> list[Row]:
    return list(found.rows.in_order(places))


async def _since(view: View, rows: Sequence[Row]) -> Mapping[str, Standing]:
    """How the intents of these rows stand, by the row's mark; of none where the ledger is away."""
    marks = [bytes.fromhex(str(row[MARK])) for row in rows]
    try:
        found = await view.desk.ledger.read(partial(replays.of_letters, marks=marks))
    except SignalQError:
        return {}
    return {mark.hex(): standing for mark, standing in found.items()}


@dataclass(frozen=True, slots=True)
class Lost:
    """A job of another console, or of one that has ended: its key, and its row of the audit."""

    key: str
    audited: Audited
    about: Mapping[str, Any]

    @property
    def chosen(self) -> int | None:
        """How many letters were chosen."""
        chosen = self.about.get("chosen")
        return chosen if isinstance(chosen, int) else None

    @property
    def has_ended(self) -> bool:
        """Whether it came to its end; else it was broken off, or is at work elsewhere."""
        return bool(self.about.get("ended"))


def lost(row: Audited) -> Lost:
    """The job by its row of the audit."""
    about = json.loads(row.about)
    return Lost(str(about.get("job")), row, about)


async def _lost(view: View) -> web.Response:
    """The page of a job that this process does not know: what the audit has of it."""
    key = view.parts["job"]
    if not KEY.fullmatch(key):
        raise NotFound("there is no such job")
    row = await view.desk.ledger.read(partial(audit.of_job, job=key))
    return view.page("job_lost.html", status=404 if row is None else 200, key=key, lost=row and lost(row))


async def _jobs_context(view: View) -> dict[str, Any]:
    own = view.desk.jobs.latest()
    rows = await view.desk.ledger.read(partial(audit.of_jobs, rows_max=LOST_MAX))
    known = {one.key for one in own}
    return {"jobs": own, "others": [one for one in map(lost, rows) if one.key not in known]}


ROUTES = (
    Route("GET", "/jobs", jobs),
    Route("GET", "/parts/jobs", jobs_part),
    Route("GET", "/jobs/{job}", job),
    Route("GET", "/parts/jobs/{job}", job_part),
    Route("POST", "/jobs/{job}/replay", act, "operate"),
    Route("POST", "/jobs/{job}/discard", act, "operate"),
    Route("POST", "/jobs/{job}/again", again, "operate"),
    Route("POST", "/jobs/{job}/cancel", cancel, "operate"),
)
