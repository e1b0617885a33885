"""Approvals and signals in the management API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from store_builders import T0, begun, finish, get, hold_of, running

from flows.history import MemoryStore, NewWait, Status, Topic, WaitKind, signal_address, step_address
from foundation.clock import ManualClock

FORM = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number"}}}


async def asking(store: MemoryStore, *paths: str, form: Any = None, message: str = "Refund?") -> str:
    execution_id = await running(store)
    waits = [
        NewWait(path, WaitKind.APPROVAL, step_address(execution_id, path), None, {"message": message, "form": form})
        for path in paths or ("ask",)
    ]
    assert await store.park(await hold_of(store, execution_id), waits)
    return execution_id


async def test_approvals_are_listed_and_decided(
    client: httpx.AsyncClient, store: MemoryStore, clock: ManualClock
) -> None:
    execution_id = await asking(store, form=FORM)
    [item] = (await client.get("/approvals")).json()["items"]
    assert item == {
        "id": f"{execution_id}:ask",
        "execution_id": execution_id,
        "step": "ask",
        "message": "Refund?",
        "form": FORM,
        "asked_at": "2026-01-01T00:00:00Z",
        "due_at": None,
        "decided_at": None,
        "decided_by": None,
        "decision": None,
    }
    clock.move(hours=1)

    decision = {"decision": "approve", "form": {"amount": 3}, "by": "Ada"}
    response = await client.post(f"/approvals/{item['id']}", json=decision)

    assert response.status_code == 200
    assert (response.json()["decided_by"], response.json()["decided_at"]) == ("Ada", "2026-01-01T01:00:00Z")
    assert response.json()["decision"] == {"approved": True, "form": {"amount": 3}}
    assert (await client.get("/approvals")).json()["items"] == []
    [wait] = (await begun(store, execution_id)).waits
    assert (wait.answer, wait.answered_by) == ({"approved": True, "form": {"amount": 3}}, "Ada")


async def test_what_was_decided_may_go_on_at_once(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await asking(store)
    told: list[str] = []
    async with store.listening(Topic.ACCEPTED, told.append):
        await client.post(f"/approvals/{execution_id}:ask", json={"decision": "approve"})
        await asyncio.sleep(0)

    assert told == [""]


async def test_an_execution_that_waits_says_what_for(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await running(store)
    waits = [NewWait("paid", WaitKind.SIGNAL, signal_address("paid-1"), T0), NewWait("b", WaitKind.TIME, due_at=T0)]
    await store.park(await hold_of(store, execution_id), waits)

    shown = (await client.get(f"/executions/{execution_id}")).json()

    assert shown["status"] == "waiting"
    assert shown["waiting_for"] == (
        "b: until 2026-01-01 00:00:00 UTC; paid: signal paid-1, until 2026-01-01 00:00:00 UTC"
    )
    assert [one["id"] for one in (await client.get("/executions?status=waiting")).json()["items"]] == [execution_id]


@pytest.mark.parametrize("by_execution", [True, False])
async def test_one_approval_is_known_by_its_execution_too(
    client: httpx.AsyncClient, store: MemoryStore, by_execution: bool
) -> None:
    execution_id = await asking(store, "lines[0].ask")
    name = execution_id if by_execution else f"{execution_id}:lines[0].ask"

    assert (await client.post(f"/approvals/{name}", json={"decision": "reject"})).status_code == 200

    assert (await get(store, execution_id)).waits[0].answer["approved"] is False


@pytest.mark.parametrize(
    ("decision", "status", "detail"),
    [
        ({"decision": "maybe"}, 422, "decision"),
        ({"decision": "approve"}, 422, "the form does not fit"),
        ({"decision": "approve", "form": {"amount": "3"}}, 422, "$.amount"),
        ({"decision": "approve", "colour": "red"}, 422, "colour"),
    ],
)
async def test_what_does_not_fit_decides_nothing(
    client: httpx.AsyncClient, store: MemoryStore, decision: Any, status: int, detail: str
) -> None:
    execution_id = await asking(store, form=FORM)

    response = await client.post(f"/approvals/{execution_id}", json=decision)

    assert response.status_code == status
    assert detail in response.json()["detail"]
    assert (await get(store, execution_id)).status is Status.WAITING


async def test_who_rejects_need_not_fill_in_the_form(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await asking(store, form=FORM)
    assert (await client.post(f"/approvals/{execution_id}", json={"decision": "reject"})).status_code == 200


async def test_the_second_decision_is_refused(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await asking(store)
    await client.post(f"/approvals/{execution_id}", json={"decision": "approve", "by": "Ada"})

    second = await client.post(f"/approvals/{execution_id}", json={"decision": "reject"})

    assert second.status_code == 409
    assert second.json()["detail"] == "this was answered already by Ada"


async def test_nobody_decides_what_is_over(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await asking(store)
    await finish(store, execution_id, Status.CANCELLED)

    response = await client.post(f"/approvals/{execution_id}:ask", json={"decision": "approve"})

    assert response.status_code == 409
    assert "its time is over" in response.json()["detail"]


async def test_of_several_approvals_one_is_named(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await asking(store, "a", "b")

    response = await client.post(f"/approvals/{execution_id}", json={"decision": "approve"})

    assert response.status_code == 409
    assert f"asks 2: {execution_id}:a, {execution_id}:b" in response.json()["detail"]


@pytest.mark.parametrize("name", ["gone", "gone:ask"])
async def test_an_approval_that_is_none_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.post(f"/approvals/{name}", json={"decision": "approve"})).status_code == 404


async def test_a_signal_is_delivered_or_kept_or_known(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await running(store)
    await store.park(await hold_of(store, execution_id), [NewWait("w", WaitKind.SIGNAL, signal_address("paid"))])

    answers = [await client.post("/signals/paid", json={"n": n}) for n in range(3)]

    assert [answer.status_code for answer in answers] == [202] * 3
    assert [answer.json()["status"] for answer in answers] == ["delivered", "kept", "known"]
    assert [answer.json()["delivered"] for answer in answers] == [True, False, False]
    assert (await get(store, execution_id)).waits[0].answer == {"n": 0}


async def test_a_name_that_is_no_signals_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"/signals/{'x' * 201}")).status_code == 422
    assert (
        await client.post("/signals/a", content=b"{", headers={"content-type": "application/json"})
    ).status_code == 400


@pytest.mark.parametrize("path", ["/approvals/x", "/signals/x"])
async def test_a_token_that_may_read_decides_nothing(anonymous: httpx.AsyncClient, path: str) -> None:
    anonymous.headers["Authorization"] = "Bearer read-token"
    assert (await anonymous.post(path, json={"decision": "approve"})).status_code == 403
    del anonymous.headers["Authorization"]
    assert (await anonymous.post(path, json={"decision": "approve"})).status_code == 401
