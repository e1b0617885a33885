"""Which of Prefect's scheduled runs this worker takes: those that are due, in lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from flows.on_prefect.flow_runs import PAGE
from ipaas.worker.deployments import Deployments
from ipaas.worker.lane import Lanes
from ipaas.worker.missed import MissedTimes

PREFETCH_SECONDS = 10.0
"""What is due so soon is known already, and begins on time."""


class Fetcher:
    """Fills a worker's lanes, one fetch at a time.

    Args:
        poke: called when a run that was not due becomes due.
    """

    def __init__(
        self,
        client: PrefectClient,
        lanes: Lanes,
        deployments: Deployments,
        missed: MissedTimes,
        *,
        pool: str,
        poke: Callable[[], None],
    ) -> None:
        self._client, self._lanes, self._deployments, self._missed = client, lanes, deployments, missed
        self._pool, self._poke = pool, poke
        self._one_at_a_time = asyncio.Lock()
        self._awaited: set[UUID] = set()
        """The runs that are not due yet, and poke when they are."""

    async def fetch(self, queues: Sequence[str] = ()) -> None:
        """Fetches the runs that are due.

        Raises:
            httpx.HTTPError, StorageUnavailable: Prefect or the history does not answer.
        """
        async with self._one_at_a_time:
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
            await self._add(runs)

    async def fetch_unqueued(self) -> None:
        """Fetches the runs whose queue was deleted in Prefect: they can run, but no worker is given them."""
        if not self._deployments.ids:
            return
        async with self._one_at_a_time:
            runs = await self._client.get_scheduled_flow_runs_for_deployments(
                self._deployments.ids, scheduled_before=datetime.now(UTC)
            )
            await self._add([run for run in runs if run.work_queue_id is None])

    async def add(self, run: FlowRun) -> None:
        """One that was found by other means."""
        async with self._one_at_a_time:
            await self._add([run])

    async def _add(self, runs: Sequence[FlowRun]) -> None:
        """Puts those that are due into their lanes."""
        due = [run for run in runs if run.deployment_id and self._is_due(run)]
        here = [run for run in due if self._lanes.has(run)]
        for run in await self._missed.without(due, met_before=here):
            if run.deployment_id:
                self._lanes[run.deployment_id].add(run)

    def _is_due(self, run: FlowRun) -> bool:
        """One that is not is fetched again when it is: it must not take the place of one that can run."""
        due = run.next_scheduled_start_time or run.expected_start_time
        seconds = due.timestamp() - datetime.now(UTC).timestamp() if due else 0.0
        if seconds > 0 and run.id not in self._awaited:
            self._awaited.add(run.id)
            asyncio.get_running_loop().call_later(seconds, self._is_due_now, run.id)
        return seconds <= 0

    def _is_due_now(self, flow_run_id: UUID) -> None:
        self._awaited.discard(flow_run_id)
        self._poke()

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
