"""What Prefect shows of a workflow with blocks: its actions as task runs, named by their paths, in one graph."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from on_prefect import Deployed, deployed, with_body
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, TaskRun

from connectors import log
from flows import Event, each, gather, step
from flows.engine.program import program_of_function
from flows.engine.runtime import Runtime
from flows.history import Execution, Status
from flows.on_prefect import progress
from flows.on_prefect.internals import run_flow, take_flow_run, warm_engine

pytestmark = pytest.mark.usefixtures("prefect_settings")


async def ran(runtime: Runtime, one: Deployed) -> tuple[FlowRun, Execution]:
    run = await one.create()
    assert await take_flow_run(one.client, run)
    async with warm_engine():
        state = await run_flow(one.flow, run)
    assert state.is_completed(), state.message
    [listed] = (await runtime.store.executions()).items
    execution = await runtime.store.execution(listed.id)
    assert execution is not None
    return run, execution


async def tasks_of(client: PrefectClient, run: FlowRun, count: int) -> dict[str, TaskRun]:
    """By name, once Prefect has recorded the ends of so many: it is told of them behind the run."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    async with asyncio.timeout(60):
        while True:
            found = await client.read_task_runs(flow_run_filter=only)
            if len([one for one in found if one.state and one.state.is_final()]) >= count:
                return {one.name: one for one in found}
            await asyncio.sleep(0.2)


async def test_the_actions_in_blocks_are_task_runs_named_by_their_paths(
    client: PrefectClient, runtime: Runtime
) -> None:
    one = await deployed(
        client,
        """
steps:
  - {id: start, uses: log.message, with: {text: begin}}
  - id: lines
    for_each: [[a, b], [c]]
    as: line
    steps:
      - id: parts
        for_each: line
        steps: [{id: check, uses: log.message, with: {text: "{{ item }}"}}]
      - id: route
        switch: index
        cases:
          0: [{id: first, uses: log.message, with: {text: x}}]
  - id: guard
    try: [{id: risky, uses: http.request, with: {method: POST, url: "https://sink.test/"}}]
    catch: [{id: sorry, uses: log.message, with: {text: "{{ error.code }}"}}]
  - {id: last, uses: log.message, with: {text: "{{ steps.sorry.output.text }}"}}
""",
    )

    run, execution = await ran(runtime, one)

    wanted = {
        "start",
        "lines[0].parts[0].check",
        "lines[0].parts[1].check",
        "lines[0].first",
        "lines[1].parts[0].check",
        "risky",
        "sorry",
        "last",
    }
    tasks = await tasks_of(client, run, len(wanted))
    assert set(tasks) == wanted
    assert {task.name for task in tasks.values() if task.state and task.state.is_failed()} == {"risky"}
    assert {step.path for step in execution.steps} == wanted | {
        *("lines", "lines[0].parts", "lines[0].route", "lines[1].parts", "lines[1].route", "guard")
    }

    def waited_for(name: str) -> set[str]:
        ids = {str(task.id): task.name for task in tasks.values()}
        return {ids[str(one.id)] for one in tasks[name].task_inputs["wait_for"]}  # type: ignore[union-attr]

    assert waited_for("lines[0].parts[0].check") == {"start"}
    assert waited_for("lines[0].first") == {"lines[0].parts[0].check", "lines[0].parts[1].check"}
    assert waited_for("risky") == {name for name in wanted if name.startswith("lines")}
    assert waited_for("last") == {"risky", "sorry"}


async def of_function(client: PrefectClient, function: Callable[[Event], Awaitable[Any]]) -> Deployed:
    one = await deployed(client)
    one.flow = with_body(one, program_of_function(one.flow.published, one.flow.declaration, function).body)
    return one


async def test_what_a_python_function_does_is_shown_as_what_steps_do(client: PrefectClient, runtime: Runtime) -> None:
    async def check(part: str) -> str:
        return (await log.message.with_id("check")(text=part))["text"]

    async def orders(event: Event) -> Any:
        await log.message(text="begin")
        async for line in each([["a", "b"], ["c"]], id="lines"):
            await each(line, check, concurrency=2, id="parts")
        found = await step(max, 1, 2)
        await gather(log.message.with_id("one")(text="1"), log.message.with_id("two")(text="2"))
        await log.message.with_id("last")(text=str(found))
        return found

    run, execution = await ran(runtime, await of_function(client, orders))

    parts = {"lines[0].parts[0].check", "lines[0].parts[1].check", "lines[1].parts[0].check"}
    wanted = {"log.message", *parts, "max", "one", "two", "last"}
    tasks = await tasks_of(client, run, len(wanted))
    assert execution.output == 2
    assert set(tasks) == wanted

    def waited_for(name: str) -> set[str]:
        ids = {str(task.id): task.name for task in tasks.values()}
        return {ids[str(one.id)] for one in tasks[name].task_inputs["wait_for"]}  # type: ignore[union-attr]

    assert waited_for("lines[0].parts[0].check") == {"log.message"}
    assert waited_for("max") == parts
    assert waited_for("one") == {"max"}
    assert waited_for("last") == {"one", "two"}


@pytest.mark.parametrize("form", ["async for", "function"])
async def test_a_long_loop_of_a_python_function_is_one_task_run(
    client: PrefectClient, runtime: Runtime, form: str
) -> None:
    async def say(number: int) -> None:
        await log.message(text=str(number))

    async def long(event: Event) -> None:
        if form == "function":
            await each(range(101), say, collect=False, concurrency=5, id="lines")
        else:
            async for number in each(range(101), id="lines"):
                await say(number)

    run, execution = await ran(runtime, await of_function(client, long))

    tasks = await tasks_of(client, run, 1)
    assert [(task.name, task.state and task.state.is_completed()) for task in tasks.values()] == [("lines", True)]
    assert sum(step.path.endswith(".log.message") for step in execution.steps) == 101


async def test_a_long_loop_is_one_task_run(client: PrefectClient, runtime: Runtime) -> None:
    items = list(range(101))
    one = await deployed(
        client,
        f"""
steps:
  - id: lines
    for_each: {items}
    steps:
      - {{id: say, uses: log.message, with: {{text: x}}}}
      - {{id: halt, if: item == 100, stop: {{output: "{{{{ item }}}}"}}}}
  - {{id: never, uses: log.message, with: {{text: x}}}}
""",
    )

    run, execution = await ran(runtime, one)

    tasks = await tasks_of(client, run, 1)
    assert [(task.name, task.state and task.state.is_completed()) for task in tasks.values()] == [("lines", True)]
    assert (execution.status, execution.output) == (Status.SUCCEEDED, 100)
    assert sum(step.path.endswith(".say") for step in execution.steps) == 101


async def test_a_long_loop_shows_how_far_it_has_come(
    client: PrefectClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.05)
    one = await deployed(
        client,
        f"""
steps:
  - id: Long-Loop
    for_each: {list(range(101))}
    on_error: continue
    steps: [{{id: odd, if: item % 2 == 1, fail: "{{{{ item }}}}"}}, {{id: pause, wait: 1ms}}]
""",
    )

    run, _ = await ran(runtime, one)

    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    [artifact] = await client.read_artifacts(artifact_filter=of_run)
    assert (artifact.type, artifact.key, artifact.data) == ("progress", "long-loop", 100.0)
    assert artifact.description == "Long-Loop: 101 of 101, 50 failed"
    assert artifact.task_run_id is not None
