"""What each kind of step does, by itself and with those around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from executing import URL, Bench, bench, block, in_yaml, post, step, steps

from flows.engine.execution import accept_event, run_execution
from flows.engine.invoke import Attempts, Invocation, call_directly
from flows.history import Execution, Status
from flows.language.event import Event


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


def note(step_id: str, value: Any, **more: Any) -> str:
    return step(step_id, set={"is": value}, **more)


def statuses(execution: Execution) -> dict[str, str]:
    return {one.path: str(one.status) for one in execution.steps}


def outputs(execution: Execution) -> dict[str, Any]:
    return {one.path: one.output for one in execution.steps}


def sent(on: Bench) -> list[Any]:
    return [json.loads(request.content) for request in on.remote.requests]


async def finished(on: Bench, *written: str, body: Any = None, **keys: str) -> Execution:
    execution = await on.run(in_yaml(steps(*written, **keys)), body)
    assert (execution.status, execution.error) == (Status.SUCCEEDED, None)
    return execution


async def failed(on: Bench, *written: str, body: Any = None, **keys: str) -> Execution:
    execution = await on.run(in_yaml(steps(*written, **keys)), body)
    assert execution.status is Status.FAILED
    return execution


# set


async def test_set_names_values_for_the_steps_after_it(on: Bench) -> None:
    execution = await finished(
        on,
        step("sums", set={"total": "{{ event.body.prices | sum }}", "who": "Dear {{ event.body.name }}", "n": [1]}),
        post("/a", "{{ steps.sums.output.total + 1 }}"),
        body={"prices": [1, 2.5], "name": "Ada"},
    )

    assert outputs(execution)["sums"] == {"total": 3.5, "who": "Dear Ada", "n": [1]}
    assert sent(on) == [4.5]
    assert (execution.steps[0].action, execution.steps[0].attempts) == ("set", 1)


async def test_what_set_can_not_render_fails_it(on: Bench) -> None:
    execution = await failed(on, step("sums", set={"total": "{{ event.body.gone }}"}), post("/a"), body={})

    assert (execution.error["step"], execution.error["code"]) == ("sums", "expression")
    assert on.remote.paths == []


async def test_secrets_are_masked_in_what_is_set_and_in_what_it_stops_and_fails_with() -> None:
    async with bench({"team": {"token": "s3cret-token"}}) as on:
        auth = post("/a", credential="team")
        one = await finished(on, auth, note("copy", "{{ event.body }}"), body="s3cret-token")
        two = await finished(on, auth, step("halt", stop={"output": "{{ event.body }}"}), body="s3cret-token")
        three = await failed(on, auth, step("no", fail="not {{ event.body }}"), body="s3cret-token")

    assert outputs(one)["copy"] == {"is": "********"}
    assert two.output == "********"
    assert "s3cret" not in json.dumps([three.error, [one.error for one in three.steps]])


# switch


CASES: dict[str, Any] = {
    "switch": "event.body",
    "cases": {"DE": block(note("de", "Moin")), "1": block(note("one", "first")), "true": block(note("yes", "right"))},
    "default": block(note("other", "Hello")),
}
SEEN = "'{{ [steps.route.output, steps.de.status, steps.other.status] }}'"


@pytest.mark.parametrize(
    ("value", "ran", "said"),
    [
        ("DE", "de", "Moin"),
        (1, "one", "first"),
        ("1", "one", "first"),
        (True, "yes", "right"),
        ("NO", "other", "Hello"),
        (None, "other", "Hello"),
        ({"a": 1}, "other", "Hello"),
    ],
)
async def test_switch_runs_the_case_whose_key_is_the_value(on: Bench, value: Any, ran: str, said: str) -> None:
    execution = await finished(on, step("route", **CASES), output=SEEN, body=value)

    assert list(outputs(execution)) == ["route", ran]
    assert execution.output[0] == {"is": said}
    assert execution.output[1:] == [
        "succeeded" if ran == "de" else "skipped",
        "succeeded" if ran == "other" else "skipped",
    ]


async def test_without_a_match_and_a_default_nothing_runs(on: Bench) -> None:
    route = step("route", switch="event.body", cases={"DE": block(note("de", 1))})
    execution = await finished(on, route, body="FR", output="'{{ [steps.route.output, steps.de.status] }}'")

    assert statuses(execution) == {"route": "succeeded"}
    assert execution.output == [None, "skipped"]


async def test_a_case_may_have_nothing_to_do(on: Bench) -> None:
    route = step("route", switch="event.body", cases={"FR": []}, default=block(note("other", 1)))

    assert statuses(await finished(on, route, body="FR")) == {"route": "succeeded"}


async def test_a_skipped_switch_skips_what_is_in_it(on: Bench) -> None:
    execution = await finished(on, step("route", **CASES, if_="false"), output=SEEN, body="DE")

    assert statuses(execution) == {"route": "skipped"}
    assert execution.output == [None, "skipped", "skipped"]


async def test_a_step_in_a_case_is_seen_after_it(on: Bench) -> None:
    route = step("route", switch="event.body", cases={"DE": block(post("/de", 5))}, default=block(note("other", 1)))
    late = post("/late", "{{ steps.de.output.body.got | default(0) }}", needs=[])

    await finished(on, route, late, body="DE")
    await finished(on, route, late, body="FR")

    assert (on.remote.paths, sent(on)) == (["/de", "/late", "/late"], [5, 5, 0])


# try


async def test_a_failure_is_caught_and_the_workflow_goes_on(on: Bench) -> None:
    on.remote.statuses = {"/b": 404}
    seen = note("sorry", ["{{ error.step }}", "{{ error.code }}", "{{ error.status }}", "{{ error.message }}"])
    guard = step("guard", try_=block(post("/a"), post("/b"), post("/c")), catch=block(seen))
    after = "'{{ [steps.guard.output, steps.b.status, steps.b.error.code, steps.c.status] }}'"

    execution = await finished(on, guard, post("/d"), output=after)

    assert on.remote.paths == ["/a", "/b", "/d"]
    assert statuses(execution) == {
        "guard": "succeeded", "a": "succeeded", "b": "failed", "sorry": "succeeded", "d": "succeeded"
    }  # fmt: skip
    caught, *rest = execution.output
    assert caught["is"][:3] == ["b", "remote", 404]
    assert caught["is"][3].startswith("POST")
    assert rest == ["failed", "remote", "skipped"]


async def test_without_a_failure_nothing_is_caught(on: Bench) -> None:
    guard = step("guard", try_=block(note("a", 1)), catch=block(note("b", 2)), finally_=block(note("c", 3)))

    execution = await finished(on, guard, output="'{{ [steps.guard.output, steps.b.status] }}'")

    assert statuses(execution) == {"guard": "succeeded", "a": "succeeded", "c": "succeeded"}
    assert execution.output == [{"is": 1}, "skipped"]


async def test_an_error_has_every_key_whatever_failed(on: Bench) -> None:
    guard = step("g", try_=block(step("no", fail="broken", code="worn_out")), catch=block(note("e", "{{ error }}")))

    execution = await finished(on, guard)

    assert outputs(execution)["e"] == {"is": {"message": "broken", "code": "worn_out", "step": "no", "status": None}}


async def test_what_fails_in_catch_fails_the_try(on: Bench) -> None:
    bad = {"try": block(step("first", fail="one")), "catch": block(step("second", fail="two {{ error.message }}"))}

    execution = await failed(on, step("guard", **bad), post("/never"))

    assert (execution.error["step"], execution.error["message"]) == ("second", "step second: two one")
    assert statuses(execution) == {"guard": "failed", "first": "failed", "second": "failed"}


async def test_finally_sees_what_became_of_both_blocks(on: Bench) -> None:
    seen = block(note("seen", ["{{ steps.a.status }}", "{{ steps.b.status }}", "{{ steps.sorry.status }}"]))
    for failing, found in ((True, ["failed", "skipped", "succeeded"]), (False, ["skipped", "succeeded", "skipped"])):
        tried = block(step("a", fail="x", if_="event.body"), note("b", 1))
        guard = step("guard", try_=tried, catch=block(note("sorry", 1)), finally_=seen)

        assert outputs(await finished(on, guard, body=failing))["seen"] == {"is": found}


async def test_finally_runs_after_a_failure_that_nobody_caught(on: Bench) -> None:
    guard = {"try": block(step("first", fail="one")), "finally": block(post("/clean"))}

    execution = await failed(on, step("guard", **guard), post("/never"))

    assert on.remote.paths == ["/clean"]
    assert execution.error["message"] == "step first: one"


async def test_finallys_own_failure_does_not_hide_the_first(on: Bench) -> None:
    guard = {"try": block(step("first", fail="one")), "finally": block(step("last", fail="two"))}

    execution = await failed(on, step("guard", **guard))

    assert execution.error["step"] == "first"
    assert statuses(execution)["last"] == "failed"


async def test_finallys_failure_is_one_when_there_was_none(on: Bench) -> None:
    guard = {"try": block(note("first", 1)), "finally": block(step("last", fail="two"))}

    assert (await failed(on, step("guard", **guard))).error["step"] == "last"


async def test_the_nearest_try_catches(on: Bench) -> None:
    inner = step("inner", try_=block(step("no", fail="x")), catch=block(note("near", 1)))
    outer = step("outer", try_=block(inner), catch=block(note("far", 1)))

    assert set(statuses(await finished(on, outer))) == {"outer", "inner", "no", "near"}


async def test_what_runs_beside_a_failure_that_is_caught_is_cancelled_and_stays_so(on: Bench) -> None:
    on.remote.held, on.remote.statuses = {"/slow", "/bad"}, {"/bad": 404}
    tried = block(post("/slow"), post("/bad", needs=[]), post("/never", needs=["slow"]))
    seen = note("seen", ["{{ steps.slow.status }}", "{{ steps.never.status }}"])
    flow = in_yaml(steps(step("guard", try_=tried, catch=block(post("/sorry"), seen))))
    on.remote.held.add("/sorry")
    running = on.start(flow)
    await on.remote.reached("/slow", "/bad")
    await on.remote.let_go("/bad")
    await on.remote.reached("/sorry")
    assert statuses(await on.last())["slow"] == "cancelled"
    await on.runtime.drain(0)
    await asyncio.gather(running, return_exceptions=True)
    await on.remote.let_go("/sorry", "/slow")

    await on.go_on(flow, (await on.last()).id)

    assert sorted(on.remote.paths) == ["/bad", "/slow", "/sorry", "/sorry"]
    assert outputs(await on.last())["seen"] == {"is": ["cancelled", "skipped"]}


async def test_a_timeout_of_the_execution_is_not_caught(on: Bench) -> None:
    on.remote.held = {"/slow"}
    guard = step("guard", try_=block(post("/slow")), catch=block(post("/sorry")))

    execution = await on.run(in_yaml(steps(guard, timeout="200ms")))

    assert execution.status is Status.TIMED_OUT
    assert on.remote.paths == ["/slow"]


async def test_a_cancellation_is_not_caught(on: Bench) -> None:
    on.remote.held = {"/slow"}
    guard = step("guard", try_=block(post("/slow")), catch=block(post("/sorry")), finally_=block(post("/f")))
    running = on.start(in_yaml(steps(guard)))
    await on.remote.reached("/slow")
    await on.store.request_cancel((await on.last()).id, by="test", reason="")
    await on.runtime.look_after()
    await asyncio.gather(running, return_exceptions=True)

    assert (await on.last()).status is Status.CANCELLED
    assert on.remote.paths == ["/slow"]


# for_each


def loop(step_id: str = "lines", *inside: str, over: Any = "event.body", **keys: Any) -> str:
    return step(step_id, for_each=over, **({"steps": block(*inside)} if inside else {}), **keys)


async def test_a_loop_does_its_steps_for_each_item_in_order(on: Bench) -> None:
    each = loop("lines", post("/a", "{{ item }}"), note("n", ["{{ index }}", "{{ steps.a.output.body.got }}"]))

    execution = await finished(on, each, body=[7, 8], output="'{{ steps.lines.output }}'")

    assert sent(on) == [7, 8]
    assert execution.output == [{"is": [0, 7]}, {"is": [1, 8]}]
    assert list(outputs(execution)) == ["lines", "lines[0].a", "lines[0].n", "lines[1].a", "lines[1].n"]
    assert [request.headers["idempotency-key"] for request in on.remote.requests] == [
        f"{execution.id}:lines[0].a",
        f"{execution.id}:lines[1].a",
    ]
    assert execution.steps[0].decision == {"items": [7, 8]}


async def test_a_loop_may_run_an_action_by_itself(on: Bench) -> None:
    given = {"method": "POST", "url": f"{URL}/a", "json": ["{{ line }}", "{{ index }}"]}
    retry = {"attempts": 2, "delay": 0, "on": ["5xx"]}
    on.remote.statuses = {"/a": 503}
    each = loop(uses="http.request", with_=given, as_="line", retry=retry, on_error="continue")

    execution = await finished(on, each, body=["x", "y"], output="'{{ steps.lines.output }}'")

    assert sent(on) == [["x", 0], ["x", 0], ["y", 1], ["y", 1]]
    assert [(one.path, one.action, one.attempts) for one in execution.steps] == [
        ("lines", "for_each", 1), ("lines[0]", "http.request", 2), ("lines[1]", "http.request", 2),
    ]  # fmt: skip
    assert [item["error"]["step"] for item in execution.output] == ["lines[0]", "lines[1]"]


@pytest.mark.parametrize("body", [[], [None], [[1], {"a": 2}, "x"]])
async def test_a_loops_output_has_one_for_each_item(on: Bench, body: list[Any]) -> None:
    execution = await finished(on, loop("l", note("n", "{{ item }}")), body=body, output="'{{ steps.l.output }}'")

    assert execution.output == [{"is": item} for item in body]


async def test_a_literal_list_is_rendered(on: Bench) -> None:
    execution = await finished(on, loop("l", note("n", "{{ item }}"), over=["a", "{{ event.body }}"]), body=2)

    assert outputs(execution)["l"] == [{"is": "a"}, {"is": 2}]


@pytest.mark.parametrize(
    ("body", "what"),
    [(5, "a number"), ("abc", "a string"), ({"a": 1}, "a mapping"), (None, "null"), (True, "a boolean")],
)
async def test_a_loop_over_something_else_says_what_it_is(on: Bench, body: Any, what: str) -> None:
    execution = await failed(on, loop("l", post("/a")), body=body)

    assert f"goes through a list, and this is {what}" in execution.error["message"]
    assert (execution.error["step"], execution.error["code"]) == ("l", "expression")


async def test_so_many_items_as_it_says_are_worked_on_at_the_same_time(on: Bench) -> None:
    on.remote.held = {f"/{n}" for n in range(5)}
    given = {"method": "POST", "url": URL + "/{{ item }}"}
    flow = in_yaml(steps(loop(uses="http.request", with_=given, concurrency=2)))
    running = on.start(flow, list(range(5)))
    await on.remote.reached("/0", "/1")
    for _ in range(20):
        await asyncio.sleep(0)
    assert on.remote.paths == ["/0", "/1"]

    await on.remote.let_go("/1")
    await on.remote.reached("/2")
    await on.remote.let_go(*on.remote.held)
    await running

    assert sorted(on.remote.paths) == ["/0", "/1", "/2", "/3", "/4"]


async def test_outputs_are_in_the_order_of_the_items_whichever_ends_first(on: Bench) -> None:
    on.remote.held = {"/0"}
    given = {"method": "POST", "url": URL + "/{{ item }}", "json": "{{ item }}"}
    flow = in_yaml(
        steps(
            loop(uses="http.request", with_=given, concurrency=3),
            output="'{{ steps.lines.output | map(attribute=\"body.got\") }}'",
        )
    )
    running = on.start(flow, [0, 1, 2])
    await on.remote.reached("/1", "/2")
    await on.remote.let_go("/0")

    assert await running == [0, 1, 2]


async def test_without_collect_a_loop_has_no_output(on: Bench) -> None:
    execution = await finished(on, loop("l", note("n", 1), collect=False), body=[1, 2])

    assert outputs(execution)["l"] is None


BAD = step("no", fail="item {{ item }}", if_="item in [1, 3]")


async def test_a_failed_item_fails_the_loop_at_once(on: Bench) -> None:
    execution = await failed(on, loop("lines", BAD, post("/a", "{{ item }}")), post("/never"), body=[0, 1, 2])

    assert sent(on) == [0]
    assert (execution.error["step"], execution.error["message"]) == ("lines[1].no", "step lines[1].no: item 1")
    by_path = {one.path: one for one in execution.steps}
    assert by_path["lines"].error == {"code": "failed", "message": "item 1", "step": "lines[1].no"}


@pytest.mark.parametrize(
    ("tolerate", "succeeds"), [(1, False), (2, True), ("49%", False), ("50%", True), ("0%", False)]
)
async def test_so_many_failures_are_tolerated(on: Bench, tolerate: Any, succeeds: bool) -> None:
    flow = in_yaml(steps(loop("lines", BAD, note("n", "{{ item }}"), tolerate=tolerate)))

    execution = await on.run(flow, [0, 1, 2, 3])

    assert (execution.status is Status.SUCCEEDED) is succeeds
    if succeeds:
        output = outputs(execution)["lines"]
        assert [item.get("is", item.get("error", {}).get("message")) for item in output] == [0, "item 1", 2, "item 3"]
        assert output[1]["error"] == {"message": "item 1", "code": "failed", "step": "lines[1].no", "status": None}


async def test_with_on_error_continue_no_number_of_failures_fails_it(on: Bench) -> None:
    execution = await finished(on, loop("lines", step("no", fail="x"), on_error="continue"), post("/a"), body=[0, 1])

    assert statuses(execution)["lines"] == "succeeded"
    assert [item["error"]["code"] for item in outputs(execution)["lines"]] == ["failed", "failed"]


async def test_the_items_beside_one_that_failed_are_cancelled(on: Bench) -> None:
    on.remote.held, on.remote.statuses = {"/0", "/1"}, {"/1": 404}
    given = {"method": "POST", "url": URL + "/{{ item }}"}
    flow = in_yaml(steps(loop(uses="http.request", with_=given, concurrency=2)))
    running = on.start(flow, [0, 1, 2])
    await on.remote.reached("/0", "/1")
    await on.remote.let_go("/1")
    await asyncio.gather(running, return_exceptions=True)

    assert statuses(await on.last()) == {"lines": "failed", "lines[0]": "cancelled", "lines[1]": "failed"}


async def test_loops_in_loops_have_paths_and_names_of_their_own(on: Bench) -> None:
    check = note("check", ["{{ line.id }}", "{{ part }}", "{{ index }}", "{{ steps.head.output.is }}"])
    parts = loop("parts", check, over="line.parts", as_="part")
    lines = loop("lines", note("head", "h{{ index }}"), parts, as_="line")

    execution = await finished(on, lines, body=[{"id": 1, "parts": ["a", "b"]}, {"id": 2, "parts": ["c"]}])

    assert outputs(execution)["lines[0].parts[1].check"] == {"is": [1, "b", 1, "h0"]}
    assert outputs(execution)["lines[1].parts[0].check"] == {"is": [2, "c", 0, "h1"]}
    assert outputs(execution)["lines"] == [
        [{"is": [1, "a", 0, "h0"]}, {"is": [1, "b", 1, "h0"]}],
        [{"is": [2, "c", 0, "h1"]}],
    ]


async def test_the_inner_item_hides_the_outer_one(on: Bench) -> None:
    inner = loop("inner", note("n", "{{ item }}"), over="item")
    execution = await finished(on, loop("outer", inner, note("m", "{{ item | length }}")), body=[[1], [2, 3]])

    assert outputs(execution)["outer[1].inner"] == [{"is": 2}, {"is": 3}]
    assert outputs(execution)["outer[1].m"] == {"is": 2}


async def test_inside_a_round_a_switch_and_a_try_add_nothing_to_the_path(on: Bench) -> None:
    route = step("route", switch="item", cases={"a": block(note("x", 1))}, default=block(step("no", fail="f")))
    guard = step("guard", try_=block(route), catch=block(note("caught", "{{ error.step }}")))

    execution = await finished(on, loop("lines", guard), body=["a", "b"])

    assert list(outputs(execution)) == [
        "lines", "lines[0].guard", "lines[0].route", "lines[0].x",
        "lines[1].guard", "lines[1].route", "lines[1].no", "lines[1].caught",
    ]  # fmt: skip
    assert outputs(execution)["lines"] == [{"is": 1}, {"is": "lines[1].no"}]


async def test_side_by_side_in_a_round(on: Bench) -> None:
    on.remote.held = {"/a", "/b"}
    running = on.start(in_yaml(steps(loop("l", post("/a"), post("/b", needs=[]), post("/c", needs=["a", "b"])))), [1])
    await on.remote.reached("/a", "/b")
    await on.remote.let_go("/a", "/b")
    await running

    assert on.remote.paths[2:] == ["/c"]


@pytest.mark.parametrize(("count", "as_tasks"), [(100, True), (101, False)])
async def test_a_long_loop_calls_its_actions_directly(on: Bench, count: int, as_tasks: bool) -> None:
    called: list[str] = []

    async def invoke(invocation: Invocation, attempts: Attempts) -> Any:
        called.append(invocation.path)
        return await call_directly(invocation, attempts)

    given = {"text": "{{ item }}"}
    flow = in_yaml(
        steps(loop("l", step("n", uses="log.message", with_=given)), step("m", uses="log.message", with_={"text": "x"}))
    )
    execution_id = await accept_event(on.runtime, flow.program, Event(body=list(range(count))))
    outcome = await run_execution(on.runtime, execution_id, flow.program, invoke=invoke)

    assert outcome.status is Status.SUCCEEDED
    assert called == [*(f"l[{n}].n" for n in range(count) if as_tasks), "m"]
    assert len((await on.last()).steps) == count + 2


# repeat


async def test_repeat_goes_on_until_its_condition_holds(on: Bench) -> None:
    again = step(
        "poll",
        repeat={"until": "steps.a.output.body.got >= 2", "every": "20s"},
        steps=block(post("/a", "{{ index }}")),
    )

    execution = await finished(on, again, output="'{{ steps.poll.output.body.got }}'")

    assert (sent(on), execution.output) == ([0, 1, 2], 2)
    assert on.clock.slept == [20, 20]
    assert list(outputs(execution)) == ["poll", "poll[0].a", "poll[1].a", "poll[2].a"]


async def test_a_repeat_whose_condition_never_holds_fails_at_its_limit(on: Bench) -> None:
    again = step("poll", repeat={"until": "false", "limit": 3}, steps=block(post("/a")))

    execution = await failed(on, again)

    assert len(on.remote.paths) == 3
    assert (execution.error["code"], execution.error["step"]) == ("limit", "poll")
    assert "3 rounds: false" in execution.error["message"]


async def test_a_failed_round_fails_the_repeat(on: Bench) -> None:
    execution = await failed(
        on, step("p", repeat={"until": "false"}, steps=block(step("no", fail="x", if_="index == 1")))
    )

    assert execution.error["step"] == "p[1].no"


async def test_a_condition_that_can_not_be_rendered_fails_the_repeat(on: Bench) -> None:
    execution = await failed(on, step("p", repeat={"until": "event.body.gone"}, steps=block(note("n", 1))), body={})

    assert (execution.error["step"], execution.error["code"]) == ("p", "expression")


# wait


async def test_a_short_wait_is_by_the_clock(on: Bench) -> None:
    execution = await finished(on, step("w", wait="20s"), post("/a"))

    assert on.clock.slept == [20]
    assert (outputs(execution)["w"], execution.steps[0].action) == (None, "wait")


# stop


@pytest.mark.parametrize("stop", [{"output": {"n": "{{ event.body }}"}}, {}, None])
async def test_stop_ends_the_execution_as_succeeded(on: Bench, stop: Any) -> None:
    execution = await finished(on, step("halt", stop=stop, if_="true"), post("/never"), output="other", body=7)

    assert execution.output == ({"n": 7} if stop else None)
    assert (statuses(execution), on.remote.paths) == ({"halt": "succeeded"}, [])


async def test_stop_ends_it_from_however_deep_and_what_it_leaves_has_succeeded(on: Bench) -> None:
    on.remote.held = {"/slow"}
    halt = step("halt", stop={"output": "{{ item }}"}, if_="item == 1")
    guard = step("guard", try_=block(halt), catch=block(post("/caught")), finally_=block(post("/clean")))
    lines = loop("lines", step("route", switch="'x'", cases={"x": block(guard)}), needs=[])
    flow = in_yaml(steps(post("/slow"), lines, post("/never", needs=["slow", "lines"]), output="other"))
    running = on.start(flow, [0, 1, 2])

    assert await running == 1
    execution = await on.last()
    assert execution.status is Status.SUCCEEDED
    assert on.remote.paths == ["/slow", "/clean", "/clean"]
    assert statuses(execution) == {
        "slow": "cancelled",
        "lines": "succeeded",
        "lines[0].route": "succeeded", "lines[0].guard": "succeeded", "lines[0].halt": "skipped",
        "lines[0].clean": "succeeded",
        "lines[1].route": "succeeded", "lines[1].guard": "succeeded", "lines[1].halt": "succeeded",
        "lines[1].clean": "succeeded",
    }  # fmt: skip


async def test_stop_is_no_failure_that_a_loop_would_tolerate(on: Bench) -> None:
    each = loop("l", step("halt", stop={"output": 1}), on_error="continue", concurrency=3)

    assert (await finished(on, each, post("/never"), body=[1, 2, 3], output="2")).output == 1
    assert on.remote.paths == []


# fail


async def test_fail_fails_with_its_message_and_code(on: Bench) -> None:
    execution = await failed(on, step("no", fail="No such customer: {{ event.body }}", code="not_found"), body=7)

    assert execution.error == {"code": "not_found", "message": "step no: No such customer: 7", "step": "no"}
    assert execution.steps[0].error == {"code": "not_found", "message": "No such customer: 7", "step": "no"}


async def test_a_fail_that_may_goes_on(on: Bench) -> None:
    execution = await finished(on, step("no", fail="x", on_error="continue"), output="'{{ steps.no.error.message }}'")

    assert execution.output == "x"


async def test_a_block_that_may_fail_goes_on_with_the_innermost_error(on: Bench) -> None:
    route = step("route", switch="1", cases={"1": block(loop("l", step("no", fail="x")))}, on_error="continue")

    execution = await finished(on, route, output="'{{ [steps.route.status, steps.route.error.step] }}'", body=[1])

    assert execution.output == ["failed", "l[0].no"]


# on_failure


ALERT = json.dumps(block(post("/alert", ["{{ error.step }}", "{{ error.code }}", "{{ error.message }}"])))


async def test_on_failure_runs_when_the_execution_failed(on: Bench) -> None:
    execution = await failed(on, loop("l", step("no", fail="x", code="bad")), body=[1], on_failure=ALERT)

    assert sent(on) == [["l[0].no", "bad", "x"]]
    assert statuses(execution) == {"l": "failed", "l[0].no": "failed", "alert": "succeeded"}
    assert execution.error["message"] == "step l[0].no: x"


async def test_on_failure_does_not_run_when_nothing_failed_or_it_was_caught(on: Bench) -> None:
    guard = step("guard", try_=block(step("no", fail="x")), catch=[])

    await finished(on, guard, on_failure=ALERT)

    assert on.remote.paths == []


@pytest.mark.parametrize("wrong", ["output: '{{ event.body.gone }}'", "vars: {x: '{{ event.body.gone }}'}"])
async def test_on_failure_runs_whatever_made_it_fail(on: Bench, wrong: str) -> None:
    key, _, value = wrong.partition(": ")

    execution = await failed(on, note("n", 1), body={}, on_failure=ALERT, **{key: value})

    assert (sent(on)[0][:2], execution.error["step"]) == ([None, "expression"], None)


async def test_on_failures_own_failure_never_hides_the_first(on: Bench) -> None:
    on.remote.statuses = {"/alert": 404}

    execution = await failed(on, step("no", fail="first"), on_failure=ALERT)

    assert execution.error["message"] == "step no: first"
    assert statuses(execution) == {"no": "failed", "alert": "failed"}


async def test_on_failure_sees_what_had_ended(on: Bench) -> None:
    seen = json.dumps(block(note("seen", ["{{ steps.a.output.is }}", "{{ steps.b.status }}", "{{ steps.c.status }}"])))

    execution = await failed(on, note("a", 1), step("b", fail="x", if_="true"), note("c", 3), on_failure=seen)

    assert outputs(execution)["seen"] == {"is": [1, "failed", "skipped"]}


async def test_a_stop_in_on_failure_ends_only_that(on: Bench) -> None:
    alert = json.dumps(block(step("halt", stop={"output": 1}, if_="true"), post("/never")))

    assert (await failed(on, step("no", fail="x"), on_failure=alert)).error["step"] == "no"
    assert on.remote.paths == []


# Nesting


def nested(kinds: list[str], innermost: str) -> str:
    inside = innermost
    for depth, kind in enumerate(kinds):
        inner, failing, done = block(inside), block(step(f"f{depth}", fail="x")), block(note(f"n{depth}", 1))
        keys: dict[str, dict[str, Any]] = {
            "for_each": {"for_each": "[1]", "steps": inner},
            "repeat": {"repeat": {"until": "true"}, "steps": inner},
            "switch": {"switch": "1", "cases": {"1": inner}},
            "try": {"try": inner, "catch": []},
            "catch": {"try": failing, "catch": inner},
            "finally": {"try": done, "finally": inner},
        }
        inside = step(f"s{depth}", **keys[kind])
    return inside


ALL = ["for_each", "repeat", "switch", "try", "catch", "finally"]


@pytest.mark.parametrize("first", range(6))
async def test_blocks_nest_twenty_deep_in_any_combination(on: Bench, first: int) -> None:
    kinds = [ALL[(first + n * (first + 1)) % 6] for n in range(20)]

    execution = await finished(on, nested(kinds, post("/deep")))

    assert on.remote.paths == ["/deep"]
    assert all(one.status in (Status.SUCCEEDED, Status.FAILED) for one in execution.steps)


@pytest.mark.parametrize("kind", ALL)
async def test_every_kind_nests_twenty_deep_in_itself(on: Bench, kind: str) -> None:
    await finished(on, nested([kind] * 20, post("/deep")))

    assert on.remote.paths == ["/deep"]


async def test_a_needed_step_may_stand_later(on: Bench) -> None:
    await finished(on, post("/a", needs=["b"]), post("/b", needs=[]))

    assert on.remote.paths == ["/b", "/a"]
