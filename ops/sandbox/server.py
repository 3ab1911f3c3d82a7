"""A stand-in for the platform: takes orders at its path, checks and keeps them, and misbehaves on request.

async with Sandbox() as sandbox:
    sandbox.behave(Behaviour(mode="fail", status=503, times=3))
    ...                         # POST to sandbox.url
    await sandbox.received(2)
    sandbox.orders              # the orders that came, tokens masked
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from aiohttp import web
from pydantic import ValidationError

from signalq.errors import InvalidIntent, Problem
from signalq.kinds import Kind
from signalq.message.intent import intent_from_fields
from signalq.message.strict_json import BODY_BYTES_MAX, parse_object
from signalq.ops.sandbox.behaviour import Behaviour, Behaviours
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.plain import ascii_json
from signalq.secrets.masking import without_tokens
from signalq.settings.environment import SANDBOX_PATH
from signalq.times import iso_utc

# The platform's own path works, too; but a URL with it does not tell that it leads to a sandbox.
WEBHOOK_PATH = "/trading-signal/webhook"
# So many orders are kept; the oldest are dropped.
ORDERS_MAX = 10_000
STOP_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """One POST: when it came, its body (tokens masked, None if it was no JSON object), its answer once it is decided.

    `taken` is the platform's view: whether the order counts as placed, whatever its sender was answered.
    """

    at: datetime
    connector: str | None
    action: str | None
    body: dict[str, object] | None
    answer: str = ""
    taken: bool = False

    def row(self) -> dict[str, object]:
        """The order as a JSON object."""
        return {
            "at": iso_utc(self.at),
            "connector": self.connector,
            "action": self.action,
            "answer": self.answer,
            "taken": self.taken,
            "body": self.body,
        }


class Sandbox:
    """The server, on `host` and `port` (0: a free one); use it as an async context manager.

    `on_order` is called for every POST once its answer is decided. `extra_fields` are accepted beside the documented
    ones. Entering raises CommandFailed if it can't listen.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        extra_fields: Collection[str] = (),
        on_order: Callable[[SandboxOrder], None] = lambda _order: None,
    ) -> None:
        self._host = host
        self._port = port
        self._extra_fields = tuple(extra_fields)
        self._on_order = on_order
        self._behaviours = Behaviours()
        self._orders: deque[SandboxOrder] = deque(maxlen=ORDERS_MAX)
        self._count = 0
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """The URL of the sandbox itself, for `GET /orders` and `PUT /behaviour`."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("use Sandbox in an async with block")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def url(self) -> str:
        """The URL to POST orders to, and to set webhook.url to."""
        return self.base_url + SANDBOX_PATH

    @property
    def orders(self) -> list[SandboxOrder]:
        """The orders that came, oldest first; at most ORDERS_MAX."""
        return list(self._orders)

    def behave(self, behaviour: Behaviour) -> None:
        """Set a behaviour from now on."""
        self._behaviours.put(behaviour)

    async def received(self, count: int, *, timeout_s: float = 30.0) -> list[SandboxOrder]:
        """Wait until `count` POSTs came since the start (or since they were deleted). Raises TimeoutError."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: self._count >= count)
        return self.orders

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2 * BODY_BYTES_MAX)
        app.router.add_post(SANDBOX_PATH, self._post_order)
        app.router.add_post(WEBHOOK_PATH, self._post_order)
        app.router.add_get("/orders", self._get_orders)
        app.router.add_delete("/orders", self._delete_orders)
        app.router.add_get("/behaviour", self._get_behaviour)
        app.router.add_put("/behaviour", self._put_behaviour)
        app.router.add_delete("/behaviour", self._delete_behaviour)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise CommandFailed(
                f"can't listen on {self._host}:{self._port} ({error.strerror or error}): give another --port, or 0 for "
                "a free one",
                kind=Kind.CANNOT_LISTEN,
            ) from None
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _post_order(self, request: web.Request) -> web.StreamResponse:
        came, problems = self._read(datetime.now(UTC), await request.read())
        if problems:
            named = ", ".join(problem.field or "the body" for problem in problems)
            await self._keep(came, f"400 invalid: {named}", taken=False)
            fields = [{"field": problem.field, "problem": problem.message} for problem in problems]
            return web.json_response({"error": "the order is not valid", "fields": fields}, status=400)
        behaviour = self._behaviours.take(came.connector or "")
        match behaviour.mode:
            case "fail":
                return await self._fail(came, behaviour)
            case "refuse":
                await self._keep(came, "400 refused", taken=False)
                return web.json_response({"error": "connector or token unknown"}, status=400)
            case "cut":
                return await self._cut(came, behaviour, request)
            case "hang":
                await self._keep(came, f"200 ok after {behaviour.seconds:g} s", taken=True)
                await asyncio.sleep(behaviour.seconds)
            case _:
                await self._keep(came, "200 ok", taken=True)
        return web.Response(text="ok")

    def _read(self, at: datetime, body: bytes) -> tuple[SandboxOrder, Sequence[Problem]]:
        """The order before it is answered, and why it is none."""
        fields: dict[str, object] | None = None
        problems: Sequence[Problem] = ()
        try:
            fields = parse_object(body)
            intent_from_fields(fields, extra_fields=self._extra_fields, token_needed=True)
        except InvalidIntent as error:
            problems = error.problems
        texts = {name: value for name, value in (fields or {}).items() if isinstance(value, str)}
        masked = without_tokens(fields)
        shown = masked if isinstance(masked, dict) else None
        return SandboxOrder(at, texts.get("connectorName"), texts.get("action"), shown), problems

    async def _fail(self, came: SandboxOrder, behaviour: Behaviour) -> web.Response:
        wait_s = behaviour.retry_after_s
        said = f"{behaviour.status}" + (f" retry after {wait_s} s" if wait_s is not None else "")
        await self._keep(came, said, taken=False)
        headers = {} if wait_s is None else {"Retry-After": str(wait_s)}
        return web.json_response({"error": "as requested"}, status=behaviour.status, headers=headers)

    async def _cut(self, came: SandboxOrder, behaviour: Behaviour, request: web.Request) -> web.StreamResponse:
        await self._keep(came, f"cut {behaviour.moment}", taken=behaviour.moment != "before")
        response = web.StreamResponse(headers={"Content-Length": "2"})
        if behaviour.moment == "during":
            await response.prepare(request)
            await response.write(b"o")
        if request.transport is not None:
            # close() still sends the half answer; abort() would take it back.
            request.transport.close()
        return response

    async def _keep(self, came: SandboxOrder, answer: str, *, taken: bool) -> None:
        order = replace(came, answer=answer, taken=taken)
        self._orders.append(order)
        self._count += 1
        self._on_order(order)
        async with self._came:
            self._came.notify_all()

    async def _get_orders(self, request: web.Request) -> web.Response:
        wanted = request.query.get("connector")
        rows: list[object] = [order.row() for order in self._orders if wanted in {None, order.connector}]
        return web.Response(text=ascii_json(rows), content_type="application/json")

    async def _delete_orders(self, _request: web.Request) -> web.Response:
        deleted = len(self._orders)
        self._orders.clear()
        self._count = 0
        return web.json_response({"deleted": deleted})

    async def _get_behaviour(self, _request: web.Request) -> web.Response:
        return web.json_response([behaviour.model_dump() for behaviour in self._behaviours.in_force()])

    async def _put_behaviour(self, request: web.Request) -> web.Response:
        try:
            behaviour = Behaviour.model_validate_json(await request.read())
            self._behaviours.put(behaviour)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)
            problems = [f"{'.'.join(map(str, detail['loc'])) or 'the body'}: {detail['msg']}" for detail in details]
            return web.json_response({"error": "; ".join(problems)}, status=400)
        except CommandFailed as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(behaviour.model_dump())

    async def _delete_behaviour(self, _request: web.Request) -> web.Response:
        self._behaviours.clear()
        return web.json_response([])
