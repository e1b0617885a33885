"""A process looks after what runs in it: cancels noted in the history, leases that others took over, large outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prefect import State
from prefect.exceptions import Abort
from store_builders import a_version, get

from connectors import log
from connectors.kit.testing import acting
from flows.engine.journal import LEASE_SECONDS
from flows.engine.program import program_of_function
from flows.engine.runtime import Runtime
from flows.history import Limits, MemoryStore, Status
from flows.language.definition import Declaration
from flows.language.event import Event
from flows.on_prefect.process import use_runtime
from flows.on_prefect.run import run_program
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
    async def function(event: Event) -> Any:
        return await work()

    version = a_version()
    program = program_of_function(version, Declaration(name=version.workflow), function)
    return asyncio.create_task(run_program(program, {"body": 1}))


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
    await runtime.store.request_cancel(execution_id, by="the API", reason="wrong order")

    await runtime.look_after()
    state: State[Any] = await task

    execution = await get(runtime.store, execution_id)
    assert execution.status is Status.CANCELLED
    assert execution.error == {"code": "cancelled", "message": "cancelled through the API: wrong order"}
    assert state.is_cancelled()


async def test_what_nobody_cancelled_runs_on(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)

    await runtime.look_after()

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

    await runtime.look_after()

    after = (await get(runtime.store, execution_id)).lease_until
    assert before is not None
    assert after is not None
    assert (after - before).total_seconds() == 20
    await runtime.drain(0)
    await asyncio.wait([task])


async def test_what_another_process_took_over_is_stopped_and_left_to_it(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)
    assert isinstance(runtime.clock, ManualClock)
    runtime.clock.move(seconds=LEASE_SECONDS)
    await runtime.store.begin(execution_id, flow_run_id=None, owner="other/1", lease=3600)

    await runtime.look_after()

    with pytest.raises(Abort, match="another process runs it now"):  # which Prefect takes as: leave the run's state
        await task
    execution = await get(runtime.store, execution_id)
    assert (execution.status, execution.owner, execution.error) == (Status.RUNNING, "other/1", None)
    assert not runtime.running


async def test_what_someone_else_ended_is_stopped_here(runtime: Runtime) -> None:
    task, execution_id = await started(runtime)
    hold = (await get(runtime.store, execution_id)).hold
    await runtime.store.finish(hold, Status.FAILED, error={"code": "prefect", "message": "x"})

    await runtime.look_after()

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
