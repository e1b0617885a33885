"""A workflow of every kind that is handed back at any moment goes on as if nothing had happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from executing import URL, Bench, bench, block, in_yaml, post, step, steps

from flows.history import Execution, Hold, MemoryStore, Status, StepExecution
from flows.on_prefect.flow import WorkflowFlow


def workflow(*written: str, **keys: str) -> WorkflowFlow:
    return in_yaml(steps(*written, **keys))


SWITCH = workflow(
    post("/a"),
    step(
        "route",
        switch="event.body.kind",
        cases={"x": block(post("/x", "{{ steps.a.status }}"), post("/y", "{{ steps.x.output.body.got }}"))},
        default=block(post("/d")),
    ),
    post("/z", ["{{ steps.y.status }}", "{{ steps.d.status }}"]),
    output="'{{ steps.route.output.body }}'",
)
TRY = workflow(
    step(
        "guard",
        try_=block(post("/a"), post("/bad"), post("/never")),
        catch=block(post("/c", "{{ error }}"), post("/d")),
        finally_=block(post("/e"), post("/f", ["{{ steps.bad.status }}", "{{ steps.never.status }}"])),
    ),
    post("/z", "{{ steps.guard.output.body.got }}"),
    output="'{{ [steps.bad.error, steps.never.status] }}'",
)
LOOP = workflow(
    step(
        "lines",
        for_each="event.body.items",
        as_="line",
        steps=block(
            post("/a", "{{ line }}"),
            step(
                "parts",
                for_each="line.parts",
                steps=block(post("/b", ["{{ line.id }}", "{{ item }}", "{{ steps.a.status }}"]), post("/c")),
            ),
        ),
    ),
    post("/z"),
    output="'{{ steps.lines.output }}'",
)
ACTION = workflow(
    step(
        "lines",
        for_each="[1, 2, 3]",
        uses="http.request",
        tolerate=1,
        with_={"method": "POST", "url": URL + "/{{ 'bad' if item == 2 else item }}", "json": "{{ index }}"},
    ),
    post("/z", "{{ steps.lines.output[1].error.code }}"),
    output="'{{ steps.lines.output }}'",
)
FAILING_LOOP = workflow(
    step("lines", for_each="[1, 2]", on_error="continue", steps=block(post("/a", "{{ item }}"), post("/bad"))),
    post("/z", "{{ steps.lines.output[0].error.step }}"),
    output="'{{ steps.lines.output }}'",
)
REPEAT = workflow(
    step(
        "poll",
        repeat={"until": "index == 2", "every": "10s"},
        steps=block(post("/a", "{{ index }}"), step("n", set={"i": "{{ index }}"}), post("/b")),
    ),
    step("pause", wait="20s"),
    post("/z"),
    output="'{{ steps.poll.output.body }}'",
)
STOP = workflow(
    step(
        "lines",
        for_each="[1, 2, 3]",
        steps=block(
            post("/a", "{{ item }}"),
            step(
                "guard",
                try_=block(step("halt", stop={"output": ["{{ item }}"]}, if_="item == 2")),
                finally_=block(post("/f"), post("/g")),
            ),
        ),
    ),
    post("/never"),
)
SIDES = workflow(
    step(
        "guard",
        try_=block(post("/a"), post("/b", needs=[]), post("/bad", needs=["a", "b"]), post("/never")),
        catch=block(post("/c"), post("/d", needs=[])),
    ),
    output="'{{ steps.guard.output.status }}'",
)
STOPPED_SIDES = workflow(
    step("l", for_each="[1, 2]", concurrency=2, steps=block(post("/a"), post("/b", needs=[]), post("/c"))),
    step("halt", stop={"output": 1}, needs=["l"], if_="true"),
    post("/never", needs=["l", "halt"]),
)
WORKERS = workflow(
    step(
        "l",
        for_each="[1, 2, 3, 4, 5]",
        concurrency=3,
        tolerate="20%",
        steps=block(post("/a", "{{ item }}"), step("no", fail="x", if_="item == 3"), post("/b", "{{ index }}")),
    ),
    output="'{{ steps.l.output }}'",
)
FAILURE = workflow(
    post("/a"),
    step("l", for_each="[1]", steps=block(post("/bad"))),
    on_failure=json.dumps(block(post("/x", "{{ error }}"), post("/y"))),
)
EVERYTHING = workflow(
    post("/first"),
    step("start", set={"n": "{{ event.body.items | length }}"}),
    step(
        "lines",
        for_each="event.body.items",
        as_="line",
        collect=False,
        steps=block(
            step(
                "guard",
                try_=block(
                    step(
                        "route",
                        switch="line.id",
                        cases={
                            "1": block(
                                step(
                                    "polling",
                                    repeat={"until": "index >= 1"},
                                    steps=block(post("/poll", ["{{ line.id }}", "{{ index }}"])),
                                )
                            )
                        },
                        default=block(
                            step(
                                "parts",
                                for_each="line.parts",
                                steps=block(
                                    post("/part", ["{{ item }}", "{{ steps.start.output.n }}"]),
                                    step("no", fail="part {{ item }}", if_="item == 'b'"),
                                ),
                            )
                        ),
                    )
                ),
                catch=block(post("/caught", "{{ error }}")),
                finally_=block(post("/clean", "{{ steps.route.status }}")),
            ),
            post("/line", "{{ now }}"),
        ),
    ),
    step("halt", stop={"output": "{{ steps.start.output }}"}, if_="steps.lines.status == 'succeeded'"),
    post("/never"),
    output="other",
)
BODY = {"kind": "x", "items": [{"id": 1, "parts": ["a"]}, {"id": 2, "parts": ["a", "b", "c"]}]}

FLOWS = {
    "switch": SWITCH,
    "try": TRY,
    "for_each": LOOP,
    "for_each-uses": ACTION,
    "for_each-continue": FAILING_LOOP,
    "repeat": REPEAT,
    "stop": STOP,
    "on_failure": FAILURE,
    "everything": EVERYTHING,
}
SIDE_BY_SIDE = {"try": SIDES, "stop": STOPPED_SIDES, "for_each": WORKERS}


def requests(on: Bench) -> list[tuple[str, str, Any]]:
    """Each with its step: an idempotency key is of the execution and the step's path."""
    return [
        (
            request.headers["idempotency-key"].partition(":")[2],
            request.url.path,
            json.loads(request.content) if request.content else None,
        )
        for request in on.remote.requests
    ]


