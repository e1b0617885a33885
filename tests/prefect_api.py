"""A Prefect API for tests, at the HTTP boundary: the real client talks to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import PrefectClient


class PrefectApi:
    """Knows flow runs by their state type and deployments by whether they are paused; `away` answers nothing."""

    def __init__(self) -> None:
        self.flow_runs: dict[str, str] = {}
        self.deployments: dict[str, bool] = {}
        self.away = False

    def flow_run(self, state: str = "SCHEDULED") -> str:
        flow_run_id = str(uuid4())
        self.flow_runs[flow_run_id] = state
        return flow_run_id

    def deployment(self) -> str:
        deployment_id = str(uuid4())
        self.deployments[deployment_id] = False
        return deployment_id

    @asynccontextmanager
    async def client(self) -> AsyncIterator[PrefectClient]:
        settings = {"transport": httpx.MockTransport(self._answer)}
        async with PrefectClient("http://prefect.test/api", httpx_settings=settings) as client:
            yield client

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        match [request.method, *request.url.path.removeprefix("/api/").split("/")]:
            case ["POST", "flow_runs", run, "set_state"] if run in self.flow_runs:
                return self._set_state(run, json.loads(request.content)["state"]["type"])
            case ["GET", "flow_runs", run] if run in self.flow_runs:
                return httpx.Response(200, json={"id": run, "flow_id": str(UUID(int=1)), "state": self._state(run)})
            case ["PATCH", "deployments", one] if one in self.deployments:
                self.deployments[one] = json.loads(request.content)["paused"]
                return httpx.Response(204)
            case ["POST", "flow_runs", "filter"]:
                return httpx.Response(200, json=[])
            case _:
                return httpx.Response(404, json={"detail": "not found"})

    def _set_state(self, run: str, asked_for: str) -> httpx.Response:
        """As Prefect does: what waits and is to be cancelled is cancelled at once."""
        never_begun = asked_for == "CANCELLING" and self.flow_runs[run] == "SCHEDULED"
        self.flow_runs[run] = "CANCELLED" if never_begun else asked_for
        status = "REJECT" if never_begun else "ACCEPT"
        details: dict[str, Any] = {"type": f"{status.lower()}_details"}
        return httpx.Response(201, json={"status": status, "state": self._state(run), "details": details})

    def _state(self, run: str) -> dict[str, Any]:
        return {"type": self.flow_runs[run], "name": self.flow_runs[run].title()}
