"""Where requests may go. An address that comes from data or from a redirect reaches the public only.

What counts is the address that is connected to: a name is resolved here, its addresses are judged, and one of those is
connected to, so that a name that resolves otherwise a moment later changes nothing. TLS still verifies the name.

Requests that may go anywhere have connections of their own: a connection to the inside that an author's request opened
must not serve one whose address came from data.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
import httpx

from connectors.kit.addresses import NOTHING, Address, Allowed, spelled
from connectors.kit.pools import Pools
from foundation.errors import EgressRefused

MAY_BE_PRIVATE: Final = "ipaas.may_be_private"
"""The request extension that says whether the request may go to an address that is not public: a bool, or a function
that is asked when it would, with `host:port`. Without it, it may not."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


async def resolve(host: str, port: int) -> Sequence[Address]:
    """The system's answer, in its order of preference.

    Raises:
        OSError: there is none.
    """
    with contextlib.suppress(ValueError):
        return [ip_address(host)]  # asking the system would cost a thread
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(place[0]) for *_, place in found))


def place_of(url: httpx.URL) -> str:
    """`host:port` in one spelling: lower case, the port always there, brackets around IPv6."""
    host = url.raw_host.decode("ascii").lower()
    return f"{f'[{host}]' if ':' in host else host}:{url.port or (443 if url.scheme == 'https' else 80)}"


class PublicOnly(httpcore.AsyncNetworkBackend):
    """Opens connections to public and allowed addresses only."""

    def __init__(self, allowed: Allowed = NOTHING, resolve: Resolve = resolve) -> None:
        self._allowed, self._resolve = allowed, resolve
        self._network = httpcore.AnyIOBackend()

    def check_spelling(self, host: str) -> None:
        """What can be said without resolving a name.

        Raises:
            EgressRefused: the host is an address that data may not reach, however it is spelled.
        """
        address = spelled(host)
        if address is not None and (kind := self._allowed.refusal(host, address)):
            raise EgressRefused(kind)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address of the host that may be reached and answers.

        Raises:
            EgressRefused: it has no address that data may reach.
        """
        with anyio.CancelScope(deadline=anyio.current_time() + (timeout or float("inf"))) as limit:
            addresses = await self._reachable(host, port)
            failure: Exception | None = None
            for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
                # A fair share of the time for each: one that swallows packets leaves some for the next.
                share = (limit.deadline - anyio.current_time()) / left if timeout else None
                try:
                    return await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    failure = error
            raise failure or httpcore.ConnectError("the host has no address")
        raise httpcore.ConnectTimeout

    async def _reachable(self, host: str, port: int) -> list[Address]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:  # UnicodeError: what can't be a host's name
            raise httpcore.ConnectError(str(error)) from error
        refusals = {address: self._allowed.refusal(host, address) for address in found}
        reachable = [address for address, kind in refusals.items() if kind is None]
        if found and not reachable:
            raise EgressRefused(next(kind for kind in refusals.values() if kind))
        return reachable

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class EgressTransport(httpx.AsyncBaseTransport):
    """The network, as each request may use it; see `MAY_BE_PRIVATE`.

    A proxy of the environment (`HTTPS_PROXY` and the like) resolves names itself, so that only its own rules can hold
    them. What is an address already, in whatever spelling, is held here all the same.
    """

    def __init__(self, limits: httpx.Limits, allowed: Allowed = NOTHING, resolve: Resolve = resolve) -> None:
        self._guard = PublicOnly(allowed, resolve)
        tls = httpx.create_ssl_context()  # one for all: it reads every authority's certificate
        self._anywhere = Pools(lambda limits: httpx.AsyncHTTPTransport(tls, limits=limits), limits)
        self._public = Pools(lambda limits: _GuardedTransport(self._guard, tls, limits), limits)
        self._proxies: Mapping[str, httpx.AsyncHTTPTransport] = {
            scheme: httpx.AsyncHTTPTransport(tls, proxy=proxy if "://" in proxy else f"http://{proxy}", limits=limits)
            for scheme, proxy in getproxies().items()
            if scheme in {"http", "https", "all"}
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        may_be_private = request.extensions.get(MAY_BE_PRIVATE, False)
        proxy = self._proxy_for(request.url)
        if may_be_private is not True:
            try:
                self._guard.check_spelling(request.url.raw_host.decode("ascii"))
                return await (proxy or self._public).handle_async_request(request)
            except EgressRefused:
                if not may_be_private or not may_be_private(place_of(request.url)):
                    raise
        return await (proxy or self._anywhere).handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._anywhere, self._public, *self._proxies.values()):
            await transport.aclose()

    def _proxy_for(self, url: httpx.URL) -> httpx.AsyncHTTPTransport | None:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        return None if proxy is None or proxy_bypass(url.host) else proxy


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a network backend of ours, which its constructor does not take."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        super().__init__(tls, limits=limits)
        if not isinstance(
            self._pool, httpcore.AsyncConnectionPool
        ):  # were it called otherwise, nothing would be guarded
            raise TypeError("this httpx keeps its connections elsewhere: they can't be guarded")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )
