"""A process looks after what runs in it: cancels noted in the history, leases that others took over, large outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prefect import State
from prefect.exceptions import Abort
from store_suite import HOUR, T0, a_version, begun, get

from connectors import log
from connectors.kit.testing import acting
from flows.engine.execution import run_execution
from flows.engine.runtime import Runtime, use_runtime
from flows.engine.step import RecordedSteps
from flows.history import Execution, Limits, MemoryStore, Status
from flows.language.event import Event
from foundation.clock import ManualClock
from foundation.errors import TooLarge


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with acting() as stage:
        store = MemoryStore(stage.clock, Limits(output_bytes=100))
        runtime = Runtime(store=store, services=stage.services, clock=stage.clock)
        with use_runtime(runtime):
            yield runtime


def run(work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
    async def body(event: Event, execution: Execution, steps: RecordedSteps) -> Any:
        return await work()

    return asyncio.create_task(run_execution(a_version(), 300, {"body": 1}, body))


async def started(runtime: Runtime) -> tuple[asyncio.Task[Any], str]:
    """An execution that runs until it is stopped."""
    begun_ = asyncio.Event()

    async def work() -> None:
        begun_.set()
        await asyncio.Event().wait()

    task = run(work)
    await begun_.wait()
    [execution_id] = runtime.running
    return task, execution_id


async def test_a_cancel_noted_in_the_history_ends_what_runs(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)
    await runtime.store.request_cancel(execution_id, by="the API", reason="wrong order", now=T0)

    await runtime.honour_cancels()
    state: State[Any] = await task

    execution = await get(runtime.store, execution_id)
    assert execution.status is Status.CANCELLED
    assert execution.error == {"code": "cancelled", "message": "cancelled through the API: wrong order"}
    assert state.is_cancelled()


async def test_what_nobody_cancelled_runs_on(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)

    await runtime.honour_cancels()
    await runtime.renew_leases()

    assert not runtime.running[execution_id].stop
    assert not task.done()
    await runtime.drain(0)
    await asyncio.wait([task])


async def test_leases_of_what_runs_are_renewed(runtime: Runtime) -> None:
    clock = runtime.clock
    assert isinstance(clock, ManualClock)
    task, execution_id = await started(runtime)
    before = (await get(runtime.store, execution_id)).lease_until
    clock.move(seconds=20)

    await runtime.renew_leases()

    after = (await get(runtime.store, execution_id)).lease_until
    assert before is not None
    assert after is not None
    assert (after - before).total_seconds() == 20
    await runtime.drain(0)
    await asyncio.wait([task])


async def test_what_another_process_took_over_is_stopped_and_left_to_it(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)
    await begun(runtime.store, execution_id, owner="other/1", now=T0, lease_until=T0 + HOUR)

    await runtime.renew_leases()

    with pytest.raises(Abort, match="another process runs it now"):  # which Prefect takes as: leave the run's state
        await task
    execution = await get(runtime.store, execution_id)
    assert (execution.status, execution.owner, execution.error) == (Status.RUNNING, "other/1", None)
    assert not runtime.running


async def test_what_someone_else_ended_is_stopped_here(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)
    await runtime.store.finish(execution_id, Status.FAILED, now=T0, error={"code": "prefect", "message": "x"})

    await runtime.renew_leases()

    with pytest.raises(Abort):
        await task
    assert (await get(runtime.store, execution_id)).status is Status.FAILED


async def test_a_step_whose_output_is_too_large_fails_and_says_so(runtime: Runtime) -> None:
    with pytest.raises(TooLarge):
        await run(lambda: log.message(text="x" * 100))

    [listed] = (await runtime.store.executions()).items
    execution = await get(runtime.store, listed.id)
    [step] = execution.steps
    assert (execution.status, step.status, step.output) == (Status.FAILED, Status.FAILED, None)
    assert step.error["code"] == "too_large"
    assert "IPAAS_MAX_OUTPUT_BYTES" in step.error["message"]


async def test_an_execution_whose_output_is_too_large_fails_and_says_so(runtime: Runtime) -> None:
    async def work() -> str:
        return "x" * 100

    with pytest.raises(TooLarge):
        await run(work)

    [execution] = (await runtime.store.executions()).items
    assert execution.status is Status.FAILED
    assert execution.error["code"] == "too_large"
