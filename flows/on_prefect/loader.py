"""Published workflows as Prefect flows, each version compiled once: what our own worker runs, and all that it runs.

Whoever may write to Prefect's API can make a deployment of any entrypoint, and Prefect's own loader would import that
into the worker, beside the keys. So this one never imports what a deployment names: a deployment says which workflow
is meant, and the workflow comes from the history.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from flows.history import HistoryStore
from flows.on_prefect.compile import compile_version
from flows.on_prefect.flow import WorkflowFlow
from flows.on_prefect.run import VERSION_LABEL, WORKFLOW_LABEL, label
from foundation.errors import NotFound

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
        self._names: dict[UUID, str] = {}

    async def load(self, client: PrefectClient, flow_run: FlowRun) -> WorkflowFlow:
        """The flow of a run: the version its execution is pinned to, else the current one.

        Raises:
            NotFound: the workflow, or that version of it, is not published: it is not in the history.
            DefinitionError: it does not compile (any more).
        """
        workflow, version = label(flow_run, WORKFLOW_LABEL), label(flow_run, VERSION_LABEL)
        if workflow and version:
            return await self.of_version(workflow, version)
        deployment = await self._deployment(client, flow_run)
        if deployment.entrypoint and deployment.entrypoint.startswith(ENTRYPOINT):
            return await self._current(deployment.entrypoint.removeprefix(ENTRYPOINT))
        return await self._deployed_by_prefect(client, deployment)

    async def of_version(self, workflow: str, version: str) -> WorkflowFlow:
        """Raises NotFound and DefinitionError as `load`."""
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
        return await self.of_version(workflow, published.current.version)

    async def _deployed_by_prefect(self, client: PrefectClient, deployment: DeploymentResponse) -> WorkflowFlow:
        """What `prefect deploy` deployed: the version that its step `publish_entrypoint` published."""
        workflow = await self._name(client, deployment.flow_id)
        if deployment.version:
            with contextlib.suppress(NotFound):
                return await self.of_version(workflow, deployment.version)
        version = f"version {deployment.version}" if deployment.version else "a deployment without a version"
        raise NotFound(
            f"{deployment.entrypoint} of workflow {workflow} does not run here: {version} is not published. Use "
            "`ipaas deploy`, or `prefect deploy` with the step ipaas.publish.publish_entrypoint and its version"
        )

    async def _name(self, client: PrefectClient, flow_id: UUID) -> str:
        if flow_id not in self._names:
            self._names[flow_id] = (await client.read_flow(flow_id)).name
        return self._names[flow_id]

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
