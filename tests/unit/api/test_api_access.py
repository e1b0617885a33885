"""Who may use the management API, and what its description says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from store_builders import ended

from flows.history import MemoryStore

READS = ["/workflows", "/workflows/x", "/executions", "/executions/x"]
WRITES = [
    "/workflows/x/activate",
    "/workflows/x/deactivate",
    "/workflows/x/executions",
    "/executions/x/replay",
    "/executions/x/cancel",
]


@pytest.mark.parametrize("path", READS)
async def test_reading_takes_either_token(anonymous: httpx.AsyncClient, path: str) -> None:
    for token in ("full-token", "read-token"):
        response = await anonymous.get(path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code in (200, 404)


@pytest.mark.parametrize("path", WRITES)
async def test_changing_takes_the_full_token(anonymous: httpx.AsyncClient, path: str) -> None:
    full = await anonymous.post(path, headers={"Authorization": "bearer full-token"})
    read = await anonymous.post(path, headers={"Authorization": "Bearer read-token"})

    assert full.status_code == 404
    assert read.status_code == 403
    assert read.json()["detail"] == "this token may only read"
    assert read.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "full-token",
        "Bearer",
        "Bearer ",
        "Bearer full-toke",
        "Bearer full-token2",
        "Basic full-token",
        "Bearer \xff",
    ],
)
@pytest.mark.parametrize(("method", "path"), [*(("GET", path) for path in READS), *(("POST", path) for path in WRITES)])
async def test_without_a_known_token_nothing_is_done(
    anonymous: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = [(b"Authorization", authorization.encode("latin-1"))] if authorization is not None else []

    response = await anonymous.request(method, path, headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"


async def test_the_token_is_asked_for_before_the_request_is_looked_at(anonymous: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}

    assert (await anonymous.get("/executions?limit=0")).status_code == 401
    assert (await anonymous.post("/executions/x/replay", content="{", headers=headers)).status_code == 401


async def test_what_is_refused_changes_nothing(anonymous: httpx.AsyncClient, store: MemoryStore) -> None:
    first = await ended(store)

    await anonymous.post(f"/executions/{first}/replay", headers={"Authorization": "Bearer read-token"})

    assert len((await store.executions()).items) == 1


async def test_an_unknown_route_and_method_are_problems(client: httpx.AsyncClient) -> None:
    unknown, wrong = await client.get("/nothing"), await client.delete("/executions")

    assert (unknown.status_code, unknown.json()["title"]) == (404, "Not Found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")


# The description


@pytest.fixture
async def description(anonymous: httpx.AsyncClient) -> Any:
    response = await anonymous.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


def test_the_description_has_every_route(description: Any) -> None:
    routes = {f"{method.upper()} {path}" for path, methods in description["paths"].items() for method in methods}

    assert routes == {
        "GET /api/workflows",
        "GET /api/workflows/{name}",
        "POST /api/workflows/{name}/activate",
        "POST /api/workflows/{name}/deactivate",
        "POST /api/workflows/{name}/executions",
        "GET /api/executions",
        "GET /api/executions/{execution_id}",
        "POST /api/executions/{execution_id}/replay",
        "POST /api/executions/{execution_id}/cancel",
        "GET /api/approvals",
        "POST /api/approvals/{approval_id}",
        "POST /api/signals/{name}",
        "GET /api/credentials",
        "POST /api/credentials/{name}/connect",
    }


def test_every_refusal_is_described_as_a_problem(description: Any) -> None:
    operations = [operation for methods in description["paths"].values() for operation in methods.values()]
    refusals = [
        (status, answer)
        for operation in operations
        for status, answer in operation["responses"].items()
        if status >= "4"
    ]

    assert {status for status, _ in refusals} == {"400", "401", "403", "404", "409", "413", "422", "429", "503"}
    for _, answer in refusals:
        [(media_type, content)] = answer["content"].items()
        assert media_type == "application/problem+json"
        assert content["schema"]["required"] == ["type", "title", "status", "detail"]


def test_the_token_is_described(description: Any) -> None:
    assert description["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert all("security" in operation for methods in description["paths"].values() for operation in methods.values())


def test_a_replay_is_described_in_the_words_of_the_command_line(description: Any) -> None:
    assert set(description["components"]["schemas"]["ReplayRequest"]["properties"]) == {"failed", "from", "version"}


def test_the_description_leaks_no_token(description: Any) -> None:
    assert "-token" not in json.dumps(description)
