"""Own functions as steps, named calls, and authors whose functions do not do the same twice."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from executing import URL, Bench, bench

from connectors import http, log
from flows import Event, each, gather, sleep, step, workflow
from flows.history import Execution, NewExecution, Status, Trigger
from flows.on_prefect.flow import WorkflowFlow
from foundation.errors import IpaasError
from foundation.ids import new_id


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


async def post(path: str, body: Any = None) -> Any:
    return (await http.request(method="POST", url=URL + path, json=body))["body"]["got"]


async def again(on: Bench, flow: WorkflowFlow, path: str = "/z") -> Execution:
    """An execution whose process stopped while this was asked for, and which began again."""
    on.remote.held.add(path)
    running = on.start(flow)
    await on.remote.reached(path)
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go(path)
    await asyncio.gather(on.go_on(flow, (await on.last()).id), return_exceptions=True)
    return await on.last()


# step


async def test_an_own_function_is_a_step_whose_result_is_recorded(on: Bench) -> None:
    ran = []

    def score(body: Any, factor: int) -> dict[str, Any]:
        ran.append(threading.current_thread() is threading.main_thread())
        return {"score": body["risk"] * factor, "parts": (1, 2)}

    @workflow()
    async def scores(event: Event) -> Any:
        found = await step(score, {"risk": 2}, 3)
        await post("/z")
        return found

    execution = await again(on, scores)

    assert execution.output == {"score": 6, "parts": [1, 2]}
    assert ran == [False]  # once, in a thread
    [own, _] = execution.steps
    assert (own.path, own.action, own.status, own.attempts) == ("score", "step", Status.SUCCEEDED, 1)


async def test_own_steps_are_numbered_or_named(on: Bench) -> None:
    async def twice(number: int) -> int:
        return 2 * number

    @workflow()
    async def calls(event: Event) -> Any:
        first = await step(twice, 1)
        return [first, await step(twice, 2), await step(twice, 3, id="third"), await step(lambda: 4)]

    execution = await on.run(calls)

    assert execution.output == [2, 4, 6, 4]
    assert [one.path for one in execution.steps] == ["twice", "twice-2", "third", "step"]


async def test_what_an_own_step_raises_has_its_line_and_is_the_same_the_second_time(on: Bench) -> None:
    said = []

    def deep(number: int) -> float:
        return 1 / number

    async def divides(number: int) -> float:
        return deep(number)

    @workflow()
    async def fails(event: Event) -> None:
        try:
            await step(divides, 0)
        except IpaasError as error:
            said.append((type(error).__name__, error.code, str(error), error.path))
        await post("/z")

    line = deep.__code__.co_firstlineno + 1
    execution = await again(on, fails)

    wanted = ("ActionError", "action", f"ZeroDivisionError: division by zero (test_own_steps.py:{line})", "divides")
    assert said == [wanted, wanted]
    assert execution.steps[0].status is Status.FAILED


async def test_an_own_step_returns_json(on: Bench) -> None:
    @workflow()
    async def wrong(event: Event) -> None:
        await step(datetime.now, UTC)

    execution = await on.run(wrong)

    assert execution.error["message"].startswith(
        "what now returns is recorded, and has to be JSON; it holds a datetime"
    )


async def test_an_action_within_an_own_step_is_part_of_it(on: Bench) -> None:
    async def asks(path: str) -> Any:
        return await post(path)

    @workflow()
    async def one_step(event: Event) -> None:
        await step(asks, "/a")

    execution = await on.run(one_step)

    assert [one.path for one in execution.steps] == ["asks"]
    assert on.remote.requests[0].headers["idempotency-key"] == f"{execution.id}:asks"


async def test_a_step_within_a_step_is_refused(on: Bench) -> None:
    async def inner() -> None:
        await step(max, 1, 2)

    @workflow()
    async def nested(event: Event) -> None:
        await step(inner)

    assert "step inside of the step inner" in (await on.run(nested)).error["message"]


async def test_secrets_are_masked_in_what_own_steps_return_and_raise() -> None:
    async def leaks(how: str) -> str:
        if how == "raise":
            raise ValueError("s3cret-token")
        return "s3cret-token"

    @workflow()
    async def masks(event: Event) -> Any:
        await http.request(method="POST", url=f"{URL}/a", credential="team")
        said = await step(leaks, "return")
        await step(leaks, "raise")
        return said

    async with bench({"team": {"token": "s3cret-token"}}) as on:
        execution = await on.run(masks)

    recorded = json.dumps([execution.error, *([one.output, one.error] for one in execution.steps)])
    assert execution.status is Status.FAILED
    assert "s3cret" not in recorded
    assert recorded.count("********") == 3


async def test_a_wait_ends_when_it_would_have_ended(on: Bench) -> None:
    @workflow()
    async def waits(event: Event) -> None:
        await post("/a")
        await sleep("20s")
        await sleep(5, id="pause")

    execution = await on.run(waits)

    assert on.clock.slept == [20, 5]
    assert [(one.path, one.action) for one in execution.steps][1:] == [("sleep", "wait"), ("pause", "wait")]


# Calls with a name, retries and a timeout


async def test_a_call_has_the_path_it_is_given(on: Bench) -> None:
    @workflow()
    async def named(event: Event) -> None:
        say = log.message.with_id("say")
        await say(text="a")
        await asyncio.gather(say(text="b"), log.message.with_id("other")(text="c"))

    assert sorted(one.path for one in (await on.run(named)).steps) == ["other", "say", "say-2"]


async def test_a_path_that_is_none_is_refused(on: Bench) -> None:
    @workflow()
    async def named(event: Event) -> None:
        await log.message.with_id("a b")(text="a")

    assert "'a b' is not a step id" in (await on.run(named)).error["message"]


async def test_a_call_is_tried_as_often_as_it_says(on: Bench) -> None:
    on.remote.statuses = {"/a": 503}
    patient = http.request.with_retry(attempts=3, delay="2s", backoff="constant", on=["5xx"])

    @workflow()
    async def tries(event: Event) -> None:
        await patient(method="POST", url=f"{URL}/a")

    execution = await on.run(tries)

    assert (on.remote.paths, on.clock.slept, execution.steps[0].attempts) == (["/a"] * 3, [2, 2], 3)


async def test_a_call_takes_no_longer_than_it_says(on: Bench) -> None:
    on.remote.held = {"/a"}

    @workflow()
    async def hurries(event: Event) -> None:
        await http.request.with_timeout("50ms").with_id("quick")(method="POST", url=f"{URL}/a")

    execution = await on.run(hurries)

    assert (execution.error["code"], execution.error["step"]) == ("timeout", "quick")


# Not the same twice


def changing(calls: Callable[[bool], Awaitable[Any]]) -> WorkflowFlow:
    runs = []

    @workflow()
    async def changes(event: Event) -> str:
        runs.append(1)
        try:
            await calls(len(runs) > 1)
        except Exception:  # noqa: BLE001 - an author may do so
            return "caught"
        await post("/z")
        return "ended"

    return changes


async def other_arguments(second: bool) -> None:
    await post("/a", "now" if second else "then")


async def another_action(second: bool) -> None:
    if second:
        await log.message.with_id("a")(text="x")
    else:
        await http.request.with_id("a")(method="POST", url=f"{URL}/a")


async def another_branch(second: bool) -> None:
    await (log.message(text="x") if second else post("/a"))


async def in_a_round(second: bool) -> None:
    async for line in each([1, 2]):
        await post("/a", [line, second and line == 2])


async def own_steps_arguments(second: bool) -> None:
    await step(max, 1, 3 if second else 2)


async def one_more(second: bool) -> None:
    if second:
        await log.message(text="before")
    await post("/a")


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (other_arguments, "http.request was called with other arguments before"),
        (another_action, "a was http.request before, and is log.message now"),
        (another_branch, "call 1 was http.request before, and is log.message now"),
        (in_a_round, "each[1].http.request was called with other arguments before"),
        (own_steps_arguments, "max was called with other arguments before"),
        (one_more, "call 1 was http.request before, and is log.message now"),
    ],
    ids=lambda case: case.__name__ if callable(case) else "",
)
async def test_an_author_whose_function_does_something_else_is_told_so(
    on: Bench, calls: Callable[[bool], Awaitable[Any]], said: str
) -> None:
    execution = await again(on, changing(calls))

    assert (execution.status, execution.error["code"]) == (Status.FAILED, "nondeterministic")
    assert execution.error["message"].startswith("test_own_steps.py:")
    assert said in execution.error["message"]
    assert "step(function)" in execution.error["message"]
    assert on.remote.paths.count("/z") == 1  # nothing is sent by a function that went astray


async def test_an_author_whose_function_ends_too_early_is_told_so(on: Bench) -> None:
    runs = []

    @workflow()
    async def ends(event: Event) -> None:
        runs.append(1)
        await post("/a")
        if len(runs) == 1:
            await post("/z")

    execution = await again(on, ends)

    assert execution.error["code"] == "nondeterministic"
    assert execution.error["message"].startswith("http.request-2 was called before, and now it ended without that")


async def test_an_author_who_asks_something_else_side_by_side_is_told_so(on: Bench) -> None:
    runs = []

    @workflow()
    async def asks(event: Event) -> None:
        runs.append(1)
        await asyncio.gather(post("/a", len(runs)), post("/b"))
        await post("/z")

    execution = await again(on, asks)

    assert execution.error["code"] == "nondeterministic"
    assert "was called before, and now it ended without that" in execution.error["message"]


async def test_what_a_failure_at_its_side_has_ended_need_not_be_called_again(on: Bench) -> None:
    @workflow()
    async def catches(event: Event) -> str:
        try:
            await gather(post("/bad"), post("/slow"))
        except IpaasError:
            await post("/z")
        return "caught"

    on.remote.statuses, on.remote.held = {"/bad": 404}, {"/slow"}
    execution = await again(on, catches)

    assert execution.output == "caught"
    assert on.remote.paths.count("/slow") == 1


async def test_what_is_no_json_is_known_again(on: Bench) -> None:
    class Handle:
        """Is somewhere else in memory each time."""

    def read(handle: Handle, names: set[str]) -> int:
        return len(names)

    @workflow()
    async def same(event: Event) -> Any:
        found = await step(read, Handle(), {"a", "b"})
        await post("/z")
        return found

    execution = await again(on, same)

    assert (execution.status, execution.output) == (Status.SUCCEEDED, 2)


async def test_what_a_replay_took_over_may_have_been_called_otherwise(on: Bench) -> None:
    """Who replays with another version wants what is kept to be kept."""
    flow = changing(other_arguments)
    first = await on.run(flow)
    replayed = [one for one in first.steps if one.path == "http.request"]
    new = NewExecution(
        id=new_id(),
        workflow=first.workflow,
        version=first.version,
        trigger=Trigger.REPLAY,
        event=first.event,
        accepted_at=on.clock.now(),
        replay_of=first.id,
        steps=replayed,
    )
    await on.store.accept([new])

    assert await on.go_on(flow, new.id) == "ended"
    assert on.remote.paths == ["/a", "/z", "/z"]
