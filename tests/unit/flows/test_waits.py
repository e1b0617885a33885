"""Steps that wait for something outside: their execution holds nothing, and goes on where it was."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from executing import Bench, bench, block, in_yaml, post, step, steps

from flows.engine.callbacks import Callbacks, ProcessSigner
from flows.engine.execution import Outcome, accept_event, run_execution
from flows.engine.failures import HeldElsewhere, StillWaits
from flows.history import Delivery, Execution, Status, WaitKind, signal_address, step_address
from flows.language.event import Event
from flows.on_prefect.flow import WorkflowFlow
from foundation.masking import MASK

HOUR = timedelta(hours=1)
NOTHING = step("nothing", set={"n": 1})
SEEN = "'{{ [steps.w.output, steps.w.status, steps.w.error] }}'"


@pytest.fixture
async def on() -> AsyncIterator[Bench]:
    async with bench() as on:
        yield on


async def begun(on: Bench, flow: WorkflowFlow, body: Any = None) -> tuple[str, Outcome]:
    """An execution after its first run."""
    execution_id = await accept_event(on.runtime, flow.program, Event(body=body))
    return execution_id, await run_execution(on.runtime, execution_id, flow.program)


async def goes_on(on: Bench, flow: WorkflowFlow, execution_id: str) -> Execution:
    """As it is after a further run."""
    await run_execution(on.runtime, execution_id, flow.program)
    return await get(on, execution_id)


async def get(on: Bench, execution_id: str) -> Execution:
    execution = await on.store.execution(execution_id)
    assert execution is not None
    return execution


async def after(on: Bench, flow: WorkflowFlow, execution_id: str, **moved: float) -> Execution:
    """As it is when the clock has moved, and it has gone on if anything woke it."""
    on.clock.move(**moved)
    await on.store.wake(limit=100)
    return await goes_on(on, flow, execution_id)


async def answer(on: Bench, execution_id: str, body: Any, path: str = "w", by: str | None = None) -> Delivery:
    return await on.store.answer(step_address(execution_id, path), body, by=by, keep=60)


async def send(on: Bench, name: str, body: Any = None) -> Delivery:
    return await on.store.answer(signal_address(name), body, by=None, keep=60)


# Time


@pytest.mark.parametrize(
    "wait", ["2h", 7200, {"until": "{{ event.body.due }}"}, {"until": "2026-01-01T03:00:00+01:00"}], ids=str
)
async def test_a_long_wait_holds_nothing_and_ends_at_its_time(on: Bench, wait: Any) -> None:
    flow = in_yaml(steps(post("/a"), step("w", wait=wait), post("/b"), output=SEEN))
    execution_id, outcome = await begun(on, flow, {"due": "2026-01-01T02:00:00Z"})

    assert outcome.status is Status.WAITING
    waiting = await get(on, execution_id)
    assert (waiting.status, waiting.owner, waiting.admitted_at) == (Status.WAITING, None, None)
    assert on.runtime.running == {}
    [wait_] = waiting.waits
    assert (wait_.path, wait_.kind, wait_.due_at) == ("w", WaitKind.TIME, on.clock.now() + 2 * HOUR)
    with pytest.raises(StillWaits):
        await after(on, flow, execution_id, hours=1, minutes=59)
    ended = await after(on, flow, execution_id, minutes=1)
    assert (ended.status, ended.output) == (Status.SUCCEEDED, [None, "succeeded", None])
    assert on.remote.paths == ["/a", "/b"]


async def test_an_instant_that_is_over_is_not_waited_for(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait={"until": "2025-12-31"}), post("/b")))
    assert (await begun(on, flow))[1].status is Status.SUCCEEDED


@pytest.mark.parametrize("due", ["tomorrow", None, [1], "1e400", 1e300])
async def test_what_is_no_instant_fails_the_step(on: Bench, due: Any) -> None:
    flow = in_yaml(steps(step("w", wait={"until": "{{ event.body }}"})))
    execution_id, outcome = await begun(on, flow, due)
    assert outcome.status is Status.FAILED
    assert "expected an instant like 2026-11-24T09:00:00Z" in (await get(on, execution_id)).error["message"]


async def test_waiting_does_not_count_against_the_timeout(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait="10d"), post("/b"), timeout="5s"))
    execution_id, _ = await begun(on, flow)

    assert (await after(on, flow, execution_id, days=10)).status is Status.SUCCEEDED


async def test_the_time_is_fixed_when_the_wait_begins(on: Bench) -> None:
    """Another wait at its side wakes the execution; that does not prolong this one."""
    flow = in_yaml(steps(step("w", wait="2h"), step("s", wait={"signal": "x"}, needs=[]), output=SEEN))
    execution_id, _ = await begun(on, flow)
    on.clock.move(hours=1)
    await send(on, "x")
    assert (await goes_on(on, flow, execution_id)).status is Status.WAITING

    assert (await after(on, flow, execution_id, hours=1)).status is Status.SUCCEEDED


async def test_a_short_rest_is_waited_for_where_it_runs(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait="40s"), step("s", wait={"signal": "x"}, needs=[])))
    execution_id, _ = await begun(on, flow)
    on.clock.move(seconds=15)
    await send(on, "x")

    assert (await goes_on(on, flow, execution_id)).status is Status.SUCCEEDED
    assert on.clock.slept == [25.0]


# Signals and callbacks


async def test_a_signal_is_the_steps_output(on: Bench) -> None:
    wait = {"signal": "paid-{{ event.body.id }}", "timeout": "3d"}
    flow = in_yaml(steps(step("w", wait=wait), post("/b", "{{ steps.w.output.amount }}"), output=SEEN))
    execution_id, _ = await begun(on, flow, {"id": 42})

    assert await send(on, "paid-41") is Delivery.KEPT
    assert await send(on, "paid-42", {"amount": 3}) is Delivery.DELIVERED

    ended = await goes_on(on, flow, execution_id)
    assert ended.output == [{"amount": 3}, "succeeded", None]
    assert json.loads(on.remote.requests[0].content) == 3


async def test_a_secret_is_masked_in_what_comes_to_a_step(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait={"signal": "paid"}), post("/b", "{{ steps.w.output.echo }}"), output=SEEN))
    on.runtime.services.masker.add("s3cret-token")
    execution_id, _ = await begun(on, flow)

    await send(on, "paid", {"echo": "Bearer s3cret-token"})
    ended = await goes_on(on, flow, execution_id)
    assert ended.steps[0].output == ended.output[0] == {"echo": f"Bearer {MASK}"}
    assert json.loads(on.remote.requests[0].content) == f"Bearer {MASK}"


async def test_a_signal_that_came_first_is_taken_at_once(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait={"signal": "x"}), output=SEEN))
    await send(on, "x", 1)
    execution_id, outcome = await begun(on, flow)

    assert outcome.status is Status.WAITING
    assert (await get(on, execution_id)).status is Status.ACCEPTED
    assert (await goes_on(on, flow, execution_id)).output == [1, "succeeded", None]


@pytest.mark.parametrize("form", [{"signal": "x"}, {"callback": True}], ids=["signal", "callback"])
async def test_past_its_timeout_a_wait_fails_or_goes_on(on: Bench, form: dict[str, Any]) -> None:
    for extra, status in (({}, Status.FAILED), ({"on_timeout": "continue"}, Status.SUCCEEDED)):
        flow = in_yaml(steps(step("w", wait={**form, "timeout": "3d", **extra}), output="'{{ steps.w.output }}'"))
        execution_id, _ = await begun(on, flow)

        ended = await after(on, flow, execution_id, days=3)

        assert ended.status is status
        assert ended.output is None
        if status is Status.FAILED:
            assert (ended.error["code"], ended.error["step"]) == ("timeout", "w")


async def test_a_name_that_is_none_fails_the_step(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait={"signal": "{{ event.body }}"})))
    execution_id, _ = await begun(on, flow, "")
    assert "expected a signal's name" in (await get(on, execution_id)).error["message"]


async def test_the_address_of_a_callback_is_known_before_the_wait_begins(on: Bench) -> None:
    flow = in_yaml(
        steps(post("/ask", "{{ callbacks.w }}"), step("w", wait={"callback": True}), output="'{{ callbacks.w }}'")
    )
    execution_id, _ = await begun(on, flow)

    url = json.loads(on.remote.requests[0].content)
    assert on.runtime.callbacks.read(url.rpartition("/")[2]) == ("callback", execution_id, "w")
    assert await answer(on, execution_id, {"ok": True}) is Delivery.DELIVERED
    ended = await goes_on(on, flow, execution_id)
    assert (ended.output, ended.steps[1].output) == (url, {"ok": True})


async def test_each_round_of_a_loop_has_an_address_of_its_own(on: Bench) -> None:
    inside = block(post("/ask", "{{ callbacks.w }}"), step("w", wait={"callback": True}))
    flow = in_yaml(
        steps(step("loop", for_each=[1, 2], concurrency=2, steps=inside), output="'{{ steps.loop.output }}'")
    )
    execution_id, _ = await begun(on, flow)

    tokens = [json.loads(request.content).rpartition("/")[2] for request in on.remote.requests]
    assert {on.runtime.callbacks.read(token) for token in tokens} == {
        ("callback", execution_id, "loop[0].w"),
        ("callback", execution_id, "loop[1].w"),
    }
    await answer(on, execution_id, "second", "loop[1].w")
    assert (await goes_on(on, flow, execution_id)).status is Status.WAITING
    await answer(on, execution_id, "first", "loop[0].w")
    assert (await goes_on(on, flow, execution_id)).output == ["first", "second"]
    assert len(on.remote.requests) == 2


@pytest.mark.parametrize("token", ["", "x", "a.b", "é.é", "." * 50])
def test_a_token_of_nobody_is_none(token: str) -> None:
    callbacks = Callbacks(ProcessSigner())
    assert callbacks.read(token) is None
    good = callbacks.url("approval", "id", "a[1].b").rpartition("/")[2]
    assert callbacks.read(good) == ("approval", "id", "a[1].b")
    assert callbacks.read(good[:-1] + ("A" if good[-1] != "A" else "B")) is None
    assert Callbacks(ProcessSigner()).read(good) is None


# Side by side, in blocks


async def test_what_runs_at_its_side_ends_first(on: Bench) -> None:
    long = block(post("/a"), post("/b"), post("/c"))
    flow = in_yaml(
        steps(step("w", wait="2h"), step("rest", try_=long, catch=[], needs=[]), post("/last", needs=["rest"]))
    )

    execution_id, outcome = await begun(on, flow)

    assert outcome.status is Status.WAITING
    assert on.remote.paths == ["/a", "/b", "/c", "/last"]
    await after(on, flow, execution_id, hours=2)
    assert len(on.remote.paths) == 4


async def test_a_failure_at_its_side_ends_the_wait(on: Bench) -> None:
    on.remote.statuses = {"/a": 400}
    flow = in_yaml(steps(step("w", wait="2h"), post("/a", needs=[])))
    execution_id, outcome = await begun(on, flow)

    assert outcome.status is Status.FAILED
    ended = await get(on, execution_id)
    assert {one.path: one.status for one in ended.steps} == {"w": Status.FAILED, "a": Status.FAILED}
    assert ended.waits == ()


async def test_a_wait_in_a_try_skips_neither_catch_nor_finally(on: Bench) -> None:
    guard = {"try_": block(step("w", wait={"signal": "x", "timeout": "1h"})), "catch": block(post("/catch"))}
    flow = in_yaml(steps(step("guard", **guard, **{"finally": block(post("/finally"))})))
    execution_id, _ = await begun(on, flow)
    assert on.remote.paths == []

    assert (await after(on, flow, execution_id, hours=1)).status is Status.SUCCEEDED
    assert on.remote.paths == ["/catch", "/finally"]


async def test_items_of_a_loop_wait_as_many_at_once_as_run_at_once(on: Bench) -> None:
    inside = block(post("/before"), step("w", wait="1h"), post("/after"))
    flow = in_yaml(steps(step("loop", for_each=[1, 2, 3], concurrency=2, steps=inside)))
    execution_id, _ = await begun(on, flow)
    assert Counter(on.remote.paths) == {"/before": 2}

    assert (await after(on, flow, execution_id, hours=1)).status is Status.WAITING
    assert Counter(on.remote.paths) == {"/before": 3, "/after": 2}
    assert (await after(on, flow, execution_id, hours=1)).status is Status.SUCCEEDED
    assert Counter(on.remote.paths) == {"/before": 3, "/after": 3}


async def test_a_loop_of_many_items_waits_too(on: Bench) -> None:
    inside = block(step("w", wait={"signal": "x-{{ index }}"}))
    flow = in_yaml(steps(step("loop", for_each="event.body", concurrency=200, steps=inside)))
    execution_id, _ = await begun(on, flow, list(range(150)))
    assert len((await get(on, execution_id)).waits) == 150

    for number in range(150):
        assert await send(on, f"x-{number}", number) is Delivery.DELIVERED

    ended = await goes_on(on, flow, execution_id)
    assert ended.status is Status.SUCCEEDED
    assert next(one for one in ended.steps if one.path == "loop").output == list(range(150))


async def test_a_repeat_pauses_for_long_and_counts_its_rounds_once(on: Bench) -> None:
    rounds = {"until": "index == 2", "every": "1h"}
    flow = in_yaml(steps(step("poll", repeat=rounds, steps=block(post("/a", "{{ index }}")))))
    execution_id, _ = await begun(on, flow)

    for _ in range(2):
        execution = await after(on, flow, execution_id, hours=1)

    assert (execution.status, execution.runs) == (Status.SUCCEEDED, 3)
    assert [json.loads(request.content) for request in on.remote.requests] == [0, 1, 2]


async def test_on_failure_may_wait(on: Bench) -> None:
    flow = in_yaml(steps(step("no", fail="x"), on_failure=json.dumps(block(step("w", wait="1h"), post("/alert")))))
    execution_id, outcome = await begun(on, flow)
    assert outcome.status is Status.WAITING

    ended = await after(on, flow, execution_id, hours=1)

    assert (ended.status, ended.error["message"]) == (Status.FAILED, "step no: x")
    assert on.remote.paths == ["/alert"]


# Ends


async def test_a_cancel_that_comes_as_it_begins_to_wait_is_not_lost(on: Bench) -> None:
    flow = in_yaml(steps(post("/a"), step("w", wait="2h")))
    execution_id = await accept_event(on.runtime, flow.program, Event())
    on.remote.held = {"/a"}
    running = asyncio.create_task(run_execution(on.runtime, execution_id, flow.program))
    await on.remote.reached("/a")
    await on.store.request_cancel(execution_id, by="api", reason="")
    await on.remote.let_go("/a")
    await running

    assert (await goes_on(on, flow, execution_id)).status is Status.CANCELLED


async def test_who_lost_the_execution_does_not_park_it(on: Bench) -> None:
    flow = in_yaml(steps(post("/a"), step("w", wait="2h")))
    execution_id = await accept_event(on.runtime, flow.program, Event())
    on.remote.held = {"/a"}
    running = asyncio.create_task(run_execution(on.runtime, execution_id, flow.program))
    await on.remote.reached("/a")
    await on.store.requeue((await get(on, execution_id)).hold)
    await on.remote.let_go("/a")

    with pytest.raises(HeldElsewhere):
        await running


# Approvals

ASK = {"message": "Refund {{ event.body }}?", "timeout": "3d", "form": {"type": "object"}}


@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval_is_decided_by_a_person(on: Bench, approved: bool) -> None:
    notify = block(post("/notify", "{{ callbacks.w }}"))
    flow = in_yaml(steps(step("w", approve={**ASK, "notify": notify}), output="'{{ steps.w.output }}'"))
    execution_id, _ = await begun(on, flow, 5)
    [wait] = (await get(on, execution_id)).waits
    assert wait.document == {"message": "Refund 5?", "form": {"type": "object"}}
    assert on.remote.paths == ["/notify"]
    decided_at = on.clock.now()

    await answer(on, execution_id, {"approved": approved, "form": {"a": 1}}, by="Ada")

    ended = await goes_on(on, flow, execution_id)
    assert on.remote.paths == ["/notify"]
    if approved:
        assert ended.output == {"approved": True, "by": "Ada", "at": decided_at.isoformat(), "form": {"a": 1}}
    else:
        assert (ended.error["code"], ended.error["message"]) == ("rejected", "step w: rejected by Ada")


@pytest.mark.parametrize(
    ("extra", "code", "output"),
    [
        ({}, "timeout", None),
        ({"on_timeout": "reject"}, "rejected", None),
        ({"on_timeout": "reject", "on_reject": "continue"}, None, False),
    ],
    ids=["fails", "rejects", "goes on"],
)
async def test_an_approval_that_nobody_decides(on: Bench, extra: Any, code: str | None, output: Any) -> None:
    flow = in_yaml(steps(step("w", approve={**ASK, **extra}), output="'{{ steps.w.output.approved }}'"))
    execution_id, _ = await begun(on, flow)

    ended = await after(on, flow, execution_id, days=3)

    assert (ended.error and ended.error["code"], ended.output) == (code, output)


# Calls


async def published(on: Bench, flow: WorkflowFlow) -> WorkflowFlow:
    await on.store.publish(flow.published)
    return flow


async def test_a_called_workflow_is_an_execution_of_its_own(on: Bench) -> None:
    other = await published(on, in_yaml(steps(NOTHING, output="{got: '{{ event.body.x }}'}"), name="other"))
    flow = in_yaml(steps(step("w", call="other", with_={"x": "{{ event.body }}"}), output=SEEN))
    execution_id, outcome = await begun(on, flow, 7)
    assert outcome.status is Status.WAITING
    [called] = await on.store.admit(limit=10, claim=60)
    assert (called.workflow, called.parent_id, called.depth) == ("other", execution_id, 1)

    await goes_on(on, other, called.id)

    assert (await goes_on(on, flow, execution_id)).output == [{"got": 7}, "succeeded", None]


async def test_the_failure_of_a_called_workflow_is_the_steps(on: Bench) -> None:
    other = await published(on, in_yaml(steps(step("no", fail="No stock", code="sold_out")), name="other"))
    flow = in_yaml(steps(step("w", call="other")))
    execution_id, _ = await begun(on, flow)
    [called] = await on.store.admit(limit=10, claim=60)
    await goes_on(on, other, called.id)

    ended = await goes_on(on, flow, execution_id)

    assert ended.error["code"] == "sold_out"
    assert f"other ({called.id}) failed: step no: No stock" in ended.error["message"]


async def test_a_call_that_waits_for_nobody_goes_on_at_once(on: Bench) -> None:
    await published(on, in_yaml(steps(NOTHING, output="1"), name="other"))
    flow = in_yaml(steps(step("w", call="other", wait=False), output="'{{ steps.w.output }}'"))
    _, outcome = await begun(on, flow)

    assert outcome.status is Status.SUCCEEDED
    [called] = await on.store.admit(limit=10, claim=60)
    assert outcome.output == {"execution_id": called.id}
    assert called.parent_path is None


async def test_a_call_that_runs_again_after_a_crash_calls_once(on: Bench) -> None:
    await published(on, in_yaml(steps(NOTHING, output="1"), name="other"))
    flow = in_yaml(steps(step("w", call="other", wait=False)))
    execution_id, _ = await begun(on, flow)
    outside = on.runtime.outside(on.runtime, await get(on, execution_id))

    again = await outside.start("other", {}, "w", answers=False)

    assert len(await on.store.admit(limit=10, claim=60)) == 1
    assert again == (await get(on, execution_id)).steps[0].output["execution_id"]


async def test_a_workflow_that_calls_itself_comes_to_an_end(on: Bench) -> None:
    flow = await published(on, in_yaml(steps(step("w", call="test")), name="test"))
    root, _ = await begun(on, flow)
    for _ in range(60):
        await on.store.wake(limit=10)
        for one in await on.store.admit(limit=10, claim=60):
            await run_execution(on.runtime, one.id, flow.program)

    assert (await get(on, root)).status is Status.FAILED
    assert (await on.store.counts())[Status.FAILED] == 21
    assert "recursion" in str((await get(on, root)).error)


@pytest.mark.parametrize("name", ["gone", "picky"])
async def test_what_can_not_be_called_fails_the_step(on: Bench, name: str) -> None:
    await published(on, in_yaml("name: picky\ninput: {type: string}\nsteps: [{id: a, set: {b: 1}}]"))
    flow = in_yaml(steps(step("w", call=name)))
    execution_id, outcome = await begun(on, flow)

    assert outcome.status is Status.FAILED
    assert (await get(on, execution_id)).error["code"] == ("not_found" if name == "gone" else "unfit_event")


async def test_a_signal_step_tells_who_waits(on: Bench) -> None:
    waiter = in_yaml(steps(step("w", wait={"signal": "x-1"}), output=SEEN))
    waiting, _ = await begun(on, waiter)
    sender = in_yaml(steps(step("s", signal="x-{{ event.body }}", body={"a": 1}), output="'{{ steps.s.output }}'"))

    assert (await begun(on, sender, 1))[1].output == {"delivered": True}
    assert (await begun(on, sender, 2))[1].output == {"delivered": False}
    assert (await goes_on(on, waiter, waiting)).output == [{"a": 1}, "succeeded", None]


# Awaited in a script


async def test_in_a_script_a_long_wait_is_waited_for(on: Bench) -> None:
    flow = in_yaml(steps(step("w", wait="60s"), post("/b"), output="done"))

    assert await on.start(flow) == "done"
    assert on.remote.paths == ["/b"]
