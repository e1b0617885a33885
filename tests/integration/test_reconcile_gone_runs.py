"""Flow runs that Prefect deleted because their time was over: what ended stays ended, what did not is run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from prefect.client.orchestration import PrefectClient
from store_suite import HOUR, T0, accepted, begun, claimed, ended, get

from connectors.kit.testing import acting
from flows.engine.runtime import Runtime
from flows.history import MemoryStore, Status
from ipaas.worker.reconcile import Reconciler

GONE = "01980000-0000-7000-8000-000000000000"


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with acting() as stage:
        yield Runtime(store=MemoryStore(stage.clock), services=stage.services, clock=stage.clock)


async def test_an_ended_execution_is_left_alone(runtime: Runtime, prefect: PrefectClient) -> None:
    execution_id = await ended(runtime.store, flow_run_id=GONE)
    before = await get(runtime.store, execution_id)

    await Reconciler(prefect, runtime).settle(GONE)

    assert await get(runtime.store, execution_id) == before


async def test_an_accepted_execution_is_dispatched_again(runtime: Runtime, prefect: PrefectClient) -> None:
    execution_id = await accepted(runtime.store)
    await runtime.store.dispatched({execution_id: GONE})

    await Reconciler(prefect, runtime).settle(GONE)

    assert await claimed(runtime.store) == [execution_id]


async def test_a_running_execution_whose_process_is_gone_is_dispatched_again(
    runtime: Runtime, prefect: PrefectClient
) -> None:
    execution_id = await accepted(runtime.store)
    await begun(runtime.store, execution_id, flow_run_id=GONE, lease_until=T0 - HOUR)

    await Reconciler(prefect, runtime).settle(GONE)

    assert (await get(runtime.store, execution_id)).status is Status.ACCEPTED
    assert await claimed(runtime.store) == [execution_id]
