"""`each`: loops of a Python workflow."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from executing import URL, Bench, bench
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from connectors import http, log
from flows import Event, each, step, workflow
from flows.history import Execution, Hold, MemoryStore, Status, StepExecution
from flows.on_prefect.flow import WorkflowFlow
from foundation import tracing
from foundation.errors import IpaasError, RemoteError


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


async def post(path: str, body: Any = None) -> Any:
    return (await http.request(method="POST", url=URL + path, json=body))["body"]["got"]


def paths(execution: Execution) -> list[str]:
    return [one.path for one in execution.steps]


def statuses(execution: Execution) -> dict[str, str]:
    return {one.path: str(one.status) for one in execution.steps}


async def ran(on: Bench, flow: WorkflowFlow, body: Any = None) -> Execution:
    execution = await on.run(flow, body)
    assert (execution.status, execution.error) == (Status.SUCCEEDED, None)
    return execution


# `async for`


@workflow()
async def totals(event: Event) -> int:
    total = 0
    async for line in each(event.body):
        total += await post("/a", line)
        await log.message(text=f"{line}")
    await post("/z", total)
    return total


async def test_what_is_done_in_a_round_has_the_round_in_its_path(on: Bench) -> None:
    execution = await ran(on, totals, [1, 2])

    assert execution.output == 3
    assert paths(execution) == [
        "each",
        "each[0].http.request",
        "each[0].log.message",
        "each[1].http.request",
        "each[1].log.message",
        "http.request",
    ]
    loop = execution.steps[0]
    assert (loop.action, loop.status, loop.decision["items"]) == ("for_each", Status.SUCCEEDED, [1, 2])
    sent = [request.headers["idempotency-key"] for request in on.remote.requests]
    assert sent[0] == f"{execution.id}:each[0].http.request"


async def test_an_empty_list_has_no_rounds(on: Bench) -> None:
    assert statuses(await ran(on, totals, [])) == {"each": "succeeded", "http.request": "succeeded"}


async def test_a_loop_has_the_name_it_is_given_or_a_number_and_what_is_called_twice_in_a_round_has_one_too(
    on: Bench,
) -> None:
    @workflow()
    async def named(event: Event) -> None:
        async for line in each(["a", "b"], id="lines"):
            async for _ in each([1], id="parts"):
                await log.message(text=line)
                await log.message(text=line)
        for _ in range(2):
            async for _ in each([1]):
                await log.message.with_id("say")(text="x")

    execution = await ran(on, named)

    assert paths(execution) == [
        "lines",
        *(
            path
            for round in ("lines[0]", "lines[1]")
            for path in (
                f"{round}.parts",
                f"{round}.parts[0].log.message",
                f"{round}.parts[0].log.message-2",
            )
        ),
        "each",
        "each[0].say",
        "each-2",
        "each-2[0].say",
    ]


@pytest.mark.parametrize("how", ["break", "return", "caught", "fails"])
async def test_a_loop_that_is_left_has_ended_and_what_comes_next_is_not_in_it(on: Bench, how: str) -> None:
    @workflow()
    async def leaves(event: Event) -> str:
        try:
            async for line in each([1, 2, 3]):
                await post("/a", line)
                if how == "break" and line == 2:
                    break
                if how == "return" and line == 2:
                    return "returned"
                if line == 2:
                    raise KeyError("two")
        except KeyError:
            if how == "fails":
                raise
        await post("/z")
        return "ended"

    execution = await on.run(leaves)

    known = {"each": "succeeded", "each[0].http.request": "succeeded", "each[1].http.request": "succeeded"}
    if how == "fails":
        assert execution.steps[0].error["message"] == "KeyError: 'two'"
        known["each"] = "failed"
    if how in ("break", "caught"):
        known["http.request"] = "succeeded"
    assert statuses(execution) == known


async def test_the_list_is_what_it_was_when_the_loop_began(on: Bench) -> None:
    lists = [[1, 2], [7, 8, 9]]

    @workflow()
    async def changing(event: Event) -> list[int]:
        return [await post("/a", line) async for line in each(lists.pop(0))]

    on.remote.held = {"/a"}
    running = on.start(changing)
    await on.remote.reached("/a")
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go("/a")

    assert await on.go_on(changing, (await on.last()).id) == [1, 2]


async def test_a_list_has_to_be_json(on: Bench) -> None:
    @workflow()
    async def wrong(event: Event) -> None:
        async for _ in each([{1, 2}]):
            pass

    execution = await on.run(wrong)

    assert execution.error["message"] == "each: the list is recorded, and has to be JSON; it holds a set"


async def test_tuples_are_lists_the_first_time_too(on: Bench) -> None:
    @workflow()
    async def numbered(event: Event) -> list[Any]:
        return [[index, line] async for index, line in each(enumerate("ab"))]

    assert (await ran(on, numbered)).output == [[0, "a"], [1, "b"]]


async def test_side_by_side_loops_keep_their_rounds_apart(on: Bench) -> None:
    async def through(name: str) -> list[Any]:
        return [await post(f"/{name}", number) async for number in each([1, 2], id=name)]

    @workflow()
    async def both(event: Event) -> list[Any]:
        return await asyncio.gather(through("a"), through("b"))

    execution = await ran(on, both)

    assert execution.output == [[1, 2], [1, 2]]
    assert sorted(paths(execution)) == sorted(
        [name + rest for name in "ab" for rest in ("", "[0].http.request", "[1].http.request")]
    )


@pytest.mark.parametrize("option", [{"concurrency": 5}, {"tolerate": 1}, {"collect": False}])
async def test_options_that_need_a_function_say_so(on: Bench, option: dict[str, Any]) -> None:
    @workflow()
    async def wrong(event: Event) -> None:
        async for _ in each([1], **option):
            pass

    execution = await on.run(wrong)

    assert execution.error["code"] == "definition"
    assert f"await each(items, function, {next(iter(option))}=" in execution.error["message"]


async def test_a_loop_without_a_function_can_not_be_awaited(on: Bench) -> None:
    @workflow()
    async def wrong(event: Event) -> None:
        await each([1])  # type: ignore[misc]  # as the type checker says

    assert "needs a function" in (await on.run(wrong)).error["message"]


# Rounds of a function


async def reserve(line: int) -> dict[str, int]:
    return {"reserved": await post(f"/{line}", line)}


@workflow()
async def reserves(event: Event) -> Any:
    return await each(event.body, reserve, concurrency=2, tolerate=1, id="lines")


async def test_rounds_run_side_by_side_and_give_their_results_in_order(on: Bench) -> None:
    on.remote.held = {"/1", "/2"}
    running = on.start(reserves, [1, 2, 3])
    await on.remote.reached("/1", "/2")
    assert len(on.remote.paths) == 2
    await on.remote.let_go("/2")
    await on.remote.reached("/3")
    await on.remote.let_go("/1")

    assert await running == [{"reserved": 1}, {"reserved": 2}, {"reserved": 3}]
    execution = await on.last()
    assert {one.path: one.action for one in execution.steps} == {
        "lines": "for_each",
        **{f"lines[{n}]": "each" for n in range(3)},
        **{f"lines[{n}].http.request": "http.request" for n in range(3)},
    }


async def test_rounds_that_had_ended_are_not_called_again(on: Bench) -> None:
    called = []

    async def noting(line: int) -> int:
        called.append(line)
        return int(await post(f"/{line}", line))

    @workflow()
    async def notes(event: Event) -> Any:
        return await each([1, 2, 3], noting)

    on.remote.held = {"/2"}
    running = on.start(notes)
    await on.remote.reached("/2")
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go("/2")

    assert await on.go_on(notes, (await on.last()).id) == [1, 2, 3]
    assert called == [1, 2, 2, 3]


async def test_so_many_failed_rounds_are_borne(on: Bench) -> None:
    on.remote.statuses = {"/2": 404}

    execution = await ran(on, reserves, [1, 2, 3])

    first, failed, last = execution.output
    assert (first, last) == ({"reserved": 1}, {"reserved": 3})
    assert {**failed["error"], "message": ""} == {
        "message": "", "code": "remote", "step": "lines[1].http.request", "status": 404
    }  # fmt: skip
    assert statuses(execution)["lines[1]"] == "failed"


async def test_one_more_fails_the_loop_as_what_it_was(on: Bench) -> None:
    on.remote.statuses = {"/2": 404, "/3": 404}

    @workflow()
    async def catches(event: Event) -> Any:
        try:
            await each([1, 2, 3], reserve, tolerate="50%")
        except RemoteError as error:
            return [error.status, error.path]

    assert (await ran(on, catches)).output == [404, "each[2].http.request"]


async def test_with_on_error_continue_any_number_of_rounds_may_fail(on: Bench) -> None:
    async def fails(line: int) -> None:
        raise ValueError(line)

    @workflow()
    async def goes_on(event: Event) -> Any:
        return await each([1, 2], fails, on_error="continue")

    messages = [one["error"]["message"] for one in (await ran(on, goes_on)).output]  # type: ignore[call-overload]
    assert [message.partition(" (")[0] for message in messages] == ["ValueError: 1", "ValueError: 2"]
    assert all("(test_each.py:" in message for message in messages)


async def test_what_is_not_collected_is_not_kept(on: Bench) -> None:
    @workflow()
    async def keeps_none(event: Event) -> Any:
        return await each([1, 2], reserve, collect=False)  # type: ignore[func-returns-value]

    execution = await ran(on, keeps_none)

    assert execution.output is None
    assert [one.output for one in execution.steps if one.action != "http.request"] == [None, None, None]


@pytest.mark.parametrize(
    ("option", "said"), [({"concurrency": 0}, "concurrency"), ({"tolerate": "x"}, "tolerate"), ({"loud": 1}, "loud")]
)
async def test_a_wrong_option_is_named(on: Bench, option: dict[str, Any], said: str) -> None:
    @workflow()
    async def wrong(event: Event) -> None:
        await each([1], reserve, **option)  # type: ignore[call-overload]

    assert said in (await on.run(wrong)).error["message"]


async def test_loops_work_in_workflows_only() -> None:
    with pytest.raises(IpaasError, match="in a workflow's function only"):
        await each([1], reserve)


async def test_a_secret_is_masked_in_what_a_round_returns() -> None:
    async def leaks(line: int) -> Any:
        await http.request(method="POST", url=f"{URL}/a", credential="team")
        return "s3cret-token"

    @workflow()
    async def masks(event: Event) -> Any:
        return await each([1], leaks)

    async with bench({"team": {"token": "s3cret-token"}}) as on:
        execution = await ran(on, masks)

    assert execution.output == ["********"]
    assert "s3cret" not in json.dumps([one.output for one in execution.steps])


# What is traced


@pytest.mark.parametrize("form", ["async for", "function"])
async def test_what_is_done_in_a_loop_is_below_it_in_a_trace(on: Bench, form: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @workflow()
    async def loops(event: Event) -> None:
        if form == "function":
            await each([1], reserve, id="lines")
        else:
            async for line in each([1, 2], id="lines"):
                await reserve(line)
                break
        await post("/z")

    with tracing.use(provider):
        await ran(on, loops)

    spans = {
        (one.attributes or {}).get("ipaas.step"): one for one in exporter.get_finished_spans() if one.name == "step"
    }
    above = {one.context.span_id: one for one in exporter.get_finished_spans()}

    def around(path: str) -> str | None:
        parent = spans[path].parent
        assert parent
        return str((above[parent.span_id].attributes or {}).get("ipaas.step"))

    assert around("lines[0].http.request") == ("lines[0]" if form == "function" else "lines")
    assert around("lines") == around("http.request") == "None"  # the execution


# Many


class NotKept(MemoryStore):
    """Counts the records of steps, and keeps none."""

    records = 0

    async def save_steps(self, hold: Hold, steps: Sequence[StepExecution]) -> bool:
        self.records += len(steps)
        return True


@pytest.mark.parametrize("form", ["async for", "function"])
async def test_the_rounds_of_a_long_loop_are_not_kept(form: str) -> None:
    text = "y" * 10 * 1024

    async def note(number: int) -> None:
        await log.message(text=f"{text}{number}")

    def made(number: int) -> str:
        return f"{text}{number}"

    @workflow()
    async def long(event: Event) -> None:
        if form == "function":
            await each(range(1_000), note, concurrency=5, collect=False)
        else:
            async for number in each(range(1_000)):
                await step(made, number)

    async with bench() as on:
        on.runtime.store = NotKept(on.clock)
        tracemalloc.start()
        await on.start(long)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()

    ends = 2_001 if form == "function" else 1_001
    assert ends - 2 <= on.store.records <= ends + 1  # type: ignore[attr-defined]  # the last go with the execution's
    assert peak < 4  # they are 10
