"""The check: `signalq check` as a page, with the settings in force and where each of them comes from."""

from aiohttp import web

from signalq.ops.console.gate.query import text
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.view import View

SETTINGS_ROWS_MAX = 200
MARKS = {"ok": ("ok", "✓ ok"), "note": ("warn", "• look"), "wrong": ("bad", "✗ wrong")}


async def check(view: View) -> web.StreamResponse:
    """The page: the last run, or a new one where that is long ago. `key` chooses settings, as the command does."""
    key: str | None = view.query(key=text)["key"]
    run = await view.desk.checks.fresh()
    chosen = [one for one in run.settings if key is None or one.is_under(key)]
    shown, more = chosen[:SETTINGS_ROWS_MAX], len(chosen[SETTINGS_ROWS_MAX:])
    return view.page("check.html", run=run, marks=MARKS, key=key, chosen=shown, more=more)


async def run_again(view: View) -> web.StreamResponse:
    """Begin another run. Whoever may look may do so: it changes nothing, and one runs at a time."""
    await view.form()
    await view.desk.checks.begun()
    return view.go_to("/check")


async def part(view: View) -> web.StreamResponse:
    """The findings."""
    view.query()
    run = view.desk.checks.latest or await view.desk.checks.begun()
    return view.part("parts/check.html", run=run, marks=MARKS)


ROUTES = (Route("GET", "/check", check), Route("POST", "/check", run_again), Route("GET", "/parts/check", part))
