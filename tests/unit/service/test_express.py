"""Executions that a worker begins by itself, as they are admitted; and what Prefect is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from executing import Bench, bench, in_yaml, post, step, steps

from flows.engine.execution import accept_event
from flows.history import Execution, Mode, Status
from flows.language.event import Event
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.recording import Kind, RunRecord
from ipaas.worker.express import Express
from ipaas.worker.noted import from_history

HEAD = "name: quick\nmode: express\n"


class Told:
    """A recorder that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []

    def tell(self, record: RunRecord) -> None:
        self.records.append(record)


@dataclass
class Worker:
    on: Bench
    express: Express
    told: Told
    woken: list[Execution]
    looking: asyncio.Task[None]

    async def accept(self, flow: WorkflowFlow, body: Any = None, **more: Any) -> str:
        """Accepts an event; its execution begins when the worker looks."""
        execution_id = await accept_event(self.on.runtime, flow.program, Event(body=body), **more)
        self.express.poke()
        return execution_id

    async def ended(self, execution_id: str) -> Execution:
        return await self.reached(execution_id, lambda execution: execution.status.is_final)

    async def reached(self, execution_id: str, wanted: Any) -> Execution:
        async with asyncio.timeout(10):
            while True:
                execution = await self.on.store.execution(execution_id)
                assert execution
                if wanted(execution):
                    await asyncio.sleep(0.01)  # the worker tells after it has recorded
                    return execution
                await asyncio.sleep(0.005)


@asynccontextmanager
async def worker(*, room: float = 100, **remote: Any) -> AsyncIterator[Worker]:
    told, woken = Told(), list[Execution]()
    async with bench(**remote) as on:
        express = Express(
            on.runtime,
            told,  # type: ignore[arg-type]
            modes=lambda: [Mode.EXPRESS],
            room=lambda: room - express.running,
            wake=woken.append,
        )
        running = asyncio.create_task(express.run())
        yield Worker(on, express, told, woken, running)
        running.cancel()
        await express.close()


@pytest.fixture
async def here() -> AsyncIterator[Worker]:
    async with worker(statuses={"/bad": 404}) as here:
        yield here


def quick(*each: str, **more: str) -> WorkflowFlow:
    return in_yaml(HEAD + steps(*each, **more))


async def test_it_runs_at_once_and_prefect_is_told_how_it_ended(here: Worker) -> None:
    flow = quick(post("/a"), post("/b"), output="'{{ steps.b.output.status }}'")

    execution = await here.ended(await here.accept(flow, {"n": 1}))

    assert (execution.status, execution.output, execution.mode) == (Status.SUCCEEDED, 200, Mode.EXPRESS)
    [told] = here.told.records
    assert (str(told.id), told.workflow, told.name) == (execution.id, "quick", f"quick/{execution.id}")
    assert [state.type for state in told.states] == [Kind.SCHEDULED, Kind.RUNNING, Kind.COMPLETED]
    assert [(task.path, task.action, task.after) for task in told.tasks] == [
        ("a", "http.request", ()),
        ("b", "http.request", ("a",)),
    ]
    assert told.parameters["event"]["body"] == {"n": 1}
    assert [line.message for line in told.logs if line.task is None] == ["Finished in state Completed()"]


async def test_a_failure_is_told_as_an_orchestrated_run_has_it(here: Worker) -> None:
    execution = await here.ended(await here.accept(quick(post("/bad"))))

    [told] = here.told.records
    assert (execution.status, told.state.type, told.state.name) == (Status.FAILED, Kind.FAILED, "Failed")
    assert (told.state.message or "").startswith("Flow run encountered an exception: ")
    [task] = told.tasks
    assert (task.state.type, "404" in task.state.message) == (Kind.FAILED, True)


