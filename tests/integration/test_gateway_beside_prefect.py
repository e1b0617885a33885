"""What the gateway answers and does when Prefect answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from gateway_under_test import Gateway, gateway
from prefect.client.orchestration import PrefectClient
from prefect.states import Running, StateType
from prefect_records import a_deployment, a_flow_run
from store_builders import hold_of, running

from foundation.errors import StorageUnavailable

OPERATOR = {"Authorization": "Bearer full-token"}


@pytest.fixture
async def under_test(prefect_api: str) -> AsyncIterator[Gateway]:
    async with gateway(prefect=prefect_api, api_token="full-token") as under_test:
        yield under_test


async def test_it_is_ready(under_test: Gateway) -> None:
    ready = await under_test.http.get("/readyz")

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


async def test_without_its_database_it_is_not_ready(under_test: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> None:
        raise StorageUnavailable("the disk is on holiday")

    monkeypatch.setattr(under_test.store, "ping", away)

    ready = await under_test.http.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["detail"] == "database does not answer: StorageUnavailable"


async def test_what_it_accepts_becomes_a_flow_run_and_is_counted(under_test: Gateway, prefect: PrefectClient) -> None:
    execution_id = (await under_test.post({"amount": 12})).json()["execution_id"]

    async with asyncio.timeout(20):
        while not under_test.counted("ipaas_executions_dispatched_total"):
            await asyncio.sleep(0.02)

    [execution] = await under_test.executions()
    assert execution.flow_run_id
    run = await prefect.read_flow_run(UUID(execution.flow_run_id))
    assert (run.name, run.parameters["event"]["body"]) == (f"orders/{execution_id}", {"amount": 12})


async def test_a_running_execution_is_told_to_end(under_test: Gateway, prefect: PrefectClient) -> None:
    run = await a_flow_run(prefect, Running())
    execution_id = await running(under_test.store, flow_run_id=run)

    response = await under_test.http.post(f"/api/executions/{execution_id}/cancel", headers=OPERATOR)

    assert (response.status_code, response.json()["status"]) == (202, "running")
    requested = await under_test.store.renew([await hold_of(under_test.store, execution_id)], lease=30)
    assert requested[execution_id] == {"by": "the API", "reason": ""}
    state = (await prefect.read_flow_run(UUID(run))).state
    assert state is not None
    assert state.type is StateType.CANCELLING


async def test_a_workflow_is_closed_and_opened(under_test: Gateway, prefect: PrefectClient) -> None:
    deployment = await a_deployment(prefect)
    await under_test.store.set_deployment("orders", deployment)
    seen = []

    for what in ("deactivate", "activate"):
        answer = await under_test.http.post(f"/api/workflows/orders/{what}", headers=OPERATOR)
        paused = (await prefect.read_deployment(UUID(deployment))).paused
        seen.append((answer.status_code, answer.json()["active"], paused))

    assert seen == [(200, False, True), (200, True, False)]
