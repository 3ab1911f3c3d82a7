"""All routes."""

from signalq.ops.console.pages import dead, jobs, letter_acts, overview
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *dead.ROUTES,
    *letter_acts.ROUTES,
    *jobs.ROUTES,
)
