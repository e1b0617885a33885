"""An execution that begins again (its process died, or handed it back) does what it would have done: the same, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from executing import URL, Bench, bench, in_yaml, post, steps
from prefect.exceptions import Abort

from connectors import http, log
from flows import Event, workflow
from flows.engine.execution import accept_event, run_execution
from flows.engine.failures import HandedBack, HeldElsewhere, LimitReached
from flows.engine.invoke import Attempts, Invocation, call_directly
from flows.engine.journal import LEASE_SECONDS
from flows.history import Execution, Status, Topic, Trigger
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.run import run_program


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


@workflow(name="in-python", timeout="20s")
async def in_python(event: Event) -> str:
    await http.request(method="POST", url=f"{URL}/a")
    await http.request(method="POST", url=f"{URL}/b")
    return "done"


AS_YAML = in_yaml(steps(post("/a"), post("/b"), output="done", timeout="20s"))
EACH = pytest.mark.parametrize("flow", [AS_YAML, in_python], ids=["yaml", "python"])


async def taken_over(on: Bench, execution_id: str) -> Execution:
    """The execution, once its lease was over and another process has begun it."""
    on.clock.move(seconds=LEASE_SECONDS + 1)
    begun = await on.store.begin(execution_id, flow_run_id=None, owner="other/1", lease=LEASE_SECONDS)
    assert isinstance(begun, Execution)
    return begun


async def handed_back(on: Bench, flow: WorkflowFlow, path: str = "/b", body: Any = None) -> str:
    """An execution whose process stopped while the remote system held this request."""
    on.remote.held = {path}
    running = on.start(flow, body)
    await on.remote.reached(path)
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go(path)
    return (await on.last()).id


# Who does not hold it any more


@EACH
async def test_a_process_that_was_taken_for_dead_sends_and_writes_nothing_more(on: Bench, flow: WorkflowFlow) -> None:
    on.remote.held = {"/a"}
    running = on.start(flow)
    await on.remote.reached("/a")
    execution_id = (await on.last()).id
    await taken_over(on, execution_id)

    await on.remote.let_go("/a")
    with pytest.raises(Abort, match="another process runs it now"):
        await running

    execution = await on.last()
    assert (execution.status, execution.owner, execution.runs) == (Status.RUNNING, "other/1", 2)
    assert on.remote.paths == ["/a"]
    assert "succeeded" not in [step.status for step in execution.steps]  # as it stood when it was taken over
    assert on.runtime.running == {}


async def test_its_end_is_not_written_either(on: Bench) -> None:
    goes_on = asyncio.Event()

    @workflow(name="ends")
    async def ends(event: Event) -> str:
        await goes_on.wait()
        return "mine"

    running = on.start(ends)
    await asyncio.sleep(0)
    while not on.runtime.running:
        await asyncio.sleep(0)
    await taken_over(on, (await on.last()).id)
    goes_on.set()

    with pytest.raises(Abort):
        await running
    assert ((await on.last()).status, (await on.last()).output) == (Status.RUNNING, None)


async def test_what_another_process_runs_does_not_begin_here(on: Bench) -> None:
    execution_id = await accept_event(on.runtime, AS_YAML.program, Event())
    await on.store.begin(execution_id, flow_run_id=None, owner="other/1", lease=LEASE_SECONDS)

    with pytest.raises(HeldElsewhere):
        await run_execution(on.runtime, execution_id, AS_YAML.program)

    assert on.remote.paths == []


# Decided once


async def test_a_condition_is_asked_once(on: Bench) -> None:
    wanted = in_yaml(steps(post("/a", **{"if": "event.body == 7"}), post("/b")))
    execution_id = await handed_back(on, wanted, "/a", body=7)
    not_any_more = in_yaml(steps(post("/a", **{"if": "event.body == 8"}), post("/b")))

    await on.go_on(not_any_more, execution_id)

    assert on.remote.paths == ["/a", "/a", "/b"]


async def test_now_and_vars_are_those_of_its_beginning(on: Bench) -> None:
    flow = in_yaml(
        steps(post("/a"), post("/b", {"at": "{{ now }}", "var": "{{ vars.at }}"}), vars="{at: '{{ now }}'}", output="1")
    )
    execution_id = await handed_back(on, flow)
    on.clock.move(hours=3)

    await on.go_on(flow, execution_id)

    first, again = (request for request in on.remote.requests if request.url.path == "/b")
    assert first.content == again.content
    assert json.loads(first.content)["at"].startswith("2026-01-01T00:00:00")
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == f"{execution_id}:b"


@EACH
async def test_a_known_step_is_not_called_again_not_even_as_a_task(on: Bench, flow: WorkflowFlow) -> None:
    execution_id = await handed_back(on, flow)
    called: list[str] = []

    async def invoke(invocation: Invocation, attempts: Attempts) -> Any:
        called.append(invocation.path)
        return await call_directly(invocation, attempts)

    await run_execution(on.runtime, execution_id, flow.program, invoke=invoke)

    assert called == [(await on.last()).steps[1].path]
    assert on.remote.paths == ["/a", "/b", "/b"]


# The timeout is the execution's


@EACH
async def test_its_timeout_counts_over_all_its_runs(on: Bench, flow: WorkflowFlow) -> None:
    on.remote.held = {"/b"}
    running = on.start(flow)
    await on.remote.reached("/b")
    on.clock.move(seconds=19.95)
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    execution_id = (await on.last()).id
    assert (await on.last()).spent == pytest.approx(19.95)
    on.clock.move(hours=5)  # nobody ran it meanwhile

    outcome = await run_execution(on.runtime, execution_id, flow.program)

    assert outcome.status is Status.TIMED_OUT
    assert "20 s" in outcome.error["message"]


async def test_the_time_in_which_nobody_ran_it_does_not_count(on: Bench) -> None:
    execution_id = await handed_back(on, AS_YAML)
    on.clock.move(hours=5)

    assert await on.go_on(AS_YAML, execution_id) == "done"


# The limit


async def test_one_beyond_its_workflows_limit_does_not_begin(on: Bench) -> None:
    flow = in_yaml(steps(post("/b"), concurrency="1", output="done"))
    on.remote.held = {"/b"}
    first = on.start(flow)
    await on.remote.reached("/b")
    second = await accept_event(on.runtime, flow.program, Event())

    with pytest.raises(LimitReached):
        await run_execution(on.runtime, second, flow.program)

    execution = await on.store.execution(second)
    assert execution is not None
    assert execution.status is Status.ACCEPTED
    await on.remote.let_go("/b")
    assert await first == "done"
    assert (await run_execution(on.runtime, second, flow.program)).output == "done"


async def test_a_script_waits_until_the_limit_has_room(on: Bench) -> None:
    flow = in_yaml(steps(post("/b"), concurrency="1", output="done"))
    on.remote.held = {"/b"}
    first, second = on.start(flow), on.start(flow)
    await on.remote.reached("/b")
    while not on.clock.slept:  # the second one asks again
        await asyncio.sleep(0)

    await on.remote.let_go("/b")

    assert await asyncio.gather(first, second) == ["done", "done"]
    assert on.remote.paths == ["/b", "/b"]


# What the sender gets


RESPOND = "{when: finished, status: '{{ output.code }}', body: {n: '{{ steps.a.output.body.got }}'}, headers: {x-id: '{{ execution.id }}'}}"  # noqa: E501


async def answered(on: Bench, flow: WorkflowFlow, trigger: Trigger = Trigger.WEBHOOK) -> Execution:
    execution_id = await accept_event(on.runtime, flow.program, Event(body=7), trigger=trigger)
    await run_execution(on.runtime, execution_id, flow.program)
    return await on.last()


async def test_the_answer_is_rendered_at_the_end_and_stored(on: Bench) -> None:
    flow = in_yaml(steps(post("/a", "{{ event.body }}"), output="{code: 201}", respond=RESPOND))

    execution = await answered(on, flow)

    assert execution.answer == {"status": 201, "body": {"n": 7}, "headers": {"x-id": execution.id}}


async def test_a_python_workflows_answer_sees_its_output_and_its_steps(on: Bench) -> None:
    body = "{{ output }} {{ steps['log.message'].output.text }}"

    @workflow(name="answers", respond={"when": "finished", "body": body})
    async def answers(event: Event) -> str:
        await log.message(text="noted")
        return "done"

    assert (await answered(on, answers)).answer == {"status": 200, "body": "done noted", "headers": {}}


async def test_an_answer_that_can_not_be_rendered_says_so_and_the_execution_succeeded(on: Bench) -> None:
    flow = in_yaml(steps(post("/a"), output="1", respond="{when: finished, body: '{{ output.missing }}'}"))

    execution = await answered(on, flow)

    assert execution.status is Status.SUCCEEDED
    assert execution.answer["problem"].startswith("respond: ")
    assert "missing" in execution.answer["problem"]


@pytest.mark.parametrize(("code", "status"), [(200, Status.SUCCEEDED), (400, Status.FAILED)])
async def test_whoever_holds_the_sender_is_told_of_the_end(on: Bench, code: int, status: Status) -> None:
    on.remote.statuses["/a"] = code
    told: list[str] = []
    async with on.store.listening(Topic.ENDED, told.append):
        execution = await answered(on, in_yaml(steps(post("/a"), output="{code: 201}", respond=RESPOND)))
        await asyncio.sleep(0)

    assert (execution.status, told) == (status, [execution.id])


@pytest.mark.parametrize(("respond", "trigger"), [(RESPOND, Trigger.MANUAL), ("{when: accepted}", Trigger.WEBHOOK)])
async def test_nobody_is_told_of_an_end_that_no_sender_waits_for(on: Bench, respond: str, trigger: Trigger) -> None:
    told: list[str] = []
    async with on.store.listening(Topic.ENDED, told.append):
        await answered(on, in_yaml(steps(post("/a"), output="{code: 201}", respond=respond)), trigger)
        await asyncio.sleep(0)

    assert told == []


async def test_nobody_waits_for_the_answer_of_another_trigger(on: Bench) -> None:
    flow = in_yaml(steps(post("/a"), output="{code: 200}", respond=RESPOND))

    assert (await answered(on, flow, Trigger.MANUAL)).answer is None


# The end


async def test_what_has_ended_is_not_run_again(on: Bench) -> None:
    await on.run(AS_YAML)
    execution = await on.last()

    outcome = await run_execution(on.runtime, execution.id, AS_YAML.program)

    assert (outcome.status, outcome.output, outcome.earlier) == (Status.SUCCEEDED, "done", True)
    assert on.remote.paths == ["/a", "/b"]


async def test_the_worker_is_told_when_an_execution_stops_running_here(on: Bench) -> None:
    told: list[bool] = []
    on.runtime.more_may_start = lambda: told.append(True)
    execution_id = await handed_back(on, AS_YAML)

    assert len(told) == 1
    await on.go_on(AS_YAML, execution_id)
    assert len(told) == 2


async def test_handing_back_is_no_end(on: Bench) -> None:
    on.remote.held = {"/a"}
    execution_id = await accept_event(on.runtime, AS_YAML.program, Event())
    running = asyncio.create_task(run_execution(on.runtime, execution_id, AS_YAML.program))
    await on.remote.reached("/a")

    await on.runtime.drain(0)

    with pytest.raises(HandedBack):
        await running


async def test_an_event_that_is_given_to_a_flow_is_the_executions(on: Bench) -> None:
    await run_program(AS_YAML.program, {"body": {"n": 1}, "headers": None})

    assert (await on.last()).event["body"] == {"n": 1}
