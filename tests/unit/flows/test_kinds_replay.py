"""A replay from a step inside of others goes to where it was, and does nothing that was done before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from executing import URL, Bench, bench, block, in_yaml, post, step, steps

from connectors import http
from flows import Event, each, workflow
from flows.history import Execution, Status
from flows.on_prefect.flow import WorkflowFlow
from foundation.errors import IpaasError
from ipaas.operations import replay

LINES = in_yaml(
    steps(
        post("/start"),
        step(
            "lines",
            for_each="event.body",
            steps=block(post("/a", "{{ item }}"), post("/b", ["{{ item }}"]), post("/c")),
        ),
        post("/end"),
        output="'{{ steps.lines.output | length }}'",
    )
)
ROUTE = in_yaml(
    steps(
        post("/start"),
        step(
            "guard",
            try_=block(
                step("early", switch="1", cases={"1": block(post("/x"))}),
                step("route", switch="event.body[0]", cases={"1": block(post("/a"), post("/b"))}),
            ),
            catch=block(post("/sorry")),
        ),
        post("/end"),
    )
)
STOPS = in_yaml(
    steps(
        step(
            "lines",
            for_each="event.body",
            steps=block(post("/a", "{{ item }}"), step("halt", stop={}, if_="item == 2")),
        ),
        post("/never"),
    )
)


@workflow()
async def in_python(event: Event) -> None:
    async def send(path: str, body: Any = None) -> None:
        await http.request.with_id(path.strip("/"))(method="POST", url=URL + path, json=body)

    async def through(item: int) -> None:
        await send("/a", item)
        await send("/b", [item])

    async for item in each(event.body[:2], id="lines"):
        await through(item)
    await each(event.body[:2], through, id="rounds")
    await send("/end")


async def replayed(on: Bench, flow: WorkflowFlow, from_step: str) -> tuple[Execution, list[str]]:
    """The replay, and what it asked for."""
    first = await on.run(flow, [1, 2, 3])
    before = len(on.remote.requests)
    on.remote.statuses = {}
    on.clock.move(hours=1)
    again = await replay(on.store, on.clock, first.id, from_step=from_step)
    await on.go_on(flow, again)
    return await on.last(), on.remote.paths[before:]


@pytest.mark.parametrize(
    ("flow", "statuses", "from_step", "asked"),
    [
        (LINES, {}, "lines[1].b", ["/b", "/c", "/a", "/b", "/c", "/end"]),
        (LINES, {"/c": 404}, "lines[0].c", ["/c", "/a", "/b", "/c", "/a", "/b", "/c", "/end"]),
        (LINES, {}, "lines", ["/a", "/b", "/c"] * 3 + ["/end"]),
        (LINES, {}, "end", ["/end"]),
        (ROUTE, {}, "b", ["/b", "/end"]),
        (ROUTE, {"/b": 404}, "b", ["/b", "/end"]),
        (ROUTE, {"/b": 404}, "sorry", ["/b", "/end"]),
        (ROUTE, {}, "route", ["/a", "/b", "/end"]),
        (STOPS, {}, "lines[1].a", ["/a"]),
        (in_python, {}, "lines[1].b", ["/b", *["/a", "/b"] * 2, "/end"]),
        (in_python, {}, "lines", [*["/a", "/b"] * 4, "/end"]),
        (in_python, {}, "rounds[0].b", ["/b", "/a", "/b", "/end"]),
        (in_python, {"/b": 404}, "lines[0].b", ["/b", *["/a", "/b"] * 3, "/end"]),
        (in_python, {}, "rounds[1]", ["/a", "/b", "/end"]),
        (in_python, {}, "end", ["/end"]),
    ],
)
async def test_a_replay_goes_on_inside_its_blocks(
    flow: WorkflowFlow, statuses: dict[str, int], from_step: str, asked: list[str]
) -> None:
    async with bench(statuses=statuses) as on:
        on.remote.takes = lambda: on.clock.move(seconds=1)
        execution, found = await replayed(on, flow, from_step)

    assert execution.status is Status.SUCCEEDED
    assert found == asked


# --failed


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


async def of_what_failed(on: Bench, flow: WorkflowFlow, first: Execution) -> Execution:
    on.remote.statuses.clear()
    on.remote.requests.clear()
    again = await replay(on.store, on.clock, first.id, failed=True)
    await on.go_on(flow, again)
    return await on.last()


async def test_of_a_loop_the_items_that_failed_run_again(on: Bench) -> None:
    inside = block(post("/before", "{{ item }}"), post("/{{ item }}", "{{ item }}", id="own"))
    flow = in_yaml(
        steps(
            step("lines", for_each="event.body", tolerate=2, steps=inside),
            post("/end"),
            output="'{{ steps.lines.output }}'",
        )
    )
    on.remote.statuses = {"/b": 400, "/c": 400}
    first = await on.run(flow, ["a", "b", "c"])
    assert first.status is Status.SUCCEEDED

    again = await of_what_failed(on, flow, first)

    assert on.remote.paths == ["/b", "/c"], "neither what came before them nor what came after"
    assert [one["body"]["got"] for one in again.output] == ["a", "b", "c"]


async def test_what_failed_in_a_branch_runs_again_and_what_followed_from_it_may(on: Bench) -> None:
    guard = {"try_": block(post("/a"), post("/b")), "catch": block(step("no", fail="x"))}
    flow = in_yaml(steps(post("/start"), step("guard", **guard), post("/end"), on_failure=f"[{post('/alert')}]"))
    on.remote.statuses = {"/b": 400}
    on.remote.takes = lambda: on.clock.move(seconds=1)
    first = await on.run(flow)
    assert (first.status, on.remote.paths[-1]) == (Status.FAILED, "/alert")

    again = await of_what_failed(on, flow, first)

    assert (again.status, on.remote.paths) == (Status.SUCCEEDED, ["/b", "/end"])


async def test_who_fails_again_is_told_of_again(on: Bench) -> None:
    flow = in_yaml(steps(post("/a"), post("/b"), on_failure=f"[{post('/alert')}]"))
    on.remote.statuses = {"/b": 400}
    on.remote.takes = lambda: on.clock.move(seconds=1)
    first = await on.run(flow)
    on.remote.requests.clear()

    again = await replay(on.store, on.clock, first.id, failed=True)
    with pytest.raises(IpaasError):
        await on.go_on(flow, again)

    assert on.remote.paths == ["/b", "/alert"]


async def test_a_python_loop_does_what_failed_again(on: Bench) -> None:
    @workflow(name="rounds")
    async def rounds(event: Event) -> Any:
        async def one(item: str) -> Any:
            return (await http.request(method="POST", url=f"{URL}/{item}", json=item))["body"]["got"]

        return await each(event.body, one, tolerate=1)

    on.remote.statuses = {"/b": 400}
    first = await on.run(rounds, ["a", "b", "c"])

    again = await of_what_failed(on, rounds, first)

    assert (on.remote.paths, again.output) == (["/b"], ["a", "b", "c"])
