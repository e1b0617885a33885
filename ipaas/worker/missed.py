"""Times of a schedule that passed while no worker was there: which of their runs do not run, and dropping those."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import httpx
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

logger = logging.getLogger("ipaas.worker")


class MissedTimes:
    """Applies each schedule's `missed` to its runs that are due."""

    def __init__(self, client: PrefectClient, store: HistoryStore, deployments: Deployments) -> None:
        self._client, self._store, self._deployments = client, store, deployments
        self._dropping: dict[UUID, asyncio.Task[None]] = {}

    async def without(self, due: Sequence[FlowRun], *, met_before: Sequence[FlowRun]) -> list[FlowRun]:
        """Those that run. The others are cancelled in Prefect a little later: what runs must not wait for that.

        Args:
            due: all that were found.
            met_before: those of them that were found in time, and only have to wait here.
        """
        left = [run for run in due if run.id not in self._dropping]
        known = {run.id for run in met_before}
        missed = await self._missed([run for run in left if run.auto_scheduled and run.id not in known])
        if missed:
            task = asyncio.create_task(self._drop(missed))
            self._dropping |= {run.id: task for run in missed}
        return [run for run in left if run.id not in self._dropping]

    async def settled(self) -> None:
        """Returns when all that was dropped so far is cancelled in Prefect."""
        await asyncio.gather(*self._dropping.values(), return_exceptions=True)

    async def close(self) -> None:
        for task in self._dropping.values():
            task.cancel()
        await self.settled()

    async def _missed(self, runs: Sequence[FlowRun]) -> list[FlowRun]:
        if runs and not self._deployments.have_been_read:
            await self._deployments.look()  # a worker that has just started
        by_schedule: dict[tuple[UUID | None, UUID | None], list[FlowRun]] = defaultdict(list)
        for run in runs:
            if run.created_by:
                by_schedule[run.deployment_id, run.created_by.id].append(run)
        missed: list[FlowRun] = []
        for its in by_schedule.values():
            if schedule := await self._schedule(its[0]):
                newest = await self._newest(its) if schedule.missed == "once" and len(runs) >= PAGE else []
                missed += missed_runs(schedule, [*its, *newest], datetime.now(UTC))
        return missed

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
        known = {run.id for run in runs}
        return [run for run in newest_first if run.created_by == runs[0].created_by and run.id not in known][:1]

    async def _drop(self, runs: Sequence[FlowRun]) -> None:
        """One that could not be cancelled is found again."""
        for run in runs:
            logger.info("flow run %s: its time, %s, was missed", run.id, run.expected_start_time)
            try:
                why = f"missed tick of {run.expected_start_time}"
                await self._client.set_flow_run_state(run.id, Cancelled(message=why))
            except (httpx.HTTPError, ObjectNotFound) as error:
                logger.warning("flow run %s was missed, but is not cancelled: %s", run.id, error)
            finally:
                del self._dropping[run.id]
