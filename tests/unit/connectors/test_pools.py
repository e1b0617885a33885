"""Connections in small pools: few requests use few of them, many never more than allowed."""

from __future__ import annotations

import asyncio

import httpx

from connectors.kit.pools import CONNECTIONS, Pools


class Pool(httpx.AsyncBaseTransport):
    """Answers when it is let."""

    def __init__(self, limits: httpx.Limits, goes_on: asyncio.Event) -> None:
        self.limits, self._goes_on = limits, goes_on
        self.requests = self.most = self.under_way = 0
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self._goes_on.wait()
        self.under_way -= 1
        return httpx.Response(200)

    async def aclose(self) -> None:
        self.closed = True


def pools(made: list[Pool], goes_on: asyncio.Event, most: int = 256) -> Pools:
    def make(limits: httpx.Limits) -> Pool:
        made.append(Pool(limits, goes_on))
        return made[-1]

    return Pools(make, httpx.Limits(max_connections=most, max_keepalive_connections=most // 2))


async def test_one_after_the_other_they_use_one_pool() -> None:
    made, goes_on = list[Pool](), asyncio.Event()
    goes_on.set()
    async with httpx.AsyncClient(transport=pools(made, goes_on)) as client:
        for _ in range(20):
            await client.get("https://a.test/")

    assert [pool.requests for pool in made] == [20]
    assert made[0].closed


async def test_many_at_once_are_spread_and_never_more_than_allowed() -> None:
    made, goes_on = list[Pool](), asyncio.Event()
    async with httpx.AsyncClient(transport=pools(made, goes_on, most=4 * CONNECTIONS)) as client:
        asking = [asyncio.create_task(client.get("https://a.test/")) for _ in range(40)]
        await asyncio.sleep(0.05)
        assert [pool.under_way for pool in made] == [10, 10, 10, 10]
        goes_on.set()
        assert {answer.status_code for answer in await asyncio.gather(*asking)} == {200}

    assert sum(pool.limits.max_connections or 0 for pool in made) == 4 * CONNECTIONS