def recorded(execution: Execution) -> dict[str, Any]:
    return {
        one.path: (one.action, one.status, one.attempts, one.output, one.error, one.decision) for one in execution.steps
    }


def result(execution: Execution) -> tuple[Any, ...]:
    return execution.status, execution.output, execution.error, recorded(execution), list(recorded(execution))


async def handed_back(on: Bench, flow: WorkflowFlow, when: Awaitable[Any]) -> Execution:
    """Ends an execution whose process stopped at this moment."""
    running = on.start(flow, BODY)
    async with asyncio.timeout(10):
        await when
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    stopped = await on.last()
    assert stopped.status is Status.ACCEPTED
    on.clock.move(hours=3)
    on.remote.unanswered = None
    await asyncio.gather(on.go_on(flow, stopped.id), return_exceptions=True)
    return await on.last()


async def requested(on: Bench, number: int) -> None:
    """A request has come that gets no answer."""
    on.remote.unanswered = number
    async with on.remote.arrived:
        await on.remote.arrived.wait_for(lambda: len(on.remote.requests) > number)


class StuckStore(MemoryStore):
    """One write of a step's record, counted from 0, never comes to its end, and writes nothing."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.writes, self.stuck = at, 0, asyncio.Event()

    async def save_step(self, hold: Hold, step: StepExecution) -> bool:
        self.writes += 1
        if self.writes - 1 == self.at:
            self.stuck.set()
            await asyncio.Event().wait()
        return await super().save_step(hold, step)


@asynccontextmanager
async def on_store(store: StuckStore) -> AsyncIterator[Bench]:
    async with bench(store=store, statuses={"/bad": 404}) as on:
        store._clock = on.clock
        yield on


async def undisturbed(flow: WorkflowFlow) -> tuple[list[Any], tuple[Any, ...], int]:
    """Its requests, its result, and how often a step was recorded."""
    store = StuckStore(-1)
    async with on_store(store) as on:
        execution = await on.run(flow, BODY)
        return requests(on), result(execution), store.writes


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_at_any_request_it_does_the_rest_and_nothing_twice(name: str) -> None:
    wanted, ended, _ = await undisturbed(FLOWS[name])
    assert len(wanted) > 3
    for number in range(len(wanted)):
        async with bench(statuses={"/bad": 404}) as on:
            execution = await handed_back(on, FLOWS[name], requested(on, number))

        found = requests(on)
        assert found[: number + 1] == wanted[: number + 1]
        # What was in flight is sent again, the same; nothing else is.
        assert found[number + 1 :] == wanted[number:], f"handed back at request {number}"
        assert result(execution) == ended


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_before_any_record_it_does_the_rest_and_nothing_twice(name: str) -> None:
    wanted, ended, writes = await undisturbed(FLOWS[name])
    for number in range(writes):
        store = StuckStore(number)
        async with on_store(store) as on:
            execution = await handed_back(on, FLOWS[name], store.stuck.wait())

        found = requests(on)
        again = [one for index, one in enumerate(found) if one in found[:index]]
        assert list(dict.fromkeys(map(repr, found))) == list(map(repr, wanted)), f"handed back before record {number}"
        assert len(again) <= 1  # the one whose end was not recorded
        assert result(execution) == ended


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
async def test_what_runs_side_by_side_goes_on_too(name: str) -> None:
    wanted, ended, writes = await undisturbed(SIDE_BY_SIDE[name])
    for number in range(writes):
        store = StuckStore(number)
        async with on_store(store) as on:
            execution = await handed_back(on, SIDE_BY_SIDE[name], store.stuck.wait())

        found = requests(on)
        assert {*map(repr, found)} == {*map(repr, wanted)}, f"handed back before record {number}"
        assert len(found) - len(wanted) <= 4  # at most what was in flight at the same time
        assert result(execution)[:3] == ended[:3]
        assert {path: one[1] for path, one in recorded(execution).items()} == {
            path: one[1] for path, one in ended[3].items()
        }
