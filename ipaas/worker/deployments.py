"""The deployments as Prefect has them now: limits that were edited there, and what was deleted there.

A limit edited in Prefect's UI is taken over into the history, until the workflow is deployed again. What a deployment
needs to run at all (itself, a place in our work pool, its schedules) is put back when it is gone; a schedule that was
edited or paused there stays as it was edited.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.responses import DeploymentResponse

from flows.history import HistoryStore, Workflow
from flows.language.definition import Declaration
from flows.on_prefect.deployment import WORK_POOL, deploy_again, ensure_work_pool, find_deployment, limit_of
from flows.on_prefect.flow_runs import PAGE
from flows.on_prefect.internals import plan_runs
from flows.on_prefect.loader import ENTRYPOINT
from flows.on_prefect.schedules import missing_schedules

logger = logging.getLogger("ipaas.worker")

NO_LIMIT = 1_000_000
"""What the history is told when the limit was taken away in Prefect."""


class Deployments:
    """What Prefect has of the published workflows, as of the last look.

    Args:
        on_repaired: called when something was put back: runs may wait that nobody fetches.
    """

    def __init__(
        self, client: PrefectClient, store: HistoryStore, on_repaired: Callable[[], None] = lambda: None
    ) -> None:
        self._client, self._store, self._on_repaired = client, store, on_repaired
        self.by_workflow: Mapping[str, DeploymentResponse] = {}
        self.have_been_read = False
        self._older: dict[str, str | None] = {}
        """Workflows whose deployment was of another version than the current one at the last look: a deploy makes it
        before it publishes, so only what stays so is put right."""
        self._complained: set[str] = set()

    @property
    def ids(self) -> list[UUID]:
        return [deployment.id for deployment in self.by_workflow.values()]

    @property
    def limits(self) -> dict[UUID, int]:
        return {one.id: _limit(one) for one in self.by_workflow.values()}

    async def look(self) -> None:
        """Reads them all, takes over their limits, and puts back what is missing. One fault does not hide the others.

        Raises:
            httpx.HTTPError, StorageUnavailable: Prefect or the history does not answer.
        """
        workflows = await self._store.workflows()
        self.by_workflow = await self._read(workflows)
        self.have_been_read = True
        for workflow in workflows:
            try:
                await self._bring_together(workflow, self.by_workflow.get(workflow.name))
            except httpx.TransportError:
                raise
            except Exception as error:  # noqa: BLE001 - the next look tries again
                if workflow.name not in self._complained:
                    logger.warning("workflow %s: its deployment can't be put right: %s", workflow.name, error)
                self._complained.add(workflow.name)
            else:
                self._complained.discard(workflow.name)

    async def _read(self, workflows: Sequence[Workflow]) -> dict[str, DeploymentResponse]:
        of_pool = {str(one.id): one for one in await self._of_our_pool()}
        elsewhere = [w.deployment_id for w in workflows if w.deployment_id and w.deployment_id not in of_pool]
        by_id = of_pool | {str(one.id): one for one in await self._by_ids(elsewhere)}
        by_name = {one.name: one for one in of_pool.values()}
        found = {w.name: by_id.get(w.deployment_id) if w.deployment_id else by_name.get(w.name) for w in workflows}
        return {name: one for name, one in found.items() if one}

    async def _of_our_pool(self) -> list[DeploymentResponse]:
        found: list[DeploymentResponse] = []
        while True:
            ours = WorkPoolFilter(name=WorkPoolFilterName(any_=[WORK_POOL]))
            page = await self._client.read_deployments(work_pool_filter=ours, limit=PAGE, offset=len(found))
            found += page
            if len(page) < PAGE:
                return found

    async def _by_ids(self, ids: Sequence[str]) -> list[DeploymentResponse]:
        found: list[DeploymentResponse] = []
        for start in range(0, len(ids), PAGE):
            some = DeploymentFilterId(any_=[UUID(one) for one in ids[start : start + PAGE]])
            found += await self._client.read_deployments(deployment_filter=DeploymentFilter(id=some), limit=PAGE)
        return found

    async def _bring_together(self, workflow: Workflow, deployment: DeploymentResponse | None) -> None:
        if deployment is None:
            await self._find_again(workflow)
            return
        if (limit := _limit(deployment)) != workflow.concurrency_limit:
            logger.info("workflow %s: its limit in Prefect is %d now", workflow.name, limit)
            await self._store.set_limit(workflow.name, limit)
        if deployment.work_queue_id is None:
            logger.warning("workflow %s: its work pool or queue was deleted in Prefect, it gets one", workflow.name)
            await ensure_work_pool(self._client)
            await self._client.update_deployment(deployment.id, DeploymentUpdate(work_pool_name=WORK_POOL))
            await plan_runs(self._client, deployment.id)
            self._on_repaired()
        elif self._is_of_another_version(workflow, deployment):
            logger.warning("workflow %s: its deployment in Prefect is of an older version", workflow.name)
            await deploy_again(self._client, self._store, workflow)
        await self._put_schedules_back(workflow, deployment)

    async def _find_again(self, workflow: Workflow) -> None:
        """One that was never deployed is deployed with its first execution: it may be about to be, by other means."""
        if workflow.deployment_id is None:
            return
        if found := await find_deployment(self._client, workflow.name):
            await self._store.set_deployment(workflow.name, found)
            return
        logger.warning("workflow %s: its deployment in Prefect is gone, it is made again", workflow.name)
        await deploy_again(self._client, self._store, workflow)
        self._on_repaired()

    def _is_of_another_version(self, workflow: Workflow, deployment: DeploymentResponse) -> bool:
        """At two looks in a row, and made by `ipaas deploy`: others are deployed by other means."""
        ours = (deployment.entrypoint or "").startswith(ENTRYPOINT)
        if not ours or deployment.version == workflow.current.version:
            self._older.pop(workflow.name, None)
            return False
        again = self._older.get(workflow.name, "") == deployment.version
        self._older[workflow.name] = deployment.version
        return again

    async def _put_schedules_back(self, workflow: Workflow, deployment: DeploymentResponse) -> None:
        ours = (deployment.entrypoint or "").startswith(ENTRYPOINT)
        if not ours or deployment.version != workflow.current.version:
            return
        missing = missing_schedules(Declaration.model_validate(workflow.current.declaration), deployment.schedules)
        if missing:
            logger.warning("workflow %s: a schedule is gone in Prefect, it is made again", workflow.name)
            await self._client.create_deployment_schedules(deployment.id, missing)


def _limit(deployment: DeploymentResponse) -> int:
    limit = limit_of(deployment)
    return NO_LIMIT if limit is None else limit
