"""Each of the history's calls, as it is made in a history that has a long past and things to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from store_builders import T0, a_step, a_version, accepted, admitted, an_execution, begun, finish, hold_of, running
from store_suite.polls import RSS, an_item, claimed, declare

from benchmarks.filling import SHARED_SIGNAL
from blocks.token_state import TokenFailure, TokenHold
from flows.history import Key, Mode, NewExecution, NewWait, PollHold, PollState, Status, WaitKind, signal_address
from flows.history.records import Rule, step_address
from flows.history.sql import SqlStore
from foundation.ids import new_id

Watch = Callable[[], AbstractContextManager[Any]]
Case = Callable[[SqlStore, Watch], Awaitable[Any]]
"""Prepares a call, and makes it while it is watched."""

EVERY_CALL: dict[str, Case] = {}
"""By the method's name, and what is special about the call: `executions: by status`."""

OF = "event.body.customer"
BY_KEY = {"limit": 1, "key": OF}
KEYED: dict[str, Any] = {
    "by-key": {"concurrency": [{"limit": 5}, BY_KEY]},
    "latest": {"concurrency": [{"limit": 5}, BY_KEY | {"overflow": "latest"}]},
    "throttled": {"concurrency": {"limit": 50}, "throttle": {"limit": 1, "per": 0.001, "key": OF}},
    "debounced": {"debounce": {"quiet": 0.001, "key": OF}},
    "batched": {"batch": {"size": 3, "within": 0.001, "key": OF}},
}
"""Of each there is something to do."""


def keyed(workflow: str, customer: int) -> NewExecution:
    rules: tuple[Rule, ...] = ("concurrency", "throttle", "debounce", "batch")
    return an_execution(workflow=workflow, keys=[Key.made(rule, OF, str(customer)) for rule in rules])


async def make_present(store: SqlStore, *, waiting: int = 100) -> None:
    """Some wait for a full workflow, some by their keys; a little runs, and waits for something outside."""
    for workflow in ("full", "free", "quiet"):
        await store.publish(a_version(workflow=workflow, declaration={"concurrency": {"limit": 5}}))
    await store.accept([an_execution(workflow="full") for _ in range(waiting)])
    for workflow, declaration in KEYED.items():
        await store.publish(a_version(workflow=workflow, declaration=declaration))
    await store.accept([keyed(workflow, n % 10) for workflow in KEYED for n in range(30)])
    await admitted(store)
    await store.accept([keyed(workflow, n) for workflow in KEYED for n in range(20)])
    for workflow in ("full", "free"):
        await accepted(store, workflow=workflow, flow_run_id=f"run-of-{workflow}")
    await running(store, workflow="quiet", lease=-1)
    await parked(store, "asked")
    await declare(store, RSS)


async def parked(store: SqlStore, signal: str) -> str:
    execution_id = await running(store, workflow=new_id())
    waits = [NewWait("ask", WaitKind.APPROVAL, signal_address(signal), T0)]
    await store.park(await hold_of(store, execution_id), waits)
    return execution_id


def call(name: str) -> Callable[[Case], Case]:
    def note(case: Case) -> Case:
        EVERY_CALL[name] = case
        return case

    return note


def simply(name: str, ask: Callable[[SqlStore], Awaitable[Any]]) -> None:
    """A call that needs no preparation."""

    async def case(store: SqlStore, watch: Watch) -> None:
        with watch():
            await ask(store)

    EVERY_CALL[name] = case


# The catalogue

simply("publish", lambda store: store.publish(a_version("v2", workflow="free")))
simply("workflows", lambda store: store.workflows())
simply("workflow", lambda store: store.workflow("free"))
simply("version", lambda store: store.version("free", "v1"))
simply("versions", lambda store: store.versions("free"))
simply("set_active", lambda store: store.set_active("quiet", True))
simply("set_deployment", lambda store: store.set_deployment("quiet", "deployment"))
simply("set_limit", lambda store: store.set_limit("quiet", 7))


@call("publish: other rules")
async def publish_rules(store: SqlStore, watch: Watch) -> None:
    with watch():
        await store.publish(a_version("v2", workflow="by-key", declaration=KEYED["latest"]))


@call("prune_versions")
async def prune_versions(store: SqlStore, watch: Watch) -> None:
    for version in ("v1", "v0"):  # the first one is what the past ran
        await store.publish(a_version(version, workflow="workflow-0", created_at=T0))
    with watch():
        await store.prune_versions(before=T0.replace(year=2030), keep=0)


# The way in

simply("accept", lambda store: store.accept([an_execution(dedupe_keys=["one", "other"], steps=[a_step()])]))
simply("accept: large", lambda store: store.accept([an_execution(event={"body": "x" * 300_000})]))
simply("backlog", lambda store: store.backlog())
simply("oldest_accepted", lambda store: store.oldest_accepted())


@call("accept: a duplicate")
async def accept_duplicate(store: SqlStore, watch: Watch) -> None:
    await store.accept([an_execution(dedupe_keys=["one"])])
    with watch():
        await store.accept([an_execution(dedupe_keys=["one", "other"])])


