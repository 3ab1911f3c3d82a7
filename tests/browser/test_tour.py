"""The tour goes everywhere: a route of the console that no test of the browser visits fails here."""

from __future__ import annotations

import importlib

from signalq.ops.console.gate.routes import find_route
from signalq.ops.console.pages.all import ROUTES
from tests.browser.tour import ELSEWHERE, PART, Places, stops


def test_each_route_is_visited_by_a_test_of_the_browser() -> None:
    unreal = Places(*("1",) * 7, scheduled=1, group="0")
    visited = {("GET", find_route(ROUTES, "GET", path.partition("?")[0])[0].path) for path in stops(unreal).values()}
    parts = {("GET", route.path) for route in ROUTES if route.path.startswith(PART)}
    assert {(route.method, route.path) for route in ROUTES} == visited | parts | set(ELSEWHERE)
    assert not visited & set(ELSEWHERE), "a page that is visited anyway needs no test of its own there"
    for where in ELSEWHERE.values():
        module, _, name = where.partition(".")
        assert hasattr(importlib.import_module(f"tests.browser.{module}"), name), where
