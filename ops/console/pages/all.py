"""All routes."""

from signalq.ops.console.pages import cancel, order, orders, overview, schedule
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *orders.ROUTES,
    *order.ROUTES,
    *schedule.ROUTES,
    *cancel.ROUTES,
)