async def test_a_failure_is_said_in_the_log_and_a_success_is_not(
    here: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ipaas"):
        await here.ended(await here.accept(quick(post("/a"))))
        assert [record for record in caplog.records if record.name.startswith("ipaas")] == []
        execution = await here.ended(await here.accept(quick(post("/bad"))))

    assert [line for line in caplog.messages if execution.id in line and "404" in line]


async def test_one_that_is_called_runs_and_answers_its_caller(here: Worker) -> None:
    called = in_yaml("name: called\nmode: express\n" + steps(post("/a"), output="'{{ event.body.x }}'"))
    await here.on.store.publish(called.published)
    flow = quick(step("sub", call="called", with_={"x": 7}), output="'{{ steps.sub.output }}'")

    execution = await here.ended(await here.accept(flow))

    assert (execution.output, execution.mode) == (7, Mode.EXPRESS)
    assert {record.workflow for record in here.told.records} == {"quick", "called"}


async def test_while_it_drains_nothing_begins_and_its_loop_goes_on(here: Worker) -> None:
    await here.express.drain(1)
    execution_id = await here.accept(quick(post("/a")))
    await asyncio.sleep(0.05)

    execution = await here.on.store.execution(execution_id)
    assert execution
    assert (execution.status, here.looking.done()) == (Status.ACCEPTED, False)


async def test_a_workflow_that_does_not_compile_any_more_fails_and_the_others_run(here: Worker) -> None:
    flow = quick(post("/a"))
    await here.on.store.publish(flow.published)
    kept = here.on.store._versions["quick", flow.published.version]
    object.__setattr__(kept, "source", "name: quick\nsteps: 7")

    execution = await here.ended(await here.accept(flow))

    assert execution.status is Status.FAILED
    assert [told.state.type for told in here.told.records] == [Kind.FAILED]


async def test_no_more_run_than_the_limit_and_the_rest_follow() -> None:
    async with worker(held={"/a"}) as here:
        flow = in_yaml(HEAD + "concurrency: 2\n" + steps(post("/a")))
        ids = [await here.accept(flow) for _ in range(3)]
        await here.on.remote.reached("/a")
        await asyncio.sleep(0.05)
        assert (len(here.on.remote.requests), here.express.running) == (2, 2)

        await here.on.remote.let_go("/a")
        assert [(await here.ended(one)).status for one in ids] == [Status.SUCCEEDED] * 3


async def test_a_worker_begins_no_more_than_it_has_room_for() -> None:
    async with worker(room=1, held={"/a"}) as here:
        ids = [await here.accept(quick(post("/a"))) for _ in range(2)]
        await here.on.remote.reached("/a")
        await asyncio.sleep(0.05)
        assert here.express.running == 1

        await here.on.remote.let_go("/a")
        assert [(await here.ended(one)).status for one in ids] == [Status.SUCCEEDED] * 2


async def test_a_wait_ends_the_run_which_goes_on_when_the_answer_comes(here: Worker) -> None:
    flow = quick(post("/a"), step("ask", wait={"signal": "go"}), post("/b"))
    execution_id = await here.accept(flow)
    await here.reached(execution_id, lambda execution: execution.status is Status.WAITING)
    assert here.express.running == 0
    assert (here.told.records[-1].state.type, here.told.records[-1].state.name) == (Kind.PAUSED, "Waiting")

    await here.on.store.answer("signal:go", {"x": 1}, by=None, keep=60)
    here.express.poke()
    execution = await here.ended(execution_id)

    assert (execution.runs, here.on.remote.paths) == (2, ["/a", "/b"])
    last = here.told.records[-1]
    assert (last.state.type, last.run_count) == (Kind.COMPLETED, 2)
    assert {task.path for task in last.tasks} == {"a", "b"}


async def test_what_prefect_made_a_run_for_is_woken_there(here: Worker) -> None:
    execution_id = await here.accept(quick(post("/a")), flow_run_id="run-1")
    async with asyncio.timeout(5):
        while not here.woken:
            await asyncio.sleep(0.01)

    assert [one.id for one in here.woken] == [execution_id]
    assert here.told.records == []


async def test_a_cancel_ends_it_and_is_told(here: Worker) -> None:
    here.on.remote.held = {"/a"}
    execution_id = await here.accept(quick(post("/a")))
    await here.on.remote.reached("/a")

    assert here.on.runtime.cancel(flow_run_id=execution_id, by="Ada", reason="no more")
    execution = await here.ended(execution_id)

    assert execution.status is Status.CANCELLED
    [told] = here.told.records
    assert (told.state.type, [task.state.type for task in told.tasks]) == (Kind.CANCELLED, [Kind.CANCELLED])


async def test_one_that_was_taken_over_is_neither_ended_nor_told(here: Worker) -> None:
    here.on.remote.held = {"/a"}
    execution_id = await here.accept(quick(post("/a")))
    await here.on.remote.reached("/a")
    held = await here.on.store.execution(execution_id)
    assert held
    await here.on.store.requeue(held.hold)
    await here.on.store.begin(execution_id, flow_run_id=None, owner="other/1", lease=60)

    await here.on.remote.let_go("/a")
    async with asyncio.timeout(5):
        while here.express.running:
            await asyncio.sleep(0.01)

    now = await here.on.store.execution(execution_id)
    assert now
    assert (now.status, now.owner, here.told.records) == (Status.RUNNING, "other/1", [])


async def test_the_history_tells_the_same_but_for_logs_and_edges(here: Worker) -> None:
    execution = await here.ended(await here.accept(quick(post("/a"), post("/b")), {"n": 1}))
    [noted] = here.told.records

    read = from_history(execution)

    same = {"id", "workflow", "name", "version", "parameters", "tags", "labels", "created", "run_count"}
    assert read.model_dump(include=same) == noted.model_dump(include=same)
    assert [(task.path, task.action, task.state) for task in read.tasks] == [
        (task.path, task.action, task.state) for task in noted.tasks
    ]
    assert [state.type for state in read.states] == [state.type for state in noted.states]


async def test_of_a_long_loop_the_history_tells_the_loop(here: Worker) -> None:
    loop = step("lines", for_each="event.body", steps=[{"id": "a", "uses": "log.message", "with": {"text": "x"}}])

    execution = await here.ended(await here.accept(quick(loop), list(range(150))))

    assert [task.path for task in here.told.records[0].tasks] == ["lines"]
    assert [task.path for task in from_history(execution).tasks] == ["lines"]


async def test_a_run_that_logs_without_end_is_told_with_its_first_lines(
    here: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ipaas.worker.noted.MOST_LINES", 3)

    await here.ended(await here.accept(quick(*(post(f"/{name}") for name in "abcdef"))))

    lines = [line.message for line in here.told.records[0].logs]
    assert (len(lines), "further lines" in lines[-1]) == (4, True)
