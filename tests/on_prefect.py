"""Workflows deployed to a real Prefect server, and their runs, for tests that look at what the server makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from flows.engine.program import Body
from flows.history import MemoryStore
from flows.language.yaml_source import load_workflow
from flows.on_prefect.compile import compile_version
from flows.on_prefect.deployment import deploy_version
from flows.on_prefect.flow import WorkflowFlow, make_flow, version_of
from flows.on_prefect.internals import create_flow_runs

NOTE = "steps: [{id: note, uses: log.message, with: {text: hello}}]"


@dataclass
class Deployed:
    client: PrefectClient
    id: UUID
    flow: WorkflowFlow
    store: MemoryStore

    @property
    def name(self) -> str:
        return self.flow.published.workflow

    async def create(self, **values: Any) -> FlowRun:
        [run] = await self.create_all([values])
        return run

    async def create_all(self, runs: Sequence[Mapping[str, Any]]) -> list[FlowRun]:
        defaults = {"parameters": {"event": {"body": 1}}}
        made = await create_flow_runs(self.client, self.id, [defaults | dict(run) for run in runs])
        return [await self.client.read_flow_run(UUID(str(one))) for one in made]

    async def now(self, run: FlowRun) -> FlowRun:
        """The run as Prefect has it now."""
        return await self.client.read_flow_run(run.id)

    async def state(self, run: FlowRun) -> StateType | None:
        return (await self.now(run)).state_type

    async def slots_taken(self) -> int:
        limit = (await self.client.read_deployment(self.id)).global_concurrency_limit
        assert limit is not None
        return limit.active_slots


async def deployed(client: PrefectClient, source: str = NOTE, *, store: MemoryStore | None = None) -> Deployed:
    """The workflow of a YAML text that lacks its name, deployed under a name of its own."""
    text, store = f"name: w{uuid4().hex}\n{source}\n", store or MemoryStore()
    version = version_of(load_workflow(text), text, language="yaml", file="test.yaml")
    deployment_id = await deploy_version(client, store, version)
    return Deployed(client, UUID(deployment_id), compile_version(version), store)


def with_body(deployed: Deployed, body: Body) -> WorkflowFlow:
    """The same flow, doing something else."""
    return make_flow(replace(deployed.flow.program, body=body))
