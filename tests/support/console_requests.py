"""A request as the console's door sees it, without a connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from signalq.settings.sections import Settings

TOKEN, VIEW_TOKEN = "the-ops-token-kQ7vX2", "the-view-token-wR8sZ"
HOST = "127.0.0.1:8082"


class Transport:
    """A connection from this address."""

    def __init__(self, peer: str) -> None:
        self._peer = peer

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's."""
        return (self._peer, 50_000) if name == "peername" else default

    def is_closing(self) -> bool:
        """As asyncio's."""
        return False


def asked(
    method: str = "GET",
    path: str = "/",
    *,
    peer: str = "127.0.0.1",
    headers: Iterable[tuple[str, str]] = (),
    **more: str,
) -> web.Request:
    """A request from this address. `more` are further headers, with _ for -; without a Host it has the usual one."""
    given = CIMultiDict([*headers, *((name.replace("_", "-"), value) for name, value in more.items())])
    if "Host" not in given:
        given["Host"] = HOST
    transport: Any = Transport(peer)
    return make_mocked_request(method, path, headers=given, transport=transport)


def settings(*, token: str | None = TOKEN, view_token: str | None = VIEW_TOKEN, **console: Any) -> Settings:
    """Settings with these tokens; `console` has the keys of that section."""
    ops = {"token": token, "view_token": view_token if token is not None else None}
    return Settings.model_validate({"ops": ops, "console": console})
