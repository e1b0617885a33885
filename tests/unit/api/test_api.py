"""The management API: what it shows and does, and how it refuses."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from store_builders import HOUR, SECOND, T0, a_step, a_version, accepted, ended, finish, get, running, save

from flows.history import MemoryStore, Status
from foundation.clock import ManualClock
from foundation.errors import StorageUnavailable

DECLARATION: dict[str, Any] = {"name": "orders", "triggers": [{"kind": "webhook", "path": "orders", "auth": "none"}]}


def assert_problem(response: httpx.Response, status: int, detail: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert detail in response.json()["detail"]


# Executions


async def test_an_execution_is_shown_whole(client: httpx.AsyncClient, store: MemoryStore, clock: ManualClock) -> None:
    execution_id = await running(store, flow_run_id="run-1", event={"body": {"amount": 12}})
    step = a_step(attempts=2, output={"ts": "1"}, started_at=T0, finished_at=T0 + SECOND)
    await save(store, execution_id, step)
    clock.move(hours=1)
    await finish(store, execution_id, Status.SUCCEEDED, output={"sent": "1"})

    response = await client.get(f"/executions/{execution_id}")

    assert response.status_code == 200
    assert response.json() == {
        "id": execution_id,
        "workflow": "orders",
        "version": "v1",
        "mode": "standard",
        "trigger": "webhook",
        "status": "succeeded",
        "event": {"body": {"amount": 12}},
        "output": {"sent": "1"},
        "error": None,
        "accepted_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T01:00:00Z",
        "flow_run_id": "run-1",
        "flow_run_url": "http://prefect.test/runs/flow-run/run-1",
        "parent_id": None,
        "replay_of": None,
        "replayed_by": None,
        "waiting_for": None,
        "steps": [
            {
                "id": "notify",
                "action": "slack.post_message",
                "status": "succeeded",
                "attempts": 2,
                "started_at": "2026-01-01T00:00:00Z",
                "finished_at": "2026-01-01T00:00:01Z",
                "output": {"ts": "1"},
                "error": None,
            }
        ],
    }


def nested(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("\ud800", "\ud800"),
        ("a\x00b", "a\x00b"),
        (float("nan"), None),
        ([float("inf"), 1], [None, 1]),
        (12**400, 12**400),
        (nested(400), nested(400)),
    ],
    ids=["lone surrogate", "NUL", "NaN", "infinity", "huge integer", "deep"],
)
async def test_whatever_the_history_holds_is_shown(
    client: httpx.AsyncClient, store: MemoryStore, body: Any, shown: Any
) -> None:
    execution_id = await accepted(store, event={"body": body})

    response = await client.get(f"/executions/{execution_id}")

    assert response.status_code == 200
    assert response.json()["event"] == {"body": shown}


async def test_executions_are_filtered(client: httpx.AsyncClient, store: MemoryStore) -> None:
    await accepted(store)
    await ended(store, Status.FAILED, workflow="other")
    wanted = await ended(store, Status.FAILED, accepted_at=T0 + HOUR)
    await ended(store, Status.FAILED)

    filters = {"workflow": "orders", "status": "failed", "since": "2026-01-01T02:00:00+01:00"}
    response = await client.get("/executions", params=filters)

    assert [item["id"] for item in response.json()["items"]] == [wanted]
    assert response.json()["next_cursor"] is None


async def test_a_filter_that_does_not_exist_is_refused(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/executions", params={"stauts": "failed"}), 422, "query.stauts: ")


async def test_pages_follow_each_other(client: httpx.AsyncClient, store: MemoryStore) -> None:
    all_ids = [await accepted(store) for _ in range(5)]
    cursor, seen = None, []

    for _ in range(3):
        page = (await client.get("/executions", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert (seen, cursor) == (all_ids[::-1], None)


async def test_failed_executions_say_which_were_replayed(client: httpx.AsyncClient, store: MemoryStore) -> None:
    done = await ended(store, Status.FAILED)
    to_do = await ended(store, Status.FAILED)
    replay = (await client.post(f"/executions/{done}/replay")).json()["execution_id"]

    items = (await client.get("/executions", params={"status": "failed"})).json()["items"]

    assert [(item["id"], item["replayed_by"]) for item in items] == [(to_do, None), (done, replay)]


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("cursor=garbage", "query.cursor"),
        ("cursor=%00", "query.cursor"),
        ("status=done", "query.status"),
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=9999999999999999999999", "query.limit"),
        ("since=yesterday", "query.since"),
        ("since=2026-01-01T00:00:00", "query.since"),
        ("since=0001-01-01T00:00:00%2B10:00", "query.since"),
    ],
)
async def test_a_filter_that_means_nothing_is_named(client: httpx.AsyncClient, query: str, detail: str) -> None:
    assert_problem(await client.get(f"/executions?{query}"), 422, detail)


@pytest.mark.parametrize("query", ["workflow=%00", "workflow=%ff", "workflow=", "workflow=%ED%A0%80"])
async def test_odd_names_find_nothing(client: httpx.AsyncClient, store: MemoryStore, query: str) -> None:
    await accepted(store)

    assert (await client.get(f"/executions?{query}")).json() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("name", ["none", "%00", "%ff", "💥", "..%2f"])
async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient, name: str) -> None:
    for path in (f"/executions/{name}", f"/workflows/{name}"):
        assert_problem(await client.get(path), 404, "")
    for path in (f"/executions/{name}/replay", f"/executions/{name}/cancel", f"/workflows/{name}/activate"):
        assert_problem(await client.post(path), 404, "")


# Replay


async def test_a_replay_is_a_new_execution(client: httpx.AsyncClient, store: MemoryStore) -> None:
    first = await ended(store, Status.FAILED)

    response = await client.post(f"/executions/{first}/replay")

    assert response.status_code == 202
    again = await get(store, response.json()["execution_id"])
    assert response.json()["replay_of"] == again.replay_of == first


async def test_a_replay_of_what_failed_keeps_the_rest(client: httpx.AsyncClient, store: MemoryStore) -> None:
    first = await running(store)
    await save(store, first, a_step("one"), a_step("two", Status.FAILED, error={"code": "x", "message": "y"}))
    await finish(store, first, Status.FAILED, error={"code": "x", "message": "y", "step": "two"})

    again = (await client.post(f"/executions/{first}/replay", json={"failed": True})).json()["execution_id"]

    assert [step.path for step in (await get(store, again)).steps] == ["one"]


async def test_a_replay_starts_from_a_step_on_another_version(client: httpx.AsyncClient, store: MemoryStore) -> None:
    await store.publish(a_version("v2"))
    first = await running(store)
    for step in ("one", "two"):
        await save(store, first, a_step(step, output=step, started_at=T0))
    await finish(store, first, Status.FAILED)

    response = await client.post(f"/executions/{first}/replay", json={"from": "two", "version": "current"})

    again = await get(store, response.json()["execution_id"])
    assert (again.version, [step.path for step in again.steps]) == ("v2", ["one"])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"from": "nine"}, 404, "has no step nine"),
        ({"version": "v9"}, 404, "has no version v9"),
        ({"version": "\x00"}, 404, "has no version"),
        ({"from_step": "one"}, 422, "body.from_step"),
        ({"from": "one", "failed": True}, 422, "a replay is of one of them"),
        ({"\ud800": 1}, 422, "body"),
        ({"from": "\ud800"}, 404, "has no step"),
        ([], 422, "body"),
    ],
    ids=str,
)
async def test_a_replay_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, store: MemoryStore, body: Any, status: int, detail: str
) -> None:
    first = await ended(store)
    content, headers = json.dumps(body), {"content-type": "application/json"}

    response = await client.post(f"/executions/{first}/replay", content=content, headers=headers)

    assert_problem(response, status, detail)


@pytest.mark.parametrize(("content", "status"), [(b"{", 422), (b"\xff", 400), (b"[" * 100_000, 400)])
async def test_a_body_that_is_no_json_is_refused(
    client: httpx.AsyncClient, store: MemoryStore, content: bytes, status: int
) -> None:
    first = await ended(store)
    headers = {"content-type": "application/json"}

    for what in ("replay", "cancel"):
        response = await client.post(f"/executions/{first}/{what}", content=content, headers=headers)
        assert_problem(response, status, "")


async def test_what_has_not_ended_is_not_replayed(client: httpx.AsyncClient, store: MemoryStore) -> None:
    assert_problem(await client.post(f"/executions/{await running(store)}/replay"), 409, "has not ended: running")


# Cancel


async def test_a_waiting_execution_is_cancelled(client: httpx.AsyncClient, store: MemoryStore) -> None:
    execution_id = await accepted(store)

    response = await client.post(f"/executions/{execution_id}/cancel", json={"reason": "wrong order"})

    assert response.status_code == 202
    assert response.json()["status"] == "cancelled"
    assert (await get(store, execution_id)).cancel_requested == {"by": "the API", "reason": "wrong order"}


async def test_an_ended_execution_is_not_cancelled(client: httpx.AsyncClient, store: MemoryStore) -> None:
    assert_problem(await client.post(f"/executions/{await ended(store)}/cancel"), 409, "has already ended: succeeded")


# Workflows


async def test_a_workflow_is_shown_with_its_polls(
    client: httpx.AsyncClient, store: MemoryStore, clock: ManualClock
) -> None:
    declaration = {"name": "orders", "triggers": [{"poll": {"uses": "rss.items", "every": 600}}]}
    await store.publish(a_version(declaration=declaration))
    claimed = await store.claim_poll(claim=90)
    assert claimed is not None
    await store.fail_poll(claimed.hold, error={"code": "remote", "message": "410 Gone"}, retry=60)
    clock.move(hours=1)

    [shown] = (await client.get("/workflows/orders")).json()["polls"]

    assert shown == {
        "poll": "rss.items",
        "every": 600,
        "due_at": "2026-01-01T00:01:00Z",
        "polled_at": None,
        "failures": 1,
        "error": {"code": "remote", "message": "410 Gone"},
        "frozen": True,
    }
    assert (await client.get("/workflows")).json()["items"][0]["polls"] == [shown]


async def test_workflows_are_shown(client: httpx.AsyncClient, store: MemoryStore) -> None:
    await store.publish(a_version(description="Orders", tags=["sales"], declaration=DECLARATION))
    await store.set_deployment("orders", "deployment-1")
    shown = {
        "name": "orders",
        "description": "Orders",
        "tags": ["sales"],
        "active": True,
        "version": "v1",
        "language": "yaml",
        "triggers": DECLARATION["triggers"],
        "polls": [],
        "deployment_url": "http://prefect.test/deployments/deployment/deployment-1",
        "updated_at": "2026-01-01T00:00:00Z",
    }

    version = {"version": "v1", "language": "yaml", "file": "orders.yaml", "created_at": "2026-01-01T00:00:00Z"}
    assert (await client.get("/workflows/orders")).json() == shown | {"versions": [version | {"current": True}]}
    assert (await client.get("/workflows")).json() == {"items": [shown], "next_cursor": None}


async def test_while_prefect_is_away_nothing_is_closed(client: httpx.AsyncClient, store: MemoryStore) -> None:
    await store.publish(a_version(declaration=DECLARATION))
    await store.set_deployment("orders", "01980000-0000-7000-8000-000000000000")

    response = await client.post("/workflows/orders/deactivate")

    assert_problem(response, 503, "nothing was changed")
    assert response.headers["retry-after"]
    assert (await client.get("/workflows/orders")).json()["active"] is True


async def test_while_the_storage_is_away_it_says_so(
    client: httpx.AsyncClient, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StorageUnavailable("at db:5432")

    monkeypatch.setattr(store, "workflows", away)

    assert_problem(await client.get("/workflows"), 503, "the storage does not answer")
