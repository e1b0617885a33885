"""Flow runs that Prefect deleted because their time was over: what ended stays ended, what did not is run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prefect.client.orchestration import PrefectClient
from store_builders import accepted, get, ids

from connectors.kit.testing import acting
from flows.engine.runtime import Runtime
from flows.history import Execution, MemoryStore, Status
from ipaas.worker.reconcile import Reconciler

GONE = "01980000-0000-7000-8000-000000000000"


class WellRuntime(Runtime):
    """Of a process that has had its history at hand for long enough to take others for dead."""

    healthy_seconds = 3600.0  # type: ignore[assignment]  # a property


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with acting() as stage:
        yield WellRuntime(store=MemoryStore(stage.clock), services=stage.services, clock=stage.clock)


async def test_an_ended_execution_is_left_alone(runtime: Runtime, prefect: PrefectClient) -> None:
    execution_id = await accepted(runtime.store)
    execution = await runtime.store.begin(execution_id, flow_run_id=GONE, owner="host/1", lease=60)
    assert isinstance(execution, Execution)
    await runtime.store.finish(execution.hold, Status.SUCCEEDED)
    before = await get(runtime.store, execution_id)

    await Reconciler(prefect, runtime).settle(GONE)

    assert await get(runtime.store, execution_id) == before


async def test_an_accepted_execution_is_dispatched_again(runtime: Runtime, prefect: PrefectClient) -> None:
    execution_id = await accepted(runtime.store)
    await runtime.store.dispatched({execution_id: GONE})

    await Reconciler(prefect, runtime).settle(GONE)

    assert ids(await runtime.store.admit(limit=10, claim=60)) == [execution_id]


async def test_a_running_execution_whose_process_is_gone_is_dispatched_again(
    runtime: Runtime, prefect: PrefectClient
) -> None:
    execution_id = await accepted(runtime.store)
    await runtime.store.begin(execution_id, flow_run_id=GONE, owner="host/1", lease=0)

    await Reconciler(prefect, runtime).settle(GONE)

    assert (await get(runtime.store, execution_id)).status is Status.ACCEPTED
    assert ids(await runtime.store.admit(limit=10, claim=60)) == [execution_id]
