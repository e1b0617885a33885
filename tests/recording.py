"""Runs that Prefect did not orchestrate, for tests: made, sent to its server, and looked up in its tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from on_prefect import deployed
from prefect.client.orchestration import PrefectClient
from prefect_process import PrefectServer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from flows.on_prefect.recording import Batch, Kind, LogLine, RunRecord, State, TaskRecord, TaskState

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""Of late: Prefect's event feed shows nothing older than it keeps."""
NAMES = {kind: kind.capitalize() for kind in Kind}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def state(kind: str, seconds: float = 0, **values: Any) -> State:
    kind = Kind(kind)
    return State(**{"type": kind, "name": NAMES[kind], "timestamp": at(seconds)} | values)


def task(path: str, kind: str = "COMPLETED", **values: Any) -> TaskRecord:
    ended = at(1.5) if Kind(kind).is_final else None
    how = TaskState(type=Kind(kind), name=NAMES[Kind(kind)])
    defaults = {"action": "log.message", "started": at(1), "ended": ended, "state": how}
    return TaskRecord(**{"path": path} | defaults | values)


def line(message: str, seconds: float = 1, **values: Any) -> LogLine:
    return LogLine(**{"at": at(seconds), "level": 20, "message": message} | values)


def a_run(workflow: str, *states: State, **values: Any) -> RunRecord:
    """One that was accepted, began a second later and, unless its states say else, completed after two."""
    run_id = values.pop("id", None) or uuid4()
    states = states or (state("SCHEDULED"), state("RUNNING", 1), state("COMPLETED", 2))
    started = next((one.timestamp for one in states if one.type is Kind.RUNNING), None)
    ended = states[-1].timestamp if states[-1].type.is_final else None
    defaults = {"name": f"{workflow}/{run_id}", "version": "v1", "tags": ("webhook",), "created": START}
    times = {"started": started, "ended": ended, "states": states}
    return RunRecord(**{"id": run_id, "workflow": workflow} | defaults | times | values)


@dataclass
class Recording:
    """A server with a workflow whose runs are recorded."""

    server: PrefectServer
    http: httpx.AsyncClient
    workflow: str

    def run(self, *states: State, **values: Any) -> RunRecord:
        return a_run(self.workflow, *states, **values)

    async def record(self, *runs: RunRecord, upto: datetime = START) -> dict[str, Any]:
        """The answer."""
        answer = await self.send(Batch(at=upto, runs=runs).model_dump_json())
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def send(self, body: str | bytes) -> httpx.Response:
        return await self.http.post("/ipaas/runs", content=body, headers={"content-type": "application/json"})

    async def read(self, path: str, body: Any = None) -> Any:
        """What Prefect's API answers: to a GET, or to a POST of `body`."""
        answer = await (self.http.get(path) if body is None else self.http.post(path, json=body))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def now(self, run: RunRecord) -> Any:
        """The run as Prefect has it."""
        return await self.read(f"/flow_runs/{run.id}")

    async def states(self, run: RunRecord) -> list[str]:
        """The names of its states, in the order of their times."""
        found = await self.read(f"/flow_run_states/?flow_run_id={run.id}")
        return [one["name"] for one in sorted(found, key=lambda one: datetime.fromisoformat(one["timestamp"]))]

    async def rows(self, query: str, run: UUID) -> list[dict[str, Any]]:
        """Of a query with `:run`, straight from the database."""
        return await rows_of(self.server, query, run)

    async def tell(self, run: UUID, kind: str, **values: Any) -> Any:
        """Does what somebody does in Prefect's UI."""
        body = {"state": {"type": kind, "name": NAMES[Kind(kind)]} | values, "force": True}
        answer = await self.http.post(f"/flow_runs/{run}/set_state", json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()


async def rows_of(server: PrefectServer, query: str, run: UUID) -> list[dict[str, Any]]:
    engine = create_async_engine(server.database, poolclass=NullPool)
    value = run if engine.dialect.name == "postgresql" else str(run)
    try:
        async with engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(text(query), {"run": value})).mappings()]
    finally:
        await engine.dispose()


async def recording_on(server: PrefectServer, http: httpx.AsyncClient, client: PrefectClient) -> Recording:
    return Recording(server, http, (await deployed(client)).name)


def ids(values: Iterable[RunRecord]) -> set[str]:
    return {str(one.id) for one in values}