# Admission

simply("admit", lambda store: store.admit(limit=100, claim=30))
simply("admit: of a mode", lambda store: store.admit(limit=100, claim=30, modes=[Mode.STANDARD]))
simply("wake", lambda store: store.wake(limit=100))


@call("dispatched")
async def dispatched(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await store.dispatched({id_: f"run-of-{id_}"})


@call("release")
async def release(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await store.release([id_])


@call("admit_and_begin")
async def admit_and_begin(store: SqlStore, watch: Watch) -> None:
    await express(store)
    with watch():
        await begin_express(store)


async def express(store: SqlStore) -> str:
    workflow = new_id()
    await store.publish(a_version(workflow=workflow, declaration={"name": workflow, "mode": "express"}))
    return await accepted(store, workflow=workflow)


async def begin_express(store: SqlStore) -> None:
    await store.admit_and_begin(limit=100, owner="host/1", lease=60)


# Running


@call("begin")
async def begin(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await begun(store, id_)


@call("begin: by its key")
async def begin_by_key(store: SqlStore, watch: Watch) -> None:
    new = keyed("by-key", 1)
    await store.accept([new])
    with watch():
        await store.begin(new.id, flow_run_id=None, owner="host/1", lease=60)


@call("save_steps")
async def save_steps(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    with watch():
        await store.save_steps(hold, [a_step(output="x" * 300_000)])


@call("finish")
async def finish_well(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    with watch():
        await store.finish(hold, Status.SUCCEEDED, steps=[a_step()], output="x" * 300_000)


@call("finish: of a called one")
async def finish_called(store: SqlStore, watch: Watch) -> None:
    caller = await parked(store, "called")
    hold = await hold_of(store, await running(store, workflow=new_id(), parent_id=caller, parent_path="ask"))
    with watch():
        await store.finish(hold, Status.SUCCEEDED)


@call("finish: a failure that starts another workflow")
async def finish_badly(store: SqlStore, watch: Watch) -> None:
    triggers = [{"failure": {"of": ["fails-*"]}}]
    await store.publish(a_version(workflow="alert", declaration={"name": "alert", "triggers": triggers}))
    hold = await hold_of(store, await running(store, workflow=f"fails-{new_id()}"))
    with watch():
        await store.finish(hold, Status.FAILED, error={"code": "x"})


@call("renew")
async def renew(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    with watch():
        await store.renew([hold], lease=60)


@call("requeue")
async def requeue(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    with watch():
        await store.requeue(hold)


@call("park")
async def park(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    with watch():
        await store.park(hold, [NewWait("ask", WaitKind.SIGNAL, SHARED_SIGNAL, T0)], steps=[a_step()])


# Waits

simply("answer: kept", lambda store: store.answer(SHARED_SIGNAL, None, by=None, keep=1))
simply("answer: known", lambda store: store.answer(step_address("no", "step"), None, by=None, keep=1))
simply("wait_at", lambda store: store.wait_at(SHARED_SIGNAL))
simply("open_waits", lambda store: store.open_waits(WaitKind.APPROVAL, limit=10))


@call("answer")
async def answer(store: SqlStore, watch: Watch) -> None:
    hold = await hold_of(store, await running(store, workflow=new_id()))
    await store.park(hold, [NewWait("ask", WaitKind.SIGNAL, SHARED_SIGNAL)])
    with watch():
        await store.answer(SHARED_SIGNAL, None, by=None, keep=1)


# Takeover

simply("expired", lambda store: store.expired())
simply("owned", lambda store: store.owned("host/"))
simply("stale_dispatches", lambda store: store.stale_dispatches(older_than=60, limit=10))
simply("executions_of_flow_runs", lambda store: store.executions_of_flow_runs(["run-of-free", "no"]))


@call("undispatch")
async def undispatch(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id(), flow_run_id="lost")
    with watch():
        await store.undispatch(id_)


# Recording

simply("last_recorded", lambda store: store.last_recorded())
simply("forget_recorded", lambda store: store.forget_recorded(after=_lately(), limit=10))
simply("forget_recorded: any", lambda store: store.forget_recorded(after=None, limit=10))


@call("unrecorded")
async def unrecorded(store: SqlStore, watch: Watch) -> None:
    id_ = await ended_express(store)
    with watch():
        await store.unrecorded(limit=10)
    await store.note_recorded([id_], at=datetime.now(UTC))


@call("note_recorded")
async def note_recorded(store: SqlStore, watch: Watch) -> None:
    id_ = await ended_express(store)
    with watch():
        await store.note_recorded([id_], at=datetime.now(UTC))


async def ended_express(store: SqlStore) -> str:
    id_ = await express(store)
    await begin_express(store)
    await finish(store, id_, Status.SUCCEEDED)
    return id_


# Polls


async def due(store: SqlStore) -> PollState:
    await declare(store, RSS, workflow=new_id())
    return await claimed(store)


simply("claim_poll", lambda store: store.claim_poll(claim=-1))
simply("known_keys", lambda store: store.known_keys(PollHold("news", RSS, 1), ["a", "b"]))
simply("polls", lambda store: store.polls())


# Tokens

CRM = ("crm", "oauth2")

simply("token", lambda store: store.token(*CRM))
simply("tokens", lambda store: store.tokens())
simply("claim_token", lambda store: store.claim_token(*CRM, claim=60))
simply("begin_connecting", lambda store: store.begin_connecting(*CRM, "n1"))
simply("end_connecting", lambda store: store.end_connecting(*CRM, "n1"))
simply("connect_token", lambda store: store.connect_token(*CRM, "sealed", expires_in=60, by="kim"))
simply("reseal_token", lambda store: store.reseal_token(*CRM, before="sealed", after="resealed"))
simply("forget_token", lambda store: store.forget_token(*CRM))


async def claimed_token(store: SqlStore) -> TokenHold:
    claim = await store.claim_token("held", "oauth2", claim=60)
    assert claim
    return claim.hold


@call("store_token")
async def store_token(store: SqlStore, watch: Watch) -> None:
    hold = await claimed_token(store)
    with watch():
        await store.store_token(hold, "sealed", expires_in=60)


@call("fail_token")
async def fail_token(store: SqlStore, watch: Watch) -> None:
    hold = await claimed_token(store)
    with watch():
        await store.fail_token(hold, TokenFailure("revoked", lasting=True, settings="s1"), retry=60)


@call("release_token")
async def release_token(store: SqlStore, watch: Watch) -> None:
    hold = await claimed_token(store)
    with watch():
        await store.release_token(hold)


@call("finish_poll")
async def finish_poll(store: SqlStore, watch: Watch) -> None:
    state = await due(store)
    with watch():
        await store.finish_poll(state.hold, keys=["a", "b"], new=[an_item()], cursor="c")


@call("fail_poll")
async def fail_poll(store: SqlStore, watch: Watch) -> None:
    state = await due(store)
    with watch():
        await store.fail_poll(state.hold, error={"code": "x"}, retry=60)


@call("release_poll")
async def release_poll(store: SqlStore, watch: Watch) -> None:
    state = await due(store)
    with watch():
        await store.release_poll(state.hold)


# The archive


def _lately() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)  # nothing is that new, however fast this test is


async def _newest(store: SqlStore, count: int = 1) -> Sequence[str]:
    return [one.id for one in (await store.executions(workflow="workflow-0", limit=count)).items]


@call("execution")
async def execution(store: SqlStore, watch: Watch) -> None:
    id_ = await running(store, workflow=new_id())
    with watch():
        await store.execution(id_)


@call("version_of")
async def version_of(store: SqlStore, watch: Watch) -> None:
    [id_] = await _newest(store)
    with watch():
        await store.version_of(id_)


@call("finished")
async def finished(store: SqlStore, watch: Watch) -> None:
    ids = await _newest(store, 3)
    with watch():
        await store.finished([*ids, await accepted(store)])


@call("executions: behind a cursor")
async def executions_behind(store: SqlStore, watch: Watch) -> None:
    [cursor] = await _newest(store)
    with watch():
        await store.executions(cursor=cursor, limit=10)


simply("execution_of_flow_run", lambda store: store.execution_of_flow_run("run-of-free"))
simply("executions", lambda store: store.executions())
simply("executions: of a workflow", lambda store: store.executions(workflow="quiet"))
simply("executions: by a common status", lambda store: store.executions(status=Status.SUCCEEDED))
simply("executions: by a rare status", lambda store: store.executions(status=Status.RUNNING))
simply(
    "executions: of a workflow by status",
    lambda store: store.executions(workflow="workflow-0", status=Status.RUNNING),
)
simply("executions: since lately", lambda store: store.executions(since=_lately()))
simply(
    "executions: of a workflow by status since lately",
    lambda store: store.executions(workflow="workflow-0", status=Status.SUCCEEDED, since=_lately()),
)
simply("counts", lambda store: store.counts())
simply("prune", lambda store: store.prune(before=T0.replace(year=2030), limit=10))
simply("end_of_newest", lambda store: store.end_of_newest(10))
simply("forget_deliveries", lambda store: store.forget_deliveries(limit=10))
simply("compact", lambda store: store.compact())


@call("request_cancel")
async def request_cancel(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await store.request_cancel(id_, by="ada", reason="")


# Callers


@call("note_caller")
async def note_caller(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await store.note_caller(id_, "gateway", seconds=60)


@call("forget_caller")
async def forget_caller(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    await store.note_caller(id_, "gateway", seconds=60)
    with watch():
        await store.forget_caller(id_, "gateway")


@call("finish: of one that nobody runs")
async def finish_unbegun(store: SqlStore, watch: Watch) -> None:
    id_ = await accepted(store, workflow=new_id())
    with watch():
        await finish(store, id_, Status.CANCELLED)
