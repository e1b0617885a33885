"""Many connections in small pools: httpcore looks at every connection of a pool, by a system call each, for a request.

With 50 requests at the same time that was half of what a request costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx

CONNECTIONS: Final = 16
"""Of one pool."""


class Pools(httpx.AsyncBaseTransport):
    """Uses the first pool that is not full, so that few requests use few connections, again and again.

    Args:
        make: makes the transport of one pool.
        limits: of all pools together.
    """

    def __init__(self, make: Callable[[httpx.Limits], httpx.AsyncBaseTransport], limits: httpx.Limits) -> None:
        self._make = make
        self._most = max((limits.max_connections or CONNECTIONS) // CONNECTIONS, 1)
        kept = (limits.max_keepalive_connections or CONNECTIONS) // self._most
        self._limits = httpx.Limits(
            max_connections=min(limits.max_connections or CONNECTIONS, CONNECTIONS),
            max_keepalive_connections=kept,
            keepalive_expiry=limits.keepalive_expiry,
        )
        self._pools: list[httpx.AsyncBaseTransport] = []
        self._under_way: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        number = self._free()
        self._under_way[number] += 1
        try:
            return await self._pools[number].handle_async_request(request)
        finally:
            self._under_way[number] -= 1

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()

    def _free(self) -> int:
        """The first pool with room; a new one; else the one that least wait for."""
        for number, under_way in enumerate(self._under_way):
            if under_way < CONNECTIONS // 2:
                return number
        if len(self._pools) < self._most:
            self._pools.append(self._make(self._limits))
            self._under_way.append(0)
            return len(self._pools) - 1
        return min(range(len(self._pools)), key=self._under_way.__getitem__)
