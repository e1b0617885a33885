"""Which of Prefect's scheduled runs this worker takes: those that are due, in lanes, without times that were missed."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from flows.history import HistoryStore
from flows.language.definition import Declaration, Schedule
from flows.on_prefect.flow_runs import PAGE
from flows.on_prefect.schedules import declared_schedule, missed_runs
from ipaas.worker.deployments import Deployments
from ipaas.worker.lane import Lanes

logger = logging.getLogger("ipaas.worker")

PREFETCH_SECONDS = 10.0
"""What is due so soon is known already, and begins on time."""


class Fetcher:
    """Fills a worker's lanes.

    Args:
        poke: called when a run that was not due becomes due.
    """

    def __init__(
        self,
        client: PrefectClient,
        store: HistoryStore,
        lanes: Lanes,
        deployments: Deployments,
        *,
        pool: str,
        poke: Callable[[], None],
    ) -> None:
        self._client, self._store, self._lanes, self._deployments = client, store, lanes, deployments
        self._pool, self._poke = pool, poke

    async def fetch(self, queues: Sequence[str] = ()) -> None:
        """Fetches the runs that are due.

        Raises:
            httpx.HTTPError: Prefect does not answer.
        """
        due_by = datetime.now(UTC) + timedelta(seconds=PREFETCH_SECONDS)
        try:
            found = await self._client.get_scheduled_flow_runs_for_work_pool(
                work_pool_name=self._pool, scheduled_before=due_by, work_queue_names=list(queues) or None
            )
        except ObjectNotFound:
            return  # the pool is made again soon
        runs = [one.flow_run for one in found]
        if len(runs) >= PAGE:
            runs += await self._behind_the_first_page(runs, due_by)
            self._lanes.more_is_there()
        await self.add(runs)

    async def fetch_unqueued(self) -> None:
        """Fetches the runs whose queue was deleted in Prefect: they can run, but no worker is given them."""
        if not self._deployments.ids:
            return
        runs = await self._client.get_scheduled_flow_runs_for_deployments(
            self._deployments.ids, scheduled_before=datetime.now(UTC)
        )
        await self.add([run for run in runs if run.work_queue_id is None])

    async def add(self, runs: Iterable[FlowRun]) -> None:
        """Puts those that are due into their lanes."""
        due = [run for run in runs if run.deployment_id and self._is_due(run)]
        missed = await self._missed([run for run in due if run.auto_scheduled and not self._lanes.has(run.id)])
        for run in due:
            if run.deployment_id and run.id not in missed:
                self._lanes[run.deployment_id].add(run)

    def _is_due(self, run: FlowRun) -> bool:
        """One that is not is fetched again when it is: it must not take the place of one that can run."""
        due = run.next_scheduled_start_time or run.expected_start_time
        if due and (seconds := due.timestamp() - datetime.now(UTC).timestamp()) > 0:
            asyncio.get_running_loop().call_later(seconds, self._poke)
            return False
        return True

    async def _behind_the_first_page(self, first: Sequence[FlowRun], due_by: datetime) -> list[FlowRun]:
        """Runs of the other deployments: one workflow's long queue must not hide another's."""
        found: list[FlowRun] = []
        hidden = set(self._deployments.ids) - self._lanes.waiting - {run.deployment_id for run in first}
        while hidden:
            page = await self._client.get_scheduled_flow_runs_for_deployments(list(hidden), scheduled_before=due_by)
            found += page
            if len(page) < PAGE:
                break
            hidden -= {run.deployment_id for run in page if run.deployment_id}
        return found

    # Times that were missed

    async def _missed(self, runs: Sequence[FlowRun]) -> set[UUID]:
        """Those of a schedule's runs that are not to run: too much time passed while no worker was there."""
        by_schedule: dict[tuple[UUID | None, UUID | None], list[FlowRun]] = defaultdict(list)
        for run in runs:
            if run.created_by:
                by_schedule[run.deployment_id, run.created_by.id].append(run)
        missed: list[FlowRun] = []
        for its in by_schedule.values():
            if schedule := await self._schedule(its[0]):
                newest = await self._newest(its) if schedule.missed == "once" and len(runs) >= PAGE else []
                missed += missed_runs(schedule, [*its, *newest], datetime.now(UTC))
        for run in missed:
            await self._drop(run)
        return {run.id for run in missed}

    async def _schedule(self, run: FlowRun) -> Schedule | None:
        names = (name for name, one in self._deployments.by_workflow.items() if one.id == run.deployment_id)
        workflow = await self._store.workflow(name) if (name := next(names, None)) else None
        declaration = Declaration.model_validate(workflow.current.declaration) if workflow else None
        return declared_schedule(declaration, run) if declaration else None

    async def _newest(self, runs: Sequence[FlowRun]) -> list[FlowRun]:
        """The schedule's newest run that is due, when the page that was read may not show it."""
        wanted = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[one.deployment_id for one in runs[:1] if one.deployment_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC)),
        )
        newest_first = await self._client.read_flow_runs(
            flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=PAGE
        )
        maker = runs[0].created_by
        known = {run.id for run in runs}
        return [run for run in newest_first if run.created_by == maker and run.id not in known][:1]

    async def _drop(self, run: FlowRun) -> None:
        logger.info("flow run %s: its time, %s, was missed", run.id, run.expected_start_time)
        try:
            why = f"missed tick of {run.expected_start_time}"
            await self._client.set_flow_run_state(run.id, Cancelled(message=why))
        except ObjectNotFound:
            return  # a deploy deleted it
