"""How steps are recorded, in YAML and in Python alike: ids, attempts, known results, masks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from executing import URL, Bench, bench, in_yaml, post, steps

from connectors import http, log
from flows import Event, workflow
from flows.engine.failures import earlier_failure, error_document
from flows.history import Execution, Status
from flows.on_prefect.flow import WorkflowFlow
from foundation.errors import (
    ActionError,
    CircuitOpen,
    ConnectionFailed,
    CredentialError,
    IpaasError,
    RemoteError,
    StepTimeout,
    TooLarge,
)


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


def ids(execution: Execution) -> list[str]:
    return [step.path for step in execution.steps]


async def handed_back(on: Bench, flow: WorkflowFlow, *reached: str) -> str:
    """An execution whose process stopped when these had been asked for; its id."""
    on.remote.held |= {reached[-1]}
    running = on.start(flow)
    await on.remote.reached(*reached)
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    on.remote.held.clear()
    return (await on.last()).id


# Three posts in a row, in both languages


@workflow(name="in-python")
async def in_python(event: Event) -> dict[str, int]:
    first = await http.request(method="POST", url=f"{URL}/a", json=1)
    await http.request(method="POST", url=f"{URL}/b", json=first["body"]["got"] + 1)
    last = await http.request(method="POST", url=f"{URL}/c", json=3)
    return {"n": last["body"]["got"]}


AS_YAML = in_yaml(
    steps(
        post("/a", 1),
        post("/b", "{{ steps.a.output.body.got + 1 }}"),
        post("/c", 3),
        output="{n: '{{ steps.c.output.body.got }}'}",
    )
)
BOTH = pytest.mark.parametrize(
    ("flow", "named"),
    [(AS_YAML, ["a", "b", "c"]), (in_python, ["http.request", "http.request-2", "http.request-3"])],
    ids=["yaml", "python"],
)


@BOTH
async def test_every_step_is_recorded_in_order(on: Bench, flow: WorkflowFlow, named: list[str]) -> None:
    execution = await on.run(flow)

    assert (execution.status, execution.output) == (Status.SUCCEEDED, {"n": 3})
    assert ids(execution) == named
    assert {(step.action, step.status, step.attempts) for step in execution.steps} == {
        ("http.request", Status.SUCCEEDED, 1)
    }
    assert [step.output["body"] for step in execution.steps] == [{"got": 1}, {"got": 2}, {"got": 3}]
    assert all(step.started_at and step.finished_at for step in execution.steps)


@BOTH
async def test_the_idempotency_key_is_of_execution_and_step(on: Bench, flow: WorkflowFlow, named: list[str]) -> None:
    execution = await on.run(flow)

    sent = [request.headers["idempotency-key"] for request in on.remote.requests]
    assert sent == [f"{execution.id}:{one}" for one in named]


@BOTH
async def test_after_a_crash_only_what_was_in_flight_runs_again(
    on: Bench, flow: WorkflowFlow, named: list[str]
) -> None:
    execution_id = await handed_back(on, flow, "/a", "/b")

    output = await on.go_on(flow, execution_id)

    assert output == {"n": 3}
    assert on.remote.paths == ["/a", "/b", "/b", "/c"]
    first, again = (request for request in on.remote.requests if request.url.path == "/b")
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert json.loads(again.content) == 2
    assert ids(await on.last()) == named


@BOTH
async def test_a_failed_step_fails_the_execution(on: Bench, flow: WorkflowFlow, named: list[str]) -> None:
    on.remote.statuses = {"/b": 404}

    execution = await on.run(flow)

    assert (execution.status, execution.error["code"]) == (Status.FAILED, "remote")
    assert [(step.path, step.status) for step in execution.steps] == [
        (named[0], Status.SUCCEEDED),
        (named[1], Status.FAILED),
    ]
    assert execution.steps[1].error["status"] == 404


# Python: what is called side by side


@workflow(name="side-by-side")
async def side_by_side(event: Event) -> list[str]:
    """Two branches of two calls each; how fast each goes decides in which order the second ones come."""

    async def branch(name: str) -> str:
        await http.request(method="POST", url=f"{URL}/{name}1")
        answer = await http.request(method="POST", url=f"{URL}/{name}2", json=name)
        return str(answer["body"]["got"])

    return list(await asyncio.gather(branch("a"), branch("b")))


async def test_results_of_calls_side_by_side_are_not_mixed_up_after_a_crash(on: Bench) -> None:
    on.remote.held = {"/a1"}  # at first the second branch is faster, afterwards they go in step
    execution_id = await handed_back(on, side_by_side, "/a1", "/b1", "/b2")

    output = await on.go_on(side_by_side, execution_id)

    assert output == ["a", "b"]
    assert sorted(on.remote.paths) == ["/a1", "/a1", "/a2", "/b1", "/b2", "/b2"]


async def test_equal_calls_side_by_side_are_steps_of_their_own(on: Bench) -> None:
    @workflow(name="equal")
    async def equal(event: Event) -> None:
        await asyncio.gather(*(log.message(text="same") for _ in range(3)), log.message(text="other"))
        await log.message(text="after")

    execution = await on.run(equal)

    assert len(set(ids(execution))) == 5
    assert ids(execution)[-1] == "log.message"


async def test_a_failure_that_was_caught_is_raised_again_as_what_it_was(on: Bench) -> None:
    @workflow(name="catches")
    async def catches(event: Event) -> int:
        try:
            await http.request(method="POST", url=f"{URL}/bad")
        except RemoteError as error:
            await http.request(method="POST", url=f"{URL}/c")
            return error.status
        return 0

    on.remote.statuses = {"/bad": 404}
    execution_id = await handed_back(on, catches, "/bad", "/c")
    on.remote.statuses = {}

    assert await on.go_on(catches, execution_id) == 404
    assert on.remote.paths == ["/bad", "/c", "/c"]


@pytest.mark.parametrize(
    "error",
    [
        ActionError("x"),
        RemoteError("x", status=429),
        ConnectionFailed("x"),
        StepTimeout("x"),
        CircuitOpen("x"),
        CredentialError("x"),
        TooLarge("x"),
    ],
    ids=lambda error: error.code,
)
def test_a_recorded_error_comes_back_as_its_own_kind(error: IpaasError) -> None:
    back = earlier_failure(json.loads(json.dumps(error_document(error))))

    assert (type(back), back.code, str(back)) == (type(error), error.code, "x")


def test_an_error_of_a_kind_that_is_gone_keeps_its_code() -> None:
    back = earlier_failure({"code": "of_an_earlier_version", "message": "x"})

    assert (back.code, str(back)) == ("of_an_earlier_version", "x")


# Secrets


async def test_secrets_are_masked_in_what_is_recorded_and_in_what_is_returned() -> None:
    async with bench({"team": {"token": "s3cret-token"}}) as on:
        flow = in_yaml(
            steps(
                post("/a", {"echoed": "s3cret-token"}, credential="team"),
                post("/b", "{{ steps.a.output.body.got.echoed }}"),
                output="'{{ steps.a.output.body }}'",
            )
        )

        output = await on.start(flow)

    execution = await on.last()
    assert "s3cret" not in json.dumps([output, execution.output, [step.output for step in execution.steps]])
    assert output == {"got": {"echoed": "********"}}


async def test_secrets_are_masked_in_errors() -> None:
    async with bench({"team": {"token": "s3cret-token"}}, statuses={"/s3cret-token": 404}) as on:
        flow = in_yaml(steps(post("/a", credential="team"), post("/s3cret-token").replace('"s3cret-token"', '"b"')))
        failing = on.start(flow)
        await asyncio.gather(failing, return_exceptions=True)

    execution = await on.last()
    recorded = [execution.error, *(step.error for step in execution.steps)]
    assert "404" in execution.error["message"]
    assert "s3cret" not in json.dumps(recorded)
    assert "s3cret" not in str(failing.exception())


# The author's own


async def test_an_actions_own_fault_is_the_steps_failure(on: Bench) -> None:
    execution = await on.run(in_yaml(steps("{id: a, uses: log.message, with: {text: x, level: loud}}")))

    assert execution.steps[0].status is Status.FAILED
    assert "level" in execution.steps[0].error["message"]


async def test_a_line_that_has_no_form_in_utf_8_can_be_logged(on: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "ipaas.step"):
        await on.run(in_yaml(steps('{id: a, uses: log.message, with: {text: "{{ event.body }}"}}')), "half \ud800")

    assert "half \\ud800" in caplog.text
    assert caplog.text.encode()
