"""Published workflows as flows: the version a run is pinned to, the current one, and imports by name."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from executing import in_yaml, post, steps
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

import flows.published
from flows.history import MemoryStore, open_store
from flows.history.migrations import upgrade
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.loader import ENTRYPOINT, FlowLoader
from flows.on_prefect.run import VERSION_LABEL, WORKFLOW_LABEL
from foundation.errors import NotFound

OLD, NEW = in_yaml(steps(post("/a")), name="orders"), in_yaml(steps(post("/b")), name="orders")


class Deployments:
    """Prefect's API, as far as it tells of deployments; counts how often it was asked."""

    def __init__(self, entrypoint: str = f"{ENTRYPOINT}orders", version: str | None = None) -> None:
        self.entrypoint, self.version, self.asked = entrypoint, version, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/api/flows/"):
            return httpx.Response(200, json={"id": str(UUID(int=1)), "name": "orders"})
        self.asked += 1
        found = {"id": request.url.path.rpartition("/")[2], "name": "d", "flow_id": str(UUID(int=1))}
        return httpx.Response(200, json=found | {"entrypoint": self.entrypoint, "version": self.version})

    def client(self) -> PrefectClient:
        return PrefectClient("http://prefect.test/api", httpx_settings={"transport": httpx.MockTransport(self)})


def a_run(**values: Any) -> FlowRun:
    return FlowRun(flow_id=UUID(int=1), deployment_id=uuid4(), **values)


def pinned(flow: WorkflowFlow) -> FlowRun:
    return a_run(labels={WORKFLOW_LABEL: flow.published.workflow, VERSION_LABEL: flow.published.version})


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.publish(OLD.published)
    await store.publish(NEW.published)
    return store


async def test_a_run_gets_the_version_that_it_is_pinned_to(store: MemoryStore) -> None:
    loader, prefect = FlowLoader(store), Deployments()
    async with prefect.client() as client:
        old, new = [await loader.load(client, pinned(flow)) for flow in (OLD, NEW)]

    assert (old.version, new.version) == (OLD.published.version, NEW.published.version)
    assert prefect.asked == 0


async def test_any_other_run_gets_the_current_version(store: MemoryStore) -> None:
    async with Deployments().client() as client:
        loader = FlowLoader(store)
        before = await loader.load(client, a_run())
        await store.publish(OLD.published)
        after = await loader.load(client, a_run())

    assert (before.version, after.version) == (NEW.published.version, OLD.published.version)


async def test_a_version_is_compiled_once_and_a_deployment_asked_for_once(store: MemoryStore) -> None:
    loader, prefect, run = FlowLoader(store), Deployments(), a_run()
    async with prefect.client() as client:
        assert await loader.load(client, run) is await loader.load(client, run)
        assert await loader.load(client, pinned(NEW)) is await loader.load(client, run)

    assert prefect.asked == 1


@pytest.mark.parametrize(
    ("labels", "entrypoint", "says"),
    [
        ({WORKFLOW_LABEL: "orders", VERSION_LABEL: "gone"}, "", "workflow orders has no version gone"),
        ({}, f"{ENTRYPOINT}absent", "workflow absent is not in the history"),
    ],
)
async def test_what_is_not_in_the_history_is_named(
    store: MemoryStore, labels: dict[str, Any], entrypoint: str, says: str
) -> None:
    async with Deployments(entrypoint).client() as client:
        with pytest.raises(NotFound, match=says):
            await FlowLoader(store).load(client, a_run(labels=labels))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a file behind when it is imported: `elsewhere.py:flow`."""
    mark = tmp_path / "imported"
    (tmp_path / "elsewhere.py").write_text(
        f"import pathlib, prefect\npathlib.Path({str(mark)!r}).touch()\n\n@prefect.flow\ndef flow(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return mark


@pytest.mark.parametrize("entrypoint", ["elsewhere.py:flow", "elsewhere.flow", "elsewhere:flow"])
@pytest.mark.parametrize("version", [None, "1.0"])
async def test_an_entrypoint_from_elsewhere_is_refused_and_not_imported(
    store: MemoryStore, elsewhere: Path, entrypoint: str, version: str | None
) -> None:
    async with Deployments(entrypoint, version).client() as client:
        with pytest.raises(NotFound, match=r"does not run here: .* is not published") as refusal:
            await FlowLoader(store).load(client, a_run())

    assert entrypoint in str(refusal.value)
    assert not refusal.value.retriable
    assert not elsewhere.exists()


async def test_what_prefect_deployed_runs_as_it_was_published_whatever_its_entrypoint_is_now(
    store: MemoryStore, elsewhere: Path
) -> None:
    async with Deployments("elsewhere.py:flow", OLD.published.version).client() as client:
        flow = await FlowLoader(store).load(client, a_run())

    assert flow.version == OLD.published.version
    assert not elsewhere.exists()


async def test_a_run_without_a_deployment_is_none_of_ours(store: MemoryStore) -> None:
    async with Deployments().client() as client:
        with pytest.raises(NotFound, match="has no deployment"):
            await FlowLoader(store).load(client, FlowRun(flow_id=UUID(int=1)))


async def test_any_prefect_worker_finds_a_workflow_by_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'ipaas.db'}"
    monkeypatch.setenv("IPAAS_DATABASE_URL", url)
    await upgrade(url)
    store = open_store(url)
    await store.open()
    await store.publish(NEW.published)
    await store.close()

    module = importlib.import_module("flows.published")

    assert module.orders.version == NEW.published.version
    with pytest.raises(AttributeError, match="workflow absent is not in the history"):
        _ = flows.published.absent
