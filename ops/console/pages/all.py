"""All routes."""

from signalq.ops.console.pages import events, overview
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (*overview.ROUTES, *events.ROUTES)
