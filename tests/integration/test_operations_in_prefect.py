"""What becomes of flow runs and deployments in Prefect when an operator cancels, opens and closes."""

from __future__ import annotations

from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.states import Running, State, StateType
from prefect_records import a_deployment, a_flow_run
from store_builders import T0, a_version, accepted, begun

from flows.history import MemoryStore, Status
from foundation.clock import ManualClock
from ipaas import operations

GONE = "01980000-0000-7000-8000-000000000000"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
def store(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock)


async def state_of(prefect: PrefectClient, flow_run_id: str) -> State:
    state = (await prefect.read_flow_run(UUID(flow_run_id))).state
    assert state is not None
    return state


async def is_paused(prefect: PrefectClient, deployment_id: str) -> bool:
    return (await prefect.read_deployment(UUID(deployment_id))).paused


async def is_active(store: MemoryStore) -> bool:
    workflow = await store.workflow("orders")
    assert workflow is not None
    return workflow.active


# Cancel


async def test_what_waits_in_prefect_is_cancelled_at_once(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    execution_id = await accepted(store)
    run = await a_flow_run(prefect)
    await store.dispatched({execution_id: run})

    execution = await operations.cancel(store, prefect, execution_id, by="the API", reason="wrong order")

    assert (await state_of(prefect, run)).type is StateType.CANCELLED
    assert execution.status is Status.CANCELLED
    assert execution.error == {"code": "cancelled", "message": "cancelled through the API: wrong order"}


async def test_a_reason_that_prefect_could_not_store_is_made_readable(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    waiting, runs = await accepted(store), await accepted(store)
    run = await a_flow_run(prefect, Running())
    await store.dispatched({waiting: await a_flow_run(prefect)})
    await begun(store, runs, flow_run_id=run)

    execution = await operations.cancel(store, prefect, waiting, by="the API", reason="a\ud800b\x00c\nd")
    await operations.cancel(store, prefect, runs, by="the API", reason="a\ud800b\x00c\nd")

    assert execution.error["message"] == "cancelled through the API: a b c d"
    assert (await state_of(prefect, run)).message == "cancelled through the API: a b c d"


async def test_what_runs_is_told(store: MemoryStore, prefect: PrefectClient, clock: ManualClock) -> None:
    execution_id = await accepted(store)
    run = await a_flow_run(prefect, Running())
    await begun(store, execution_id, flow_run_id=run)

    execution = await operations.cancel(store, prefect, execution_id, by="the API")

    assert (await state_of(prefect, run)).type is StateType.CANCELLING
    assert execution.status is Status.RUNNING
    assert await store.renew([execution.hold], lease=60) == {execution_id: {"by": "the API", "reason": ""}}


async def test_what_waits_for_a_flow_run_that_is_gone_is_cancelled(
    store: MemoryStore, prefect: PrefectClient, clock: ManualClock
) -> None:
    execution_id = await accepted(store)
    await store.dispatched({execution_id: GONE})

    execution = await operations.cancel(store, prefect, execution_id, by="the API")

    assert execution.status is Status.CANCELLED


# Open and close


async def test_a_closed_workflow_takes_no_events_and_keeps_no_schedule(
    store: MemoryStore, prefect: PrefectClient
) -> None:
    await store.publish(a_version())
    await store.set_deployment("orders", deployment := await a_deployment(prefect))

    await operations.set_active(store, prefect, "orders", False)
    closed = (await is_active(store), await is_paused(prefect, deployment))
    await operations.set_active(store, prefect, "orders", True)
    opened = (await is_active(store), await is_paused(prefect, deployment))

    assert (closed, opened) == ((False, True), (True, False))


async def test_a_workflow_whose_deployment_is_gone_is_closed(store: MemoryStore, prefect: PrefectClient) -> None:
    await store.publish(a_version())
    await store.set_deployment("orders", GONE)

    await operations.set_active(store, prefect, "orders", False)

    assert not await is_active(store)
