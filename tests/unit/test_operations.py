"""What operators do: cancel, replay, open and close; Prefect is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prefect.client.orchestration import PrefectClient
from prefect_client import prefect_client
from store_builders import SECOND, T0, a_step, a_version, accepted, begun, ended, finish, get, running, save

from flows.history import MemoryStore, NewWait, Status, Topic, Trigger, WaitKind, step_address
from foundation.clock import ManualClock
from foundation.errors import NotFound
from ipaas import operations
from ipaas.operations import Conflict, PrefectUnavailable

FLOW_RUN, DEPLOYMENT = "01980000-0000-7000-8000-000000000001", "01980000-0000-7000-8000-000000000002"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def prefect() -> AsyncIterator[PrefectClient]:
    async with prefect_client() as client:
        yield client


# Cancel


async def test_what_prefect_does_not_know_yet_is_cancelled_at_once(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    execution_id = await accepted(store)

    execution = await operations.cancel(store, prefect, execution_id, by="the API", reason="wrong order")

    assert (execution.status, execution.finished_at) == (Status.CANCELLED, T0)
    assert execution.cancel_requested == {"by": "the API", "reason": "wrong order"}


async def test_a_cancelled_end_is_told_to_whoever_waits_for_it_or_for_its_slot(
    store: MemoryStore, prefect: PrefectClient
) -> None:
    execution_id = await accepted(store)
    told: list[str] = []
    async with store.listening(Topic.ENDED, told.append), store.listening(Topic.ACCEPTED, told.append):
        await operations.cancel(store, prefect, execution_id, by="the API")
        await asyncio.sleep(0)

    assert told == [execution_id, ""]


async def test_what_it_has_called_is_cancelled_with_it(store: MemoryStore, prefect: PrefectClient) -> None:
    parent = await running(store)
    child = await accepted(store, parent_id=parent, parent_path="sub")
    document = {"workflow": "orders", "execution_id": child}
    wait = NewWait("sub", WaitKind.CALL, step_address(parent, "sub"), None, document)
    await store.park((await get(store, parent)).hold, [wait])

    await operations.cancel(store, prefect, parent, by="the API")

    assert [(await get(store, one)).status for one in (parent, child)] == [Status.CANCELLED] * 2
    assert (await get(store, child)).cancel_requested["reason"] == f"execution {parent}, which called it, was cancelled"


async def test_what_waits_is_not_cancelled_behind_prefects_back(store: MemoryStore, prefect: PrefectClient) -> None:
    execution_id = await running(store, flow_run_id=FLOW_RUN)
    await store.park((await get(store, execution_id)).hold, [NewWait("pause", WaitKind.TIME, due_at=T0)])

    with pytest.raises(PrefectUnavailable, match="nothing was changed"):
        await operations.cancel(store, prefect, execution_id, by="the API")

    assert (await get(store, execution_id)).status is Status.WAITING


async def test_while_prefect_is_away_the_request_is_noted(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    execution_id = await accepted(store)
    await store.dispatched({execution_id: FLOW_RUN})

    execution = await operations.cancel(store, prefect, execution_id, by="the API")

    assert execution.status is Status.ACCEPTED
    again = await begun(store, execution_id)
    assert again is not None
    assert again.cancel_requested == {"by": "the API", "reason": ""}


async def test_a_cancel_does_not_undo_an_end(store: MemoryStore, prefect: PrefectClient, clock: ManualClock) -> None:
    execution_id = await ended(store)

    with pytest.raises(Conflict, match="has already ended: succeeded"):
        await operations.cancel(store, prefect, execution_id, by="the API")


async def test_only_known_executions_are_cancelled_and_replayed(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    with pytest.raises(NotFound, match="no execution x"):
        await operations.cancel(store, prefect, "x", by="the API")
    with pytest.raises(NotFound, match="no execution x"):
        await operations.replay(store, clock, "x")


# Replay


async def test_a_replay_runs_the_same_event_on_the_same_version(store: MemoryStore, clock: ManualClock) -> None:
    first = await ended(store, Status.FAILED, version="v1", event={"body": 1}, dedupe_keys=("k",))
    await store.publish(a_version("v2"))

    again = await get(store, await operations.replay(store, clock, first))

    assert (again.event, again.version, again.trigger) == ({"body": 1}, "v1", Trigger.REPLAY)
    assert (again.status, again.replay_of, again.steps) == (Status.ACCEPTED, first, ())
    assert (await get(store, first)).replayed_by == again.id


async def test_a_replay_may_start_at_once(store: MemoryStore, clock: ManualClock) -> None:
    first = await ended(store, Status.FAILED)
    told: list[str] = []
    async with store.listening(Topic.ACCEPTED, told.append):
        await operations.replay(store, clock, first)
        await asyncio.sleep(0)

    assert told == [""]


async def test_a_replay_from_a_step_keeps_what_was_done_before_it(store: MemoryStore, clock: ManualClock) -> None:
    first = await running(store)
    statuses = [Status.SUCCEEDED, Status.SKIPPED, Status.FAILED, Status.SUCCEEDED, Status.SUCCEEDED]
    for number, status in enumerate(statuses):
        await save(store, first, a_step(f"s{number}", status, output=number, started_at=T0 + number * SECOND))
    await finish(store, first, Status.FAILED)

    again = await get(store, await operations.replay(store, clock, first, from_step="s3"))

    assert [(step.path, step.output) for step in again.steps] == [("s0", 0), ("s1", 1)]


async def test_a_replay_from_an_unknown_step_names_those_there_are(store: MemoryStore, clock: ManualClock) -> None:
    first = await running(store)
    await save(store, first, a_step("one"))
    await finish(store, first, Status.FAILED)

    with pytest.raises(NotFound, match="has no step two; it has one"):
        await operations.replay(store, clock, first, from_step="two")


@pytest.mark.parametrize(("asked_for", "got"), [("current", "v2"), ("v1", "v1"), ("v2", "v2"), (None, "v1")])
async def test_a_replay_runs_on_the_version_asked_for(
    store: MemoryStore, clock: ManualClock, asked_for: str | None, got: str
) -> None:
    await store.publish(a_version("v1"))
    await store.publish(a_version("v2"))
    first = await ended(store, version="v1")

    again = await get(store, await operations.replay(store, clock, first, version=asked_for))

    assert again.version == got


async def test_a_replay_on_an_unknown_version_is_refused(store: MemoryStore, clock: ManualClock) -> None:
    first = await ended(store)

    with pytest.raises(NotFound, match="workflow orders has no version v9"):
        await operations.replay(store, clock, first, version="v9")


async def test_what_has_not_ended_is_not_replayed(store: MemoryStore, clock: ManualClock) -> None:
    first = await running(store)

    with pytest.raises(Conflict, match="has not ended: running"):
        await operations.replay(store, clock, first)


# Open and close


async def test_while_prefect_is_away_nothing_is_closed(store: MemoryStore, prefect: PrefectClient) -> None:
    await store.publish(a_version())
    await store.set_deployment("orders", DEPLOYMENT)

    with pytest.raises(PrefectUnavailable, match=r"Prefect does not answer .*; nothing was changed"):
        await operations.set_active(store, prefect, "orders", False)

    assert await _is_active(store)


async def test_only_known_workflows_are_closed(store: MemoryStore, prefect: PrefectClient) -> None:
    with pytest.raises(NotFound, match="no workflow orders"):
        await operations.set_active(store, prefect, "orders", False)


async def _is_active(store: MemoryStore) -> bool:
    workflow = await store.workflow("orders")
    assert workflow is not None
    return workflow.active
