"""All routes."""

from signalq.ops.console.gate.routes import Route
from signalq.ops.console.pages import (
    activity,
    cancel,
    check,
    dead,
    events,
    head,
    jobs,
    lane,
    letter_acts,
    notes,
    order,
    orders,
    overview,
    schedule,
    sign_in,
    static,
    switch,
)

ROUTES: tuple[Route, ...] = (
    *head.ROUTES,
    *lane.ROUTES,
    *overview.ROUTES,
    *sign_in.ROUTES,
    *static.ROUTES,
    *switch.ROUTES,
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
