"""The routes: which one a path and a method lead to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.routes import Handler, Route, find_route, path_below
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.pages.static import KINDS, files
from signalq.ops.console.rendering.render import STATIC, static_path

nothing = cast("Handler", None)
SOME = (
    Route("GET", "/", nothing),
    Route("GET", "/orders/{id}", nothing),
    Route("GET", "/orders/download", nothing),
    Route("POST", "/orders/{id}", nothing),
    Route("GET", "/events", nothing, streams=True),
    Route("POST", "/switch", nothing),
)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "parts"),
    [
        ("GET", "/", "/", {}),
        ("HEAD", "/", "/", {}),
        ("GET", "/orders/a%2Fb%20%3Cc%3E", "/orders/{id}", {"id": "a/b <c>"}),
        ("POST", "/orders/x", "/orders/{id}", {"id": "x"}),
        ("GET", "/orders/download", "/orders/download", {}),
        ("GET", "/orders/%E2%80%AE", "/orders/{id}", {"id": "\u202e"}),
        ("GET", "/events", "/events", {}),
    ],
)
def test_a_path_leads_to_its_route(method: str, path: str, pattern: str, parts: dict[str, str]) -> None:
    route, found = find_route(SOME, method, path)
    assert (route.path, dict(found)) == (pattern, parts)


@pytest.mark.parametrize(
    "path", ["", "/orders", "/orders/", "/orders/a/b", "//", "/Orders/x", "/orders/%00", "orders/x", "*"]
)
def test_other_paths_lead_nowhere(path: str) -> None:
    with pytest.raises(NotFound):
        find_route(SOME, "GET", path)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/", "GET"), ("GET", "/switch", "POST"), ("HEAD", "/switch", "POST"), ("HEAD", "/events", "GET")],
)
def test_a_wrong_method_is_told_the_right_one(method: str, path: str, allow: str) -> None:
    with pytest.raises(Refused) as error:
        find_route(SOME, method, path)
    assert (error.value.status, error.value.headers) == (405, {"Allow": allow})


@given(path=st.text(max_size=60))
def test_any_path_leads_to_a_route_or_nowhere(path: str) -> None:
    parts: Mapping[str, str] = {}
    with suppress(NotFound):
        _, parts = find_route(SOME, "GET", f"/orders/{path}")
    assert all(value and "\0" not in value for value in parts.values())


@pytest.mark.parametrize(
    ("base", "path", "below"),
    [
        ("", "/", "/"),
        ("", "/dead", "/dead"),
        ("/signalq", "/signalq", "/"),
        ("/signalq", "/signalq/", "/"),
        ("/signalq", "/signalq/dead", "/dead"),
        # A proxy that takes the base off.
        ("/signalq", "/dead", "/dead"),
        ("/signalq", "/signalqueue", "/signalqueue"),
        ("/a/b", "/a/b/a/b/c", "/a/b/c"),
    ],
)
def test_the_base_is_taken_off_once_and_whole(base: str, path: str, below: str) -> None:
    assert path_below(base, path) == below


def test_no_two_routes_are_for_the_same_requests() -> None:
    seen = [(route.method, route.path) for route in ROUTES]
    assert len(seen) == len(set(seen))


def test_streams_and_the_switch_are_marked() -> None:
    """Streams and files are ended first, and the switch is answered also while a consumer is busy with orders."""
    streams = {"/events", "/orders.csv", "/orders.jsonl"}
    wrong = [route.path for route in ROUTES if route.streams is not (route.path in streams)]
    wrong += [route.path for route in ROUTES if route.path.startswith("/switch") and not route.is_urgent]
    assert wrong == []


def test_a_static_file_is_served_by_its_digest_and_no_other_file_is() -> None:
    there = [file for file in STATIC.rglob("*") if file.is_file()]
    wanted = {static_path(file.relative_to(STATIC).as_posix()) for file in there if file.suffix in KINDS}
    assert set(files()) == wanted
    assert static_path("console.css") in wanted
    for path, file in files().items():
        assert find_route(ROUTES, "GET", path)[0].needs == "nobody", "a file in a folder that no route serves"
        assert file.body == (STATIC / path.split("/", 3)[3]).read_bytes()
