"""Starting an execution by hand, over the management API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from store_builders import a_version, get

from flows.history import MemoryStore, Status, Trigger

INPUT = {"type": "object", "required": ["amount", "user"], "properties": {"amount": {"type": "number"}}}


@pytest.fixture(autouse=True)
async def published(store: MemoryStore) -> None:
    await store.publish(a_version(declaration={"name": "orders", "input": INPUT}))


async def start(client: httpx.AsyncClient, body: Any, **arguments: Any) -> httpx.Response:
    return await client.post("/workflows/orders/executions", json=body, **arguments)


async def test_the_body_of_the_request_is_the_events(client: httpx.AsyncClient, store: MemoryStore) -> None:
    answer = await start(client, {"amount": 12, "user": "ann"})

    execution = await get(store, answer.json()["execution_id"])
    assert answer.status_code == 202
    assert answer.json() == {
        "execution_id": execution.id,
        "status": "accepted",
        "status_url": f"http://gateway.test/api/executions/{execution.id}",
    }
    assert (execution.workflow, execution.version, execution.trigger) == ("orders", "v1", Trigger.MANUAL)
    assert execution.status is Status.ACCEPTED
    assert execution.event["body"] == {"amount": 12, "user": "ann"}


async def test_a_body_that_does_not_fit_is_422_with_the_failing_paths(
    client: httpx.AsyncClient, store: MemoryStore
) -> None:
    answer = await start(client, {"amount": "many"})

    assert answer.status_code == 422
    assert [error["path"] for error in answer.json()["errors"]] == ["$", "$.amount"]
    assert "$.amount: the value is not of type" in answer.json()["detail"]
    assert (await store.executions()).items == []


async def test_a_body_that_is_not_json_is_400(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/workflows/orders/executions", content=b"{", headers=headers)).status_code == 400


async def test_an_unknown_workflow_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.post("/workflows/oders/executions", json={})).status_code == 404


async def test_an_inactive_workflow_can_be_started_by_hand(client: httpx.AsyncClient, store: MemoryStore) -> None:
    await store.set_active("orders", False)
    assert (await start(client, {"amount": 12, "user": "ann"})).status_code == 202


async def test_the_same_idempotency_key_starts_one(client: httpx.AsyncClient, store: MemoryStore) -> None:
    body, headers = {"amount": 12, "user": "ann"}, {"Idempotency-Key": "7"}
    first, again = [(await start(client, body, headers=headers)).json() for _ in range(2)]
    assert again == first | {"status": "duplicate"}
    assert len((await store.executions()).items) == 1


async def test_a_full_backlog_is_429(client: httpx.AsyncClient, app: FastAPI) -> None:
    for _ in range(10):
        app.state.backlog.add("orders")
    answer = await start(client, {"amount": 12, "user": "ann"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
