"""The gateway's whole application in this process: memory instead of a database, Prefect away if not given."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from prefect_client import AWAY, prefect_client

from blocks.source import MemoryCredentials
from flows.history import Execution, MemoryStore, Status, Topic
from flows.language.yaml_source import load_workflow
from flows.on_prefect.flow import version_of
from foundation.clock import Clock, ManualClock
from foundation.settings import Settings
from ipaas.gateway.app import Surroundings, create_app

SENDER = "192.0.2.7"

ORDERS = """
name: orders
triggers: [{webhook: {auth: none}}]
steps: [{id: note, uses: log.message, with: {text: hello}}]
"""


@dataclass
class Gateway:
    app: FastAPI
    http: httpx.AsyncClient
    store: MemoryStore
    clock: ManualClock

    async def post(self, body: Any = None, path: str = "/hooks/orders", **arguments: Any) -> httpx.Response:
        return await self.http.post(path, json=body, **arguments)

    async def publish(self, text: str, *, is_known: bool = True) -> None:
        """Publishes a workflow; unless it is to be `is_known`, the gateway has yet to notice."""
        await self.store.publish(version_of(load_workflow(text), text, language="yaml", file="test.yaml"))
        if is_known:
            await self.app.state.hooks.refresh()

    async def executions(self) -> list[Execution]:
        """All, oldest first, with their events."""
        page = await self.store.executions()
        whole = [await self.store.execution(item.id) for item in reversed(page.items)]
        return [execution for execution in whole if execution]

    async def accepted(self) -> str:
        """The id of the execution that a request under way has stored."""
        async with asyncio.timeout(10):
            while not (found := (await self.store.executions()).items):
                await asyncio.sleep(0.002)
        return found[0].id

    async def end(self, execution_id: str, status: Status = Status.SUCCEEDED, **outcome: Any) -> None:
        """Does what a worker does."""
        begun = await self.store.begin(execution_id, flow_run_id=None, owner="test", lease=30)
        assert isinstance(begun, Execution)
        if status is Status.SUCCEEDED:
            outcome = {"answer": {"status": 200, "headers": {}, "body": outcome.get("output")}} | outcome
        assert await self.store.finish(begun.hold, status, **outcome)
        self.store.announce(Topic.ENDED, execution_id)

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value; 0 if nothing has been counted."""
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def rejected(self) -> dict[str, float]:
        """How many requests were rejected, by reason."""
        [metric] = [
            metric for metric in self.app.state.metrics.registry.collect() if metric.name == "ipaas_events_rejected"
        ]
        return {sample.labels["reason"]: sample.value for sample in metric.samples if sample.name.endswith("_total")}


@contextmanager
def application(
    *,
    store: MemoryStore,
    clock: Clock,
    credentials: Mapping[str, Mapping[str, Any]] | None = None,
    prefect: str = AWAY,
    **settings: Any,
) -> Iterator[FastAPI]:
    """The application, not yet started. Without a `prefect`, its API's address, what is accepted stays accepted."""

    @asynccontextmanager
    async def surroundings(settings: Settings) -> AsyncIterator[Surroundings]:
        async with prefect_client(prefect) as client:
            yield Surroundings(store, client, MemoryCredentials(credentials or {}), clock)

    with tempfile.TemporaryDirectory() as home:
        given = Settings(_env_file=None, home=Path(home), **settings)  # type: ignore[call-arg]
        yield create_app(given, surroundings)


@asynccontextmanager
async def gateway(*workflows: str, store: MemoryStore | None = None, **given: Any) -> AsyncIterator[Gateway]:
    """A gateway that has published `workflows` (default: `ORDERS`); requests come without a network."""
    clock = ManualClock()
    store = store or MemoryStore(clock)
    with application(store=store, clock=clock, **given) as app:
        transport = httpx.ASGITransport(app, client=(SENDER, 40000), raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http,
        ):
            under_test = Gateway(app, http, store, clock)
            for text in workflows or (ORDERS,):
                await under_test.publish(text)
            yield under_test
