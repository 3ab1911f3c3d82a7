"""All routes."""

from signalq.ops.console.pages import head, lane, overview, switch
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *head.ROUTES,
    *lane.ROUTES,
    *overview.ROUTES,
    *switch.ROUTES,
)
