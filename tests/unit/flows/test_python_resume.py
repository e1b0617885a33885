"""A Python workflow that is handed back at any moment goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from executing import URL
from handing_back import (
    handed_back_at_any_request,
    handed_back_before_any_record,
    side_by_side_handed_back_before_any_record,
)

from connectors import http
from flows import Event, each, sleep, step, workflow
from foundation.errors import IpaasError


async def post(path: str, body: Any = None) -> Any:
    return (await http.request(method="POST", url=URL + path, json=body))["body"]["got"]


@workflow()
async def sums(event: Event) -> Any:
    """What it adds up in variables is the same, whichever rounds had ended before."""
    total, seen = 0, []
    async for line in each(event.body, id="lines"):
        total += await post("/a", line)
        async for part in each(range(line)):
            seen.append(await post("/part", [line, part, total]))
        if line == 3:
            break
    await post("/z", total)
    return [total, seen]


@workflow()
async def leaves(event: Event) -> Any:
    """Loops that are left by exceptions and from deep inside."""
    for attempt in range(2):
        try:
            async for line in each(event.body):
                await post("/a", line)
                async for _ in each(["x", "y"], id="inner"):
                    await post("/bad" if line == 2 else "/b")
        except IpaasError as error:
            await post("/caught", [attempt, error.path])
    async for line in each(event.body):
        async for part in each([1, 2]):
            if await post("/c", [line, part]) == [2, 1]:
                return "left"
    return "never"


@workflow()
async def rounds(event: Event) -> Any:
    async def reserve(line: int) -> Any:
        first = await post("/a", line)
        if line == 2:
            await post("/bad")
        async for part in each([1, 2]):
            await post("/part", [first, part])
        return {"reserved": await step(double, first)}

    return [await each(event.body, reserve, tolerate=1, id="lines"), await post("/z")]


def double(number: int) -> int:
    return number * 2


@workflow()
async def own(event: Event) -> Any:
    total = await step(sum, event.body)
    await post("/a", total)
    await sleep("10s")
    try:
        await step(broken, total, id="mine")
    except IpaasError as error:
        await post("/caught", str(error))
    await http.request.with_id("named")(method="POST", url=f"{URL}/n")
    return await post("/z", await step(double, total))


async def broken(total: int) -> None:
    raise KeyError(total)


FLOWS = {flow.name: flow for flow in (sums, leaves, rounds, own)}


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_at_any_request_it_does_the_rest_and_nothing_twice(name: str) -> None:
    await handed_back_at_any_request(FLOWS[name], [1, 2, 3])


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_before_any_record_it_does_the_rest_and_nothing_twice(name: str) -> None:
    await handed_back_before_any_record(FLOWS[name], [1, 2, 3])


@workflow()
async def side_by_side(event: Event) -> Any:
    async def reserve(line: int) -> Any:
        first, second = await asyncio.gather(post("/a", line), post("/b", line))
        return await post("/c", [first, second])

    return await asyncio.gather(each(event.body, reserve, concurrency=2), post("/z"))


async def test_what_runs_side_by_side_goes_on_too() -> None:
    await side_by_side_handed_back_before_any_record(side_by_side, [1, 2])
