"""How an execution ends, whoever or whatever ends it; the same for YAML and Python."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import anyio
import pytest
from executing import URL, Bench, bench, in_yaml, post, steps
from prefect import State
from prefect.exceptions import Abort

from connectors import http
from flows import Event, workflow
from flows.engine.execution import accept_event, run_execution
from flows.engine.failures import cancellation
from flows.engine.journal import LEASE_SECONDS
from flows.history import Execution, Hold, MemoryStore, Refusal, Status, StepExecution, Trigger
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.run import idempotency_key
from foundation.clock import ManualClock
from foundation.errors import IpaasError, StorageUnavailable


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


@workflow(name="in-python", timeout="200ms")
async def in_python(event: Event) -> str:
    await http.request(method="POST", url=f"{URL}/a")
    await http.request(method="POST", url=f"{URL}/b")
    return "done"


in_yaml_ = in_yaml(steps(post("/a"), post("/b"), output="done", timeout="200ms"))
side_by_side = in_yaml(steps(post("/a"), post("/b", needs=[]), output="done", timeout="200ms"))
EACH = pytest.mark.parametrize("flow", [in_yaml_, side_by_side, in_python], ids=["yaml", "yaml parallel", "python"])


def python(work: Callable[[], Awaitable[Any]], **options: Any) -> WorkflowFlow:
    @workflow(name="work", **options)
    async def run(event: Event) -> Any:
        return await work()

    return run


async def held(on: Bench, flow: WorkflowFlow) -> tuple[asyncio.Task[Any], str]:
    """An execution whose step `b` waits for its answer."""
    on.remote.held = {"/b"}
    running = on.start(flow)
    await on.remote.reached("/a", "/b")
    return running, (await on.last()).id


# Its beginning


@EACH
async def test_it_is_recorded_from_its_event_to_its_output(on: Bench, flow: WorkflowFlow) -> None:
    execution = await on.run(flow, {"n": 1})

    assert (execution.status, execution.output, execution.error) == (Status.SUCCEEDED, "done", None)
    assert (execution.trigger, execution.event["body"], execution.runs) == (Trigger.MANUAL, {"n": 1}, 1)
    assert (execution.started_at, execution.finished_at) == (on.clock.now(), on.clock.now())
    assert (execution.owner, on.runtime.running) == (None, {})


async def test_a_workflow_that_was_never_deployed_is_published_by_its_first_execution(on: Bench) -> None:
    await on.run(in_yaml_)

    published = await on.store.workflow("test")
    assert published is not None
    assert published.current.version == in_yaml_.published.version


async def test_an_event_that_is_none_becomes_an_empty_one(on: Bench) -> None:
    assert (await on.run(in_yaml_)).event["headers"] == {}


def test_the_key_of_a_run_is_of_the_deployment_and_the_execution() -> None:
    assert idempotency_key("d", "e") == "ipaas:d:e"


# Timeout


@EACH
async def test_it_does_not_outlive_its_timeout(on: Bench, flow: WorkflowFlow) -> None:
    running, _ = await held(on, flow)

    state: State[Any] = await running

    execution = await on.last()
    assert (execution.status, execution.error["code"]) == (Status.TIMED_OUT, "timeout")
    assert "0.2 s" in execution.error["message"]
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert [step.status for step in execution.steps if step.status is not Status.SUCCEEDED] == [Status.TIMED_OUT]


async def test_an_author_who_turns_the_timeout_into_an_error_of_his_own_has_timed_out(on: Bench) -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("interrupted") from None

    assert (await on.run(python(work, timeout="50ms"))).status is Status.TIMED_OUT


async def test_an_authors_own_timeout_is_an_error_as_any_other(on: Bench) -> None:
    async def work() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    execution = await on.run(python(work))

    assert (execution.status, execution.error["message"]) == (Status.FAILED, "TimeoutError: ")


@pytest.mark.parametrize("busy", ["opening its history", "beginning"])
async def test_prefects_timer_that_rings_before_it_has_begun_means_its_timeout(busy: str) -> None:
    class Busy(MemoryStore):
        async def begin(self, *args: Any, **kwargs: Any) -> Execution | Refusal:
            await asyncio.sleep(0.1 if busy == "beginning" else 0)
            return await super().begin(*args, **kwargs)

    async with bench(store=Busy()) as on:
        on.remote.held = {"/a"}
        program = in_yaml(steps(post("/a"), timeout="50ms")).program
        execution_id = await accept_event(on.runtime, program, Event())
        entered = asyncio.get_running_loop().time() - (0.1 if busy == "opening its history" else 0)
        with anyio.move_on_after(0.05 if busy == "beginning" else 0):
            await run_execution(on.runtime, execution_id, program, entered=entered)

        assert (await on.last()).status is Status.TIMED_OUT


# Cancel


@EACH
async def test_a_cancel_stops_it_and_says_who_asked(on: Bench, flow: WorkflowFlow) -> None:
    running, execution_id = await held(on, flow)
    await on.store.request_cancel(execution_id, by="the API", reason="wrong order")

    await on.runtime.look_after()
    state: State[Any] = await running

    execution = await on.last()
    assert state.is_cancelled()
    assert (execution.status, execution.error["message"]) == (
        Status.CANCELLED,
        "cancelled through the API: wrong order",
    )
    assert [step.status for step in execution.steps if step.status is not Status.SUCCEEDED] == [Status.CANCELLED]


async def test_an_author_who_turns_the_cancel_into_an_error_of_his_own_is_cancelled(on: Bench) -> None:
    waits = asyncio.Event()

    async def work() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("interrupted") from None

    running = on.start(python(work))
    await waits.wait()
    await on.store.request_cancel((await on.last()).id, by="the API", reason="")
    await on.runtime.look_after()

    assert (await running).is_cancelled()
    assert (await on.last()).error == cancellation("the API", "")


async def test_who_cancels_his_own_calls_is_not_cancelled(on: Bench) -> None:
    async def work() -> str:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return "goes on"

    assert (await on.run(python(work))).output == "goes on"


# Handed back, taken over


@EACH
async def test_what_is_not_finished_when_the_process_stops_is_handed_back(on: Bench, flow: WorkflowFlow) -> None:
    running, execution_id = await held(on, flow)

    await on.runtime.drain(0)

    with pytest.raises(asyncio.CancelledError):  # which Prefect takes as a crash: the run may be scheduled again
        await running
    execution = await on.last()
    assert (execution.id, execution.status, execution.owner) == (execution_id, Status.ACCEPTED, None)
    assert on.runtime.running == {}

    on.remote.held.clear()
    assert await on.go_on(flow, execution_id) == "done"
    assert sorted(on.remote.paths) == ["/a", "/b", "/b"]


async def test_an_author_who_ends_otherwise_when_the_process_stops_is_handed_back_too(on: Bench) -> None:
    waits = asyncio.Event()

    async def work() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("interrupted")

    running = on.start(python(work))
    await waits.wait()
    await on.runtime.drain(0)

    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await on.last()).status is Status.ACCEPTED


async def test_what_can_end_in_time_ends_when_the_process_stops(on: Bench) -> None:
    running, _ = await held(on, in_yaml_)
    draining = asyncio.create_task(on.runtime.drain(60))
    await on.remote.let_go("/b")

    await draining

    assert await running == "done"


async def test_what_another_process_took_over_is_left_to_it(on: Bench) -> None:
    running, execution_id = await held(on, in_yaml_)
    on.clock.move(seconds=LEASE_SECONDS)
    await on.store.begin(execution_id, flow_run_id=None, owner="other/1", lease=3600)

    await on.runtime.look_after()

    with pytest.raises(Abort):
        await running
    execution = await on.last()
    assert (execution.status, execution.owner) == (Status.RUNNING, "other/1")


async def test_a_cancel_from_outside_is_not_recorded_as_an_end(on: Bench) -> None:
    running, _ = await held(on, in_yaml_)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert (await on.last()).status is Status.RUNNING  # whoever reconciles has Prefect's word for what it was


# Errors


async def test_an_authors_error_is_the_executions(on: Bench) -> None:
    async def work() -> None:
        raise ValueError("out of stock")

    execution = await on.run(python(work))

    assert execution.status is Status.FAILED
    assert execution.error == {"code": "error", "message": "ValueError: out of stock", "step": None}


async def test_an_output_that_is_no_json_fails_the_execution(on: Bench) -> None:
    async def work() -> Any:
        return object()

    execution = await on.run(python(work))

    assert execution.status is Status.FAILED
    assert "JSON" in execution.error["message"]


async def test_an_authors_error_that_shows_a_secret_leaves_the_process_without_it(on: Bench) -> None:
    on.runtime.services.masker.add("s3cret-token")

    async def work() -> None:
        raise ValueError("s3cret-token was refused")

    failing = on.start(python(work))
    await asyncio.gather(failing, return_exceptions=True)

    error = failing.exception()
    assert isinstance(error, IpaasError)
    assert str(error) == (await on.last()).error["message"] == "ValueError: ******** was refused"
    assert error.__suppress_context__


async def test_an_error_that_has_no_form_in_utf_8_can_be_told_to_prefect(on: Bench) -> None:
    async def work() -> None:
        raise ValueError("half a pair: \ud800")

    failing = on.start(python(work))
    await asyncio.gather(failing, return_exceptions=True)

    assert str(failing.exception()).encode()
    assert (await on.last()).error["message"] == "ValueError: half a pair: \\ud800"


# A history that does not answer


class Outage(MemoryStore):
    """Does not answer while `left` is above 0; each call takes one off."""

    left = 0

    def _answer(self) -> None:
        if self.left > 0:
            self.left -= 1
            raise StorageUnavailable("the history's database is not usable: it is started anew")

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        self._answer()
        return await super().save_steps(hold, steps)

    async def finish(self, *args: Any, **kwargs: Any) -> bool:
        self._answer()
        return await super().finish(*args, **kwargs)

    async def begin(self, *args: Any, **kwargs: Any) -> Execution | Refusal:
        self._answer()
        return await super().begin(*args, **kwargs)


def away(on: Bench, calls: int) -> None:
    store = on.store
    assert isinstance(store, Outage)
    store.left = calls


@pytest.fixture
async def shaky() -> AsyncIterator[Bench]:
    async with bench(store=Outage(ManualClock())) as on:
        yield on


@EACH
async def test_a_short_outage_of_the_history_is_waited_for(shaky: Bench, flow: WorkflowFlow) -> None:
    running, _ = await held(shaky, flow)
    away(shaky, 5)
    await shaky.remote.let_go("/b")

    assert await running == "done"

    assert (await shaky.last()).status is Status.SUCCEEDED
    assert sorted(shaky.remote.paths) == ["/a", "/b"]


@pytest.mark.parametrize("on_error", ["fail", "continue"])
async def test_a_long_outage_is_no_failure_of_the_step_or_the_workflow(shaky: Bench, on_error: str) -> None:
    flow = in_yaml(steps(post("/a"), post("/b", on_error=on_error), post("/c"), output="done"))
    running, execution_id = await held(shaky, flow)
    before = shaky.clock.now()
    away(shaky, 1000)
    await shaky.remote.let_go("/b")

    with pytest.raises(StorageUnavailable):
        await running

    assert (shaky.clock.now() - before).total_seconds() >= LEASE_SECONDS
    assert (await shaky.last()).status is Status.RUNNING  # until its lease is over; then it is run again
    away(shaky, 0)
    assert await shaky.go_on(flow, execution_id) == "done"
    assert shaky.remote.paths == ["/a", "/b", "/b", "/c"]


async def test_what_can_not_even_begin_is_not_recorded_as_failed(shaky: Bench) -> None:
    away(shaky, 1)

    with pytest.raises(StorageUnavailable):
        await shaky.start(in_yaml_)

    assert (await shaky.last()).status is Status.ACCEPTED
    assert shaky.runtime.running == {}


# Many at once


async def test_many_executions_at_once_end_each_for_itself(on: Bench) -> None:
    on.remote.statuses = {"/odd": 404}
    flow = in_yaml(
        steps(
            post("/even", **{"if": "event.body % 2 == 0"}),
            post("/odd", **{"if": "event.body % 2 == 1"}),
            output="'{{ event.body }}'",
        )
    )

    results = await asyncio.gather(*(on.start(flow, n) for n in range(20)), return_exceptions=True)

    assert [result for result in results if not isinstance(result, Exception)] == list(range(0, 20, 2))
    assert (await on.store.counts()) == {Status.SUCCEEDED: 10, Status.FAILED: 10}
    assert on.runtime.running == {}
