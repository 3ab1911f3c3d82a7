"""All routes."""

from signalq.ops.console.pages import overview, sign_in, static
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *sign_in.ROUTES,
    *static.ROUTES,
)
