"""Published workflows as Prefect flows, each version compiled once: what our own worker runs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import load_flow_from_flow_run

from flows.history import HistoryStore
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.run import VERSION_LABEL, WORKFLOW_LABEL, label
from foundation.errors import DefinitionError, NotFound

ENTRYPOINT = "flows.published."
KEPT_FLOWS = 500
DEPLOYMENT_AGE = timedelta(seconds=5)
"""How long a deployment is believed before it is read again: a deploy takes effect within this."""


class FlowLoader:
    """Compiles each version once."""

    def __init__(self, store: HistoryStore) -> None:
        self._store = store
        self._flows: OrderedDict[tuple[str, str], WorkflowFlow] = OrderedDict()
        self._deployments: dict[UUID, tuple[datetime, DeploymentResponse]] = {}

    async def load(self, client: PrefectClient, flow_run: FlowRun) -> WorkflowFlow:
        """The flow of a run: the version its execution is pinned to, else the current one.

        Raises:
            NotFound: the workflow, or that version of it, is not in the history.
            DefinitionError: it does not compile (any more).
        """
        workflow, version = label(flow_run, WORKFLOW_LABEL), label(flow_run, VERSION_LABEL)
        if workflow and version:
            return await self._pinned(workflow, version)
        deployment = await self._deployment(client, flow_run)
        if deployment.entrypoint and deployment.entrypoint.startswith(ENTRYPOINT):
            return await self._current(deployment.entrypoint.removeprefix(ENTRYPOINT))
        return await self._of_prefect(client, flow_run, deployment)

    async def _pinned(self, workflow: str, version: str) -> WorkflowFlow:
        key = (workflow, version)
        if key not in self._flows:
            published = await self._store.version(workflow, version)
            if published is None:
                raise NotFound(f"workflow {workflow} has no version {version} in the history")
            self._keep(key, await asyncio.to_thread(compile_version, published))
        self._flows.move_to_end(key)
        return self._flows[key]

    async def _current(self, workflow: str) -> WorkflowFlow:
        published = await self._store.workflow(workflow)
        if published is None:
            raise NotFound(f"workflow {workflow} is not in the history: deploy it with `ipaas deploy`")
        return await self._pinned(workflow, published.current.version)

    async def _of_prefect(
        self, client: PrefectClient, flow_run: FlowRun, deployment: DeploymentResponse
    ) -> WorkflowFlow:
        """A flow that was deployed with `prefect deploy`, loaded as Prefect loads it."""
        key = (str(deployment.id), str(deployment.updated))
        if key not in self._flows:
            workflow = (await client.read_flow(deployment.flow_id)).name
            if deployment.version and await self._store.version(workflow, deployment.version):
                return await self._pinned(workflow, deployment.version)  # what this process imported may be older
            # Prefect's decorator that adds the client hides the function's own signature.
            load: Any = load_flow_from_flow_run
            try:
                flow = await load(client, flow_run, ignore_storage=True, use_placeholder_flow=False)
            except httpx.HTTPError:
                raise  # Prefect's answer; trying again may help
            except Exception as error:
                raise DefinitionError(f"{deployment.entrypoint}: {type(error).__name__}: {error}") from error
            if not isinstance(flow, WorkflowFlow):
                raise DefinitionError(
                    f"{deployment.entrypoint} is no workflow: make it one with @workflow, or deploy it to another pool"
                )
            self._keep(key, flow)
        return self._flows[key]

    async def _deployment(self, client: PrefectClient, flow_run: FlowRun) -> DeploymentResponse:
        if flow_run.deployment_id is None:
            raise NotFound(f"flow run {flow_run.id} has no deployment")
        now = datetime.now(UTC)
        read, deployment = self._deployments.get(flow_run.deployment_id, (None, None))
        if read is None or deployment is None or now - read > DEPLOYMENT_AGE:
            deployment = await client.read_deployment(flow_run.deployment_id)
            self._deployments[flow_run.deployment_id] = (now, deployment)
        return deployment

    def _keep(self, key: tuple[str, str], flow: WorkflowFlow) -> None:
        self._flows[key] = flow
        if len(self._flows) > KEPT_FLOWS:
            self._flows.popitem(last=False)
