"""What really happened while a workflow ran: every request with its answer, and the credentials that were used."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx

from blocks import Credential
from connectors.kit.call import CredentialSource
from flows.testing.requests import Request, noted
from flows.testing.stand_ins import stand_in

C = TypeVar("C", bound=Credential)


@dataclass
class Exchange:
    """One request and what came of it.

    Attributes:
        error: there was no answer: no connection, or not in time.
        content: the answer's body so far, as it was sent.
    """

    request: Request
    error: Literal["connect", "timeout"] | None = None
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    content: bytearray = field(default_factory=bytearray)

    @property
    def answer(self) -> httpx.Response:
        """Its body unpacked."""
        return httpx.Response(self.status, headers=self.headers, content=bytes(self.content))


class RecordingTransport(httpx.AsyncBaseTransport):
    """Lets each request through, and notes it with its answer."""

    def __init__(self, network: httpx.AsyncBaseTransport) -> None:
        self.exchanges: list[Exchange] = []
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = Exchange(noted(request, await request.aread()))
        try:
            response = await self._network.handle_async_request(request)
        except httpx.TransportError as error:
            is_late = isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout)
            exchange.error = "timeout" if is_late else "connect"
            self.exchanges.append(exchange)
            raise
        exchange.status, exchange.headers = response.status_code, response.headers
        self.exchanges.append(exchange)
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - of an async transport
        stream = _Copied(response.stream, exchange.content)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._network.aclose()


class _Copied(httpx.AsyncByteStream):
    """A stream that is copied as it is read, so that whoever reads it may bound it."""

    def __init__(self, stream: httpx.AsyncByteStream, copy: bytearray) -> None:
        self._stream, self._copy = stream, copy

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._copy += part
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class UsedCredentials:
    """A `CredentialSource` that notes what it gave out: secrets as stand-ins, the rest as it is."""

    def __init__(self, source: CredentialSource) -> None:
        self.used: dict[str, dict[str, Any]] = {}
        self._source = source

    async def get(self, name: str, kind: type[C]) -> C:
        credential = await self._source.get(name, kind)
        plain = {
            one.name: getattr(credential, one.name)
            for one in kind.describe_fields()
            if not one.secret and getattr(credential, one.name) != one.default
        }
        self.used[name] = stand_in(name, kind) | plain
        return credential
