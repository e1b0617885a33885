"""Kept HTTP connections of the load generator. They cost so little that what is measured is the other side."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

KEPT_SECONDS = 2.0
"""After this long without a request a connection is opened anew: servers close idle ones after some 5 s."""


class Connection:
    """Asks one thing at a time.

    Raises:
        OSError: the connection cannot be opened, or breaks.
        TimeoutError: there is no answer after `patience` seconds.
    """

    def __init__(self, port: int, *, patience: float) -> None:
        self._port, self._patience = port, patience
        self._wire: _Wire | None = None
        self._used = 0.0

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body."""
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        return await self._ask(b"%sContent-Length: %d\r\n\r\n%s" % (head.encode(), len(body), body))

    async def get(self, path: str) -> bytes:
        """The body."""
        return (await self._ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()))[1]

    async def delete(self, path: str) -> None:
        await self._ask(f"DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        wire = self._wire
        if wire is None or wire.closed or loop.time() - self._used > KEPT_SECONDS:
            self.close()
            _, wire = await loop.create_connection(_Wire, "127.0.0.1", self._port)
            self._wire = wire
        try:
            async with asyncio.timeout(self._patience):
                return await wire.ask(request)
        except (TimeoutError, OSError):
            self.close()
            raise
        finally:
            self._used = loop.time()

    def close(self) -> None:
        if self._wire:
            self._wire.close()
            self._wire = None


class _Wire(asyncio.Protocol):
    def __init__(self) -> None:
        self.closed = False
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._body = b""

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport
        self._answer, self._body = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError("closed"))

    def on_body(self, body: bytes) -> None:
        """httptools has read a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """httptools has read the whole answer."""
        if self._answer and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._body))
