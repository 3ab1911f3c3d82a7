"""All routes."""

from signalq.ops.console.pages import overview
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (*overview.ROUTES,)
