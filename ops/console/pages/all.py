"""All routes."""

from signalq.ops.console.pages import head, lane, overview, sign_in, static, switch
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *head.ROUTES,
    *lane.ROUTES,
    *overview.ROUTES,
    *sign_in.ROUTES,
    *static.ROUTES,
    *switch.ROUTES,
)
