"""A workflow in a notebook, and the running platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.notebook import NotebookWorkflow, from_yaml, platform
from flows.notebook.platform import Platform
from foundation.errors import ConfigurationError, IpaasError
from foundation.settings import Settings

TOKEN = "a-token-of-the-home"


class Api:
    """The gateway's API, as far as a notebook asks it."""

    def __init__(self, version: str) -> None:
        self.version: str | None = version
        self.asked: list[tuple[str, str, Any]] = []
        self.statuses = ["accepted", "running", "succeeded"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        path, body = request.url.raw_path.decode(), json.loads(request.content) if request.content else None
        self.asked.append((request.method, path, body))
        if path == "/api/workflows/w":
            return self._workflow()
        if path == "/api/workflows/w/executions":
            return httpx.Response(202, json={"execution_id": "e1", "status": "accepted", "status_url": "…"})
        if path == "/api/executions/e1":
            return httpx.Response(200, json=self._execution(self.statuses.pop(0)))
        if path == "/api/executions?workflow=w&limit=2":
            return httpx.Response(200, json={"items": [self._execution("failed")], "next_cursor": None})
        return httpx.Response(500, text="what?")

    def _workflow(self) -> httpx.Response:
        if self.version is None:
            return httpx.Response(404, json={"title": "Not Found", "status": 404, "detail": "no workflow w"})
        return httpx.Response(200, json={"name": "w", "version": self.version})

    def _execution(self, status: str) -> dict[str, Any]:
        ended = None if status in ("accepted", "running", "waiting") else "2026-01-01T00:00:02Z"
        step = {"id": "a", "action": "log.message", "status": "succeeded", "attempts": 1, "output": 1, "error": None}
        times = {"started_at": "2026-01-01T00:00:01Z", "finished_at": "2026-01-01T00:00:01.5Z"}
        return {
            "id": "e1",
            "status": status,
            "output": 7,
            "error": {"code": "x", "message": "no"} if status == "failed" else None,
            "accepted_at": "2026-01-01T00:00:00Z",
            "finished_at": ended,
            "steps": [step | times] if ended else [],
        }


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookWorkflow:
    monkeypatch.chdir(tmp_path)
    return from_yaml("name: w\nsteps: [{id: a, uses: log.message, with: {text: x}}]")


@pytest.fixture
def api(workflow: NotebookWorkflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    for name in ("IPAAS_API_TOKEN", "IPAAS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "addresses.json").write_text('{"gateway": "http://127.0.0.1:1", "prefect_api": "http://x"}')
    (tmp_path / "home" / "api-token").write_text(f"{TOKEN}\n")
    api, client = Api(workflow.flow.published.version), httpx.AsyncClient
    transport = httpx.MockTransport(api)
    monkeypatch.setattr(platform.httpx, "AsyncClient", lambda **given: client(transport=transport, **given))
    monkeypatch.setattr("flows.notebook.workflow._POLL_SECONDS", 0)
    return api


async def test_it_runs_there_and_is_told_as_it_goes(workflow: NotebookWorkflow, api: Api) -> None:
    ran = await workflow(body={"x": 1}, on="platform")
    assert (ran.status, ran.output, ran.seconds, ran.steps[0].path) == ("succeeded", 7, 2.0, "a")
    assert api.asked[:2] == [
        ("GET", "/api/workflows/w", None),
        ("POST", "/api/workflows/w/executions", {"x": 1}),
    ]
    assert "on the platform as e1" in repr(ran)


async def test_a_long_wait_ends_the_cell(workflow: NotebookWorkflow, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.notebook.workflow._POLL_SECONDS", 0.01)
    monkeypatch.setattr("flows.notebook.workflow._WAITING_SECONDS", 0.02)
    api.statuses = ["running", *["waiting"] * 4]
    ran = await workflow(on="platform")
    assert (ran.status, ran.seconds) == ("waiting", None)
    assert len(api.asked) < 7


@pytest.mark.parametrize(("version", "said"), [(None, "knows no workflow w"), ("0123", "has another version of it")])
async def test_only_what_is_deployed_runs_there(
    workflow: NotebookWorkflow, api: Api, version: str | None, said: str
) -> None:
    api.version = version
    with pytest.raises(IpaasError, match=rf"{said}.*: w\.deploy\(\) first"):
        await workflow(on="platform")
    assert len(api.asked) == 1


async def test_executions_there_are_a_table(workflow: NotebookWorkflow, api: Api) -> None:
    [row] = workflow.executions(on="platform", limit=2)
    assert (row["where"], row["status"], row["took"], row["error"]) == ("platform", "failed", "2.0 s", "no")


async def test_what_the_platform_says_is_told(workflow: NotebookWorkflow, api: Api) -> None:
    with pytest.raises(IpaasError, match="the platform says 500"):
        await Platform.find(Settings()).executions("other", 1)


def test_the_token_is_in_no_repr(api: Api) -> None:
    assert TOKEN not in repr(Platform.find(Settings()))


def test_without_a_platform_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="`ipaas up`, or set IPAAS_PUBLIC_URL"):
        Platform.find(Settings())
    monkeypatch.setenv("IPAAS_PUBLIC_URL", "https://flows.example")
    with pytest.raises(ConfigurationError, match="set IPAAS_API_TOKEN"):
        Platform.find(Settings())
    monkeypatch.setenv("IPAAS_API_TOKEN", "t")
    assert Platform.find(Settings()).gateway == "https://flows.example"
