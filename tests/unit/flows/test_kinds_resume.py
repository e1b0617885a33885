"""A workflow of every kind that is handed back at any moment goes on as if nothing had happened."""

from __future__ import annotations

import json

import pytest
from executing import URL, block, in_yaml, post, step, steps
from handing_back import (
    handed_back_at_any_request,
    handed_back_before_any_record,
    side_by_side_handed_back_before_any_record,
)

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


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_at_any_request_it_does_the_rest_and_nothing_twice(name: str) -> None:
    await handed_back_at_any_request(FLOWS[name], BODY)


@pytest.mark.parametrize("name", FLOWS)
async def test_handed_back_before_any_record_it_does_the_rest_and_nothing_twice(name: str) -> None:
    await handed_back_before_any_record(FLOWS[name], BODY)


@pytest.mark.parametrize("name", SIDE_BY_SIDE)
async def test_what_runs_side_by_side_goes_on_too(name: str) -> None:
    await side_by_side_handed_back_before_any_record(SIDE_BY_SIDE[name], BODY)
