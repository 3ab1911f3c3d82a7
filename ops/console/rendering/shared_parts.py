"""Parts of pages, made once for all who may see the same: many browsers that ask at once cost as much as one."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from signalq.ops.console.gate.errors import Busy

# A part may show what no snapshot has, so it is not kept for longer.
KEPT_S = 1.0
PARTS_MAX = 256


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    made_s: float
    answer: asyncio.Future[web.Response]


class SharedParts:
    """Keeps each part as long as the snapshot is the same, KEPT_S at most, and PARTS_MAX parts at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The longest kept first.
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    async def part(self, key: Hashable, number: int, make: Callable[[], Awaitable[web.StreamResponse]]) -> web.Response:
        """The part that is kept for the snapshot of this number, or the one that `make` makes, which may raise."""
        kept = self._kept.get(key)
        if kept is None or kept.number != number or self._clock() - kept.made_s >= KEPT_S:
            kept = self._keep(key, number)
            await self._make(key, kept, make)
        return _copy(await asyncio.shield(kept.answer))

    def forget(self) -> None:
        """Forget all: somebody has changed something."""
        self._kept.clear()

    def _keep(self, key: Hashable, number: int) -> _Kept:
        kept = _Kept(number, self._clock(), asyncio.get_running_loop().create_future())
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > PARTS_MAX:
            self._kept.popitem(last=False)
        return kept

    async def _make(self, key: Hashable, kept: _Kept, make: Callable[[], Awaitable[web.StreamResponse]]) -> None:
        """Make it for all that wait; an error is told to all of them, and not kept."""
        try:
            kept.answer.set_result(cast("web.Response", await make()))
        except BaseException as error:
            if self._kept.get(key) is kept:
                del self._kept[key]
            # Where this request is canceled, the others are not: they are told to ask again.
            kept.answer.set_exception(error if isinstance(error, Exception) else Busy("ask again"))
            kept.answer.exception()  # for asyncio: it was looked at, also where nobody else waits
            raise


def _copy(made: web.Response) -> web.Response:
    """An answer of its own for each request."""
    return web.Response(body=made.body, status=made.status, headers=made.headers)
