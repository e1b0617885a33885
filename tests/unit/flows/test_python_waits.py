"""Python workflows that wait for long: they hold nothing meanwhile, and go on where they were."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from executing import URL, bench

from connectors import http
from flows import Event, cleanup, each, gather, sleep, step, workflow
from flows.engine.execution import accept_event, run_execution
from flows.history import Status
from flows.on_prefect.flow import WorkflowFlow


async def post(path: str, body: Any = None) -> Any:
    return (await http.request.with_id(path.strip("/"))(method="POST", url=URL + path, json=body))["body"]["got"]


@workflow()
async def in_turn(event: Event) -> Any:
    first = await post("/a", 1)
    try:
        await sleep("2h")
    except Exception:  # noqa: BLE001 - it is no failure that one could catch
        await post("/caught")
    finally:
        with cleanup():
            await post("/clean")
    return [first, await post("/b", 2)]


@workflow()
async def in_rounds(event: Event) -> Any:
    total = 0
    async for line in each([1, 2], id="lines"):
        total += await post("/a", line)
        await sleep("2h")
    return total


async def slow(line: int) -> Any:
    await post("/a", line)
    await sleep("2h")
    return await post("/b", line)


@workflow()
async def in_calls(event: Event) -> Any:
    return await each([1, 2, 3], slow, concurrency=2, id="lines")


@workflow()
async def beside(event: Event) -> Any:
    async def quick() -> Any:
        return await step(max, await post("/q", 1), 2)

    return await gather(quick(), sleep("2h", id="one"), sleep("4h", id="two"))


@workflow()
async def many(event: Event) -> Any:
    async for line in each(range(101), id="lines"):
        if line == 100:
            await sleep("2h")
    return "all"


@pytest.mark.parametrize(
    ("flow", "waits", "requests", "output"),
    [
        (in_turn, [["sleep"]], ["/a", "/clean", "/b"], [1, 2]),
        (in_rounds, [["lines[0].sleep"], ["lines[1].sleep"]], ["/a", "/a"], 3),
        (
            in_calls,
            [["lines[0].sleep", "lines[1].sleep"], ["lines[2].sleep"]],
            ["/a", "/a", "/b", "/a", "/b", "/b"],
            [1, 2, 3],
        ),
        (beside, [["one", "two"], ["one", "two"]], ["/q"], [2, None, None]),
        (many, [["lines[100].sleep"]], [], "all"),
    ],
    ids=lambda value: value.name if isinstance(value, WorkflowFlow) else "",
)
async def test_a_long_sleep_holds_nothing_wherever_it_is(
    flow: WorkflowFlow, waits: list[list[str]], requests: list[str], output: Any
) -> None:
    async with bench() as on:
        execution_id = await accept_event(on.runtime, flow.program, Event())
        for paths in waits:
            outcome = await run_execution(on.runtime, execution_id, flow.program)
            assert outcome.status is Status.WAITING
            assert on.runtime.running == {}
            waiting = await on.last()
            assert sorted(wait.path for wait in waiting.waits if wait.ended_at is None or len(paths) > 1) == paths
            assert not [one for one in waiting.steps if one.status is Status.CANCELLED]
            on.clock.move(hours=2)
            await on.store.wake(limit=10)
        await run_execution(on.runtime, execution_id, flow.program)
        execution = await on.last()

    assert (execution.status, execution.output, execution.error) == (Status.SUCCEEDED, output, None)
    assert sorted(on.remote.paths) == sorted(requests)
    assert all(one.status is Status.SUCCEEDED for one in execution.steps)
    assert not [task for task in asyncio.all_tasks() if "_Beside" in repr(task.get_coro())]
