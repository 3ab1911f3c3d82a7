"""Proxies before a PostgreSQL, which see what is said: one that cuts, one that loses an answer, one that counts."""

from __future__ import annotations

import asyncio

from tests.support.proxy import CHUNK_BYTES, Proxy

# PostgreSQL's CommandComplete for a COMMIT.
COMMITTED = b"COMMIT\x00"
# Its ReadyForQuery, up to the state of the transaction: the end of each answer.
READY = b"Z\x00\x00\x00\x05"


class CutsOnce(Proxy):
    """Ends the connection on which the client first says `step` once it is armed, before the server hears it."""

    def __init__(self, target_port: int, step: bytes, *, armed: bool = True) -> None:
        super().__init__(target_port)
        self.armed = armed
        self.has_cut = False
        self._step = step

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if self.armed and self._step in chunk:
                self.armed, self.has_cut = False, True
                break
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError


class LosesTheAnswerToACommit(Proxy):
    """Passes a COMMIT on to PostgreSQL, sees that it was answered, and cuts the connection instead of passing that on;
    once for each time it is armed.
    """

    armed = False
    lost = 0

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            if self.armed and COMMITTED in chunk:
                self.armed = False
                self.lost += 1
                raise ConnectionResetError
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError


class CountsTrips(Proxy):
    """Counts how often the server was asked and has answered."""

    trips = 0

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            self.trips += chunk.count(READY)
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError
