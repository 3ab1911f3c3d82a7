"""All routes."""

from signalq.ops.console.pages import (
    activity,
    cancel,
    check,
    dead,
    events,
    jobs,
    letter_acts,
    notes,
    order,
    orders,
    overview,
    schedule,
    sign_in,
    static,
)
from signalq.ops.console.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *sign_in.ROUTES,
    *static.ROUTES,
    *events.ROUTES,
    *check.ROUTES,
    *activity.ROUTES,
    *notes.ROUTES,
    *dead.ROUTES,
    *letter_acts.ROUTES,
    *jobs.ROUTES,
    *orders.ROUTES,
    *order.ROUTES,
    *schedule.ROUTES,
    *cancel.ROUTES,
)
