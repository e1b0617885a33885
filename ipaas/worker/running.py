"""What a worker does with a run whose turn it is: takes it from Prefect, runs it here, settles what remains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort

from flows.engine.runtime import Runtime
from flows.on_prefect.internals import run_flow, take_flow_run
from flows.on_prefect.loader import FlowLoader
from flows.on_prefect.pausing import RESUMING, decide_by_resume
from flows.on_prefect.run import EXECUTION_LABEL, execution_for, label, put_back
from foundation.errors import IpaasError
from ipaas.worker.lane import Lane, Lanes
from ipaas.worker.reconcile import Reconciler

logger = logging.getLogger("ipaas.worker")

DRAIN_SECONDS = 30.0
DECIDED_SECONDS = 1.0
"""How soon admission has decided on what is beyond a limit: whether it waits or is cancelled."""


class Runner:
    """Runs what waits in the lanes, each run as a task.

    Args:
        admit_more: called when the history should decide anew what may run.
        fetch_more: called when a lane is empty that Prefect has more for.
    """

    def __init__(
        self,
        client: PrefectClient,
        runtime: Runtime,
        lanes: Lanes,
        reconciler: Reconciler,
        *,
        admit_more: Callable[[], None],
        fetch_more: Callable[[], None],
    ) -> None:
        self._client, self._runtime, self._lanes, self._reconciler = client, runtime, lanes, reconciler
        self._admit_more, self._fetch_more = admit_more, fetch_more
        self._loader = FlowLoader(runtime.store)
        self._tasks: set[asyncio.Task[None]] = set()
        self._executing: set[asyncio.Task[None]] = set()
        self.draining = False

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something that is over soon, and that `close` ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start_waiting(self) -> list[FlowRun]:
        """Starts what may start now."""
        started = []
        while not self.draining and (turn := self._lanes.start_next()):
            run, lane = turn
            task = self.start(self._execute(run, lane))
            self._executing.add(task)
            task.add_done_callback(self._executing.discard)
            started.append(run)
        for run, lane in self._lanes.uncounted():
            self.start(self._count(run, lane))
        return started

    async def drain(self, seconds: float) -> None:
        """Takes no more runs, and waits for those in flight, until they have ended in Prefect, too."""
        self.draining = True
        if self._executing:
            await asyncio.wait(self._executing, timeout=seconds)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def run(self, flow_run: FlowRun) -> None:
        """One that was taken from Prefect already."""
        await run_flow(await self._loader.load(self._client, flow_run), flow_run)

    async def _execute(self, flow_run: FlowRun, lane: Lane) -> None:
        try:
            flow = await self._loader.load(self._client, flow_run)
            if self.draining:
                return
            if flow_run.state_name == RESUMING:
                await decide_by_resume(self._runtime.store, self._client, flow_run)
            if await take_flow_run(self._client, flow_run, owner=self._runtime.owner):
                await run_flow(flow, flow_run)
            elif label(flow_run, EXECUTION_LABEL) is None:
                await self._count(flow_run, lane)  # Prefect has no slot for it
        except asyncio.CancelledError:
            if not self.draining:
                raise
            with anyio.CancelScope(shield=True):
                await self.settle(str(flow_run.id))
        except Abort as error:
            logger.info("flow run %s does not run here: %s", flow_run.id, error)
            await self.settle(str(flow_run.id))
        except Exception as error:
            level = logging.WARNING if isinstance(error, IpaasError) else logging.ERROR
            logger.log(level, "flow run %s: %s", flow_run.id, error, exc_info=level == logging.ERROR)
            await self._give_up(flow_run, error)
        finally:
            lane.running.discard(flow_run.id)
            self.start_waiting()
            if lane.has_more and not lane.waiting:
                lane.has_more = False
                self._fetch_more()

    async def _count(self, flow_run: FlowRun, lane: Lane) -> None:
        """A run that Prefect made, beyond the limit: it gets its place among all that wait, or is cancelled there."""
        admitted = False
        try:
            flow = await self._loader.load(self._client, flow_run)
            event = flow_run.parameters.get("event")
            execution_id = await execution_for(self._runtime, flow.program, event, flow_run)
            execution = await self._runtime.store.execution(execution_id)
            admitted = execution is not None and execution.admitted_at is not None and not execution.status.is_final
            if not admitted:
                await put_back(flow_run, "its workflow's limit is reached; it runs in its turn")
                self._admit_more()
                await asyncio.sleep(DECIDED_SECONDS)
                await self.settle(str(flow_run.id))
        except Exception as error:
            logger.warning("flow run %s: %s", flow_run.id, error, exc_info=not isinstance(error, IpaasError))
            await self._give_up(flow_run, error)
        finally:
            lane.counted(flow_run, admitted=admitted)
            self.start_waiting()

    async def _give_up(self, flow_run: FlowRun, error: Exception) -> None:
        """A run that could not be run: failed when trying again can't help, else put right when Prefect answers."""
        retriable = (
            error.retriable if isinstance(error, IpaasError) else not isinstance(error, (SyntaxError, ImportError))
        )
        if retriable:
            await asyncio.sleep(1)
            await self.settle(str(flow_run.id))
            return
        try:
            await self._reconciler.fail(flow_run, error)
        except Exception as away:  # noqa: BLE001 - it is fetched again, and fails again
            logger.warning("could not end flow run %s: %s", flow_run.id, away)

    async def settle(self, flow_run_id: str) -> None:
        try:
            await self._reconciler.settle(flow_run_id)
        except Exception as error:  # noqa: BLE001 - the periodic reconciliation tries again
            logger.warning("could not settle flow run %s: %s", flow_run_id, error)
