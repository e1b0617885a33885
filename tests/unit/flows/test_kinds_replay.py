"""A replay from a step inside of others goes to where it was, and does nothing that was done before."""

from __future__ import annotations

from typing import Any

import pytest
from executing import URL, Bench, bench, block, in_yaml, post, step, steps

from connectors import http
from flows import Event, each, workflow
from flows.history import Execution, Status
from flows.on_prefect.flow import WorkflowFlow
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
