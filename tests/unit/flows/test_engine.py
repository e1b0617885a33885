"""How a workflow's steps are walked: order, conditions, failures, what expressions see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from executing import Bench, bench, in_yaml, post, steps

from flows.history import Execution, Status


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


def statuses(execution: Execution) -> dict[str, str]:
    return {step.path: str(step.status) for step in execution.steps}


def log(step_id: str, text: str, **more: Any) -> str:
    return json.dumps({"id": step_id, "uses": "log.message", "with": {"text": text}, **more})


# Order


async def test_steps_run_one_after_the_other(on: Bench) -> None:
    on.remote.held = {"/a"}
    running = on.start(in_yaml(steps(post("/a"), post("/b"), post("/c"))))
    await on.remote.reached("/a")
    await asyncio.sleep(0)
    assert on.remote.paths == ["/a"]

    await on.remote.let_go("/a")
    await running

    assert on.remote.paths == ["/a", "/b", "/c"]


async def test_steps_that_need_nothing_run_at_the_same_time(on: Bench) -> None:
    on.remote.held = {"/a", "/b"}
    running = on.start(in_yaml(steps(post("/a"), post("/b", needs=[]), post("/c", needs=["a", "b"]))))

    await on.remote.reached("/a", "/b")  # neither has been answered
    await on.remote.let_go("/a", "/b")
    await running

    assert on.remote.paths[2:] == ["/c"]


async def test_a_step_waits_for_what_it_needs_and_for_nothing_else(on: Bench) -> None:
    on.remote.held = {"/slow"}
    running = on.start(in_yaml(steps(post("/slow"), post("/b", needs=[]), post("/c", needs=["b"]))))

    await on.remote.reached("/b", "/c")
    await on.remote.let_go("/slow")
    await running


async def test_a_step_waits_for_what_it_refers_to_whatever_it_needs(on: Bench) -> None:
    on.remote.held = {"/a"}
    flow = in_yaml(steps(post("/a", 7), post("/b", "{{ steps.a.output.body.got }}", needs=[])))
    running = on.start(flow)
    await on.remote.reached("/a")
    assert on.remote.paths == ["/a"]

    await on.remote.let_go("/a")
    await running

    assert json.loads(on.remote.requests[1].content) == 7


# Conditions


async def test_a_step_whose_condition_is_false_is_skipped_and_those_after_it_see_that(on: Bench) -> None:
    flow = in_yaml(
        steps(
            post("/a", **{"if": "event.body.amount > 10"}),
            log("next", "{{ steps.a.status }}, {{ steps.a.output | default('nothing') }}"),
            output="'{{ steps.next.output.text }}'",
        )
    )

    execution = await on.run(flow, {"amount": 3})

    assert on.remote.paths == []
    assert statuses(execution) == {"a": "skipped", "next": "succeeded"}
    assert execution.output.startswith("skipped, ")


async def test_a_step_whose_condition_is_true_runs(on: Bench) -> None:
    await on.run(in_yaml(steps(post("/a", **{"if": "event.body.amount > 10"}))), {"amount": 11})

    assert on.remote.paths == ["/a"]


# Failures


async def test_a_failed_step_ends_the_execution_and_is_named(on: Bench) -> None:
    on.remote.statuses = {"/b": 404}

    execution = await on.run(in_yaml(steps(post("/a"), post("/b"), post("/c"))))

    assert on.remote.paths == ["/a", "/b"]
    assert statuses(execution) == {"a": "succeeded", "b": "failed"}
    assert (execution.status, execution.error["step"], execution.error["code"]) == (Status.FAILED, "b", "remote")
    assert execution.error["message"].startswith("step b: ")
    assert "404" in execution.error["message"]


async def test_with_on_error_continue_the_next_steps_see_the_error(on: Bench) -> None:
    on.remote.statuses = {"/a": 404}
    seen = "{{ steps.a.status }} {{ steps.a.error.code }} {{ steps.a.error.status }}: {{ steps.a.error.message }}"

    execution = await on.run(in_yaml(steps(post("/a", on_error="continue"), log("next", seen))))

    assert execution.status is Status.SUCCEEDED
    assert statuses(execution) == {"a": "failed", "next": "succeeded"}
    assert execution.steps[1].output["text"].startswith("failed remote 404: POST")


async def test_the_failure_of_one_step_stops_those_at_its_side(on: Bench) -> None:
    on.remote.held, on.remote.statuses = {"/slow", "/bad"}, {"/bad": 404}
    running = on.start(in_yaml(steps(post("/slow"), post("/bad", needs=[]), post("/never", needs=["slow"]))))
    await on.remote.reached("/slow", "/bad")

    await on.remote.let_go("/bad")
    await asyncio.gather(running, return_exceptions=True)

    execution = await on.last()
    assert sorted(on.remote.paths) == ["/bad", "/slow"]
    assert (execution.status, execution.error["step"]) == (Status.FAILED, "bad")
    assert statuses(execution) == {"slow": "failed", "bad": "failed"}


async def test_a_step_whose_arguments_can_not_be_rendered_failed_before_its_action_was_called(on: Bench) -> None:
    execution = await on.run(in_yaml(steps(post("/a", "{{ event.body.missing }}"))), {})

    [step] = execution.steps
    assert (step.status, step.attempts, step.error["code"]) == (Status.FAILED, 0, "expression")
    assert "missing" in step.error["message"]
    assert on.remote.paths == []


async def test_a_condition_that_can_not_be_rendered_fails_its_step(on: Bench) -> None:
    execution = await on.run(in_yaml(steps(post("/a", **{"if": "event.body.missing > 1"}))), {})

    assert statuses(execution) == {"a": "failed"}
    assert execution.error["step"] == "a"


async def test_an_output_that_can_not_be_rendered_fails_the_execution_and_no_step(on: Bench) -> None:
    execution = await on.run(in_yaml(steps(post("/a"), output="'{{ event.body.missing }}'")), {})

    assert (execution.status, execution.error["code"], execution.error["step"]) == (Status.FAILED, "expression", None)
    assert statuses(execution) == {"a": "succeeded"}


# What expressions see


async def test_everything_in_scope_is_there(on: Bench) -> None:
    seen = "{{ [vars.shop, workflow.name, execution.id, now, event.body, steps.first.output.text] }}"
    flow = in_yaml(steps(log("first", "1"), vars="{shop: 'Acme {{ event.body }}'}", output=f'"{seen}"'))

    execution = await on.run(flow, 7)

    shop, name, execution_id, now, body, first = execution.output
    assert (shop, name, execution_id, body, first) == ("Acme 7", "test", execution.id, 7, "1")
    assert str(now).startswith("2026-01-01T00:00:00")


async def test_data_is_never_rendered(on: Bench) -> None:
    hostile = "{{ execution.id }} {% raw %}"

    execution = await on.run(
        in_yaml(steps(log("a", "{{ event.body }}"), log("b", "{{ steps.a.output.text }}"))), hostile
    )

    assert [step.output["text"] for step in execution.steps] == [hostile, hostile]


async def test_an_argument_for_a_template_is_handed_over_as_it_is_written(on: Bench) -> None:
    given = {"template": "Hello {{ name }}!", "data": {"name": "{{ event.body }}"}}
    flow = in_yaml(steps(json.dumps({"id": "a", "uses": "transform.template", "with": given})))

    execution = await on.run(flow, "{{ Ada }}")

    assert "Hello {{ Ada }}!" in json.dumps(execution.steps[0].output)


async def test_executions_of_one_workflow_share_nothing(on: Bench) -> None:
    on.remote.held = {"/a"}
    flow = in_yaml(
        steps(post("/a", "{{ event.body }}"), output="{said: '{{ steps.a.output.body.got }}', all: [x, {y: z}]}")
    )
    running = [on.start(flow, n) for n in range(20)]
    await on.remote.reached("/a")
    await on.remote.let_go("/a")

    outputs: list[Any] = await asyncio.gather(*running)

    assert [output["said"] for output in outputs] == list(range(20))
    outputs[0]["all"].append("changed")
    assert outputs[1]["all"] == ["x", {"y": "z"}]


# What a step declares


async def test_a_credential_authenticates_the_step() -> None:
    async with bench({"team": {"token": "s3cret-token"}}) as on:
        execution = await on.run(in_yaml(steps(post("/a", credential="team"), post("/b"))))

    assert execution.status is Status.SUCCEEDED
    assert [request.headers.get("authorization") for request in on.remote.requests] == ["Bearer s3cret-token", None]


async def test_retries_are_those_of_the_step_and_counted(on: Bench) -> None:
    on.remote.statuses = {"/a": 503}
    retry = {"attempts": 3, "delay": "2s", "backoff": "constant", "on": ["5xx"]}

    execution = await on.run(in_yaml(steps(post("/a", retry=retry))))

    assert on.remote.paths == ["/a"] * 3
    assert on.clock.slept == [2, 2]
    assert (execution.steps[0].status, execution.steps[0].attempts) == (Status.FAILED, 3)
    assert len({request.headers["idempotency-key"] for request in on.remote.requests}) == 1


async def test_a_step_does_not_take_longer_than_its_timeout(on: Bench) -> None:
    on.remote.held = {"/a"}

    execution = await on.run(in_yaml(steps(post("/a", timeout="50ms"))))

    assert (execution.steps[0].status, execution.steps[0].error["code"]) == (Status.FAILED, "timeout")
    assert (execution.status, execution.error["code"]) == (Status.FAILED, "timeout")


# After a crash


async def test_what_had_finished_is_not_run_again_and_its_output_is_known(on: Bench) -> None:
    on.remote.held = {"/b"}
    flow = in_yaml(steps(post("/a", 1), post("/b", "{{ steps.a.output.body.got }}"), post("/c")))
    running = on.start(flow)
    await on.remote.reached("/b")
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go("/b")
    [handed_back] = (await on.store.executions()).items
    assert handed_back.status is Status.ACCEPTED

    await on.go_on(flow, handed_back.id)

    assert on.remote.paths == ["/a", "/b", "/b", "/c"]
    first, again = (request for request in on.remote.requests if request.url.path == "/b")
    assert first.content == again.content == b"1"
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"] == f"{handed_back.id}:b"


@pytest.mark.parametrize(("on_error", "goes_on"), [("continue", True), ("fail", False)])
async def test_what_had_failed_or_was_skipped_stays_so(on: Bench, on_error: str, goes_on: bool) -> None:
    on.remote.statuses, on.remote.held = {"/bad": 404}, {"/c"}
    flow = in_yaml(
        steps(
            post("/never", **{"if": "event.body == 1"}),
            post("/bad", on_error=on_error),
            log("seen", "{{ steps.never.status }} {{ steps.bad.error.code }}"),
            post("/c"),
        )
    )
    crashed = in_yaml(steps(post("/never", **{"if": "event.body == 1"}), post("/bad", on_error="continue"), post("/c")))
    running = on.start(crashed)
    await on.remote.reached("/c")
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    on.remote.statuses = {}
    await on.remote.let_go("/c")
    [handed_back] = (await on.store.executions()).items

    going_on = asyncio.create_task(on.go_on(flow, handed_back.id))
    await asyncio.gather(going_on, return_exceptions=True)

    assert (going_on.exception() is None) is goes_on
    assert on.remote.paths.count("/bad") == 1
    assert on.remote.paths.count("/never") == 0
    known = statuses(await on.last())
    assert (known["never"], known["bad"]) == ("skipped", "failed")
    assert ("seen" in known) is goes_on
