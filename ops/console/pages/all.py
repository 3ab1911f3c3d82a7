"""All routes."""

from signalq.ops.console.pages import activity, check, notes, overview
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *check.ROUTES,
    *activity.ROUTES,
    *notes.ROUTES,
)
