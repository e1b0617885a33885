"""The worker: a Prefect worker type, `ipaas`, that runs compiled workflows in its own warm process.

Prefect's base class does what every worker does (the work pool, heartbeats, polling). This one is told of scheduled
runs the moment they exist (an event subscription; polling is the safety net), keeps a deployment's runs within its
limit before it asks Prefect for a slot, and starts no process: a run is a task of this event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.exceptions import Abort, ObjectNotFound
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from flows.on_prefect.deployment import WORK_POOL_TYPE
from flows.on_prefect.internals import LEASE_SECONDS, run_flow, take_flow_run, warm_engine
from flows.on_prefect.loader import FlowLoader
from flows.on_prefect.process import open_runtime, use_runtime
from flows.on_prefect.run import CANCELLED_IN_PREFECT
from foundation.errors import IpaasError, StorageUnavailable
from foundation.settings import Settings
from ipaas.worker.lane import ASK_AGAIN_SECONDS, Lane
from ipaas.worker.metrics import WorkerMetrics, serving_metrics
from ipaas.worker.reconcile import Reconciler

logger = logging.getLogger("ipaas.worker.worker")

PAGE = 200
"""How many scheduled runs Prefect gives at once (`PREFECT_API_DEFAULT_LIMIT`)."""
DRAIN_SECONDS = 30.0
RECONCILE_SECONDS = 15.0
LOOKS_AT_NEIGHBOURS = 6
"""How often in between it is seen whether another worker of this machine has died: one short query."""
LIMIT_AGE = timedelta(seconds=30)
"""How long a deployment's limit is believed before it is read again."""


class IpaasJobConfiguration(BaseJobConfiguration):
    """Nothing to configure per run: a run is a task of the worker's own process."""


class IpaasVariables(BaseVariables):
    """None."""


class IpaasWorkerResult(BaseWorkerResult):
    """How a run ended, for Prefect's worker events."""


class IpaasWorker(BaseWorker[IpaasJobConfiguration, IpaasVariables, IpaasWorkerResult]):
    type = WORK_POOL_TYPE
    job_configuration = IpaasJobConfiguration
    job_configuration_variables = IpaasVariables
    _display_name = "iPaaS"
    _description = "Runs workflows in a warm process of prefect-ipaas: no process or container per run."

    async def setup(self) -> None:
        """Opens the runtime, then starts as every worker does.

        Raises:
            ConfigurationError, StorageUnavailable: the history or the keys can't be used.
        """
        self._lanes: dict[UUID, Lane] = defaultdict(Lane)
        self._poke = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._executing: set[asyncio.Task[None]] = set()
        self._stack = contextlib.AsyncExitStack()
        settings, metrics = Settings(), WorkerMetrics()
        self._stack.enter_context(serving_metrics(metrics, settings))
        self.runtime = await self._stack.enter_async_context(open_runtime(settings))
        self.runtime.meter = metrics
        self._stack.enter_context(use_runtime(self.runtime))
        self._engine = await self._stack.enter_async_context(warm_engine())
        self._loader = FlowLoader(self.runtime.store)
        await super().setup()
        self._reconciler = Reconciler(self.client, self.runtime)
        for service in (self._listen, self._react, self._reconcile, self._renew_leases):
            self._start(service())

    async def teardown(self, *exc_info: Any) -> None:
        """Takes no more runs, waits for those in flight, hands back what is not finished in time."""
        with anyio.CancelScope(shield=True):
            await self.drain()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await super().teardown(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()

    async def drain(self) -> None:
        """Takes no more runs; returns when those in flight have ended, in Prefect too, or were handed back."""
        self._draining = True
        if self._executing:
            await asyncio.wait(self._executing, timeout=DRAIN_SECONDS)
        await self.runtime.drain(0)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Fetching

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Fetches the runs that are due and starts those that have room; what waits is started when room comes."""
        self._last_polled_time = datetime.now(UTC)
        if self._draining or self._work_pool is None:
            return []
        due_by = datetime.now(UTC) + timedelta(seconds=self._prefetch_seconds)
        try:
            responses = await self.client.get_scheduled_flow_runs_for_work_pool(
                work_pool_name=self._work_pool_name,
                scheduled_before=due_by,
                work_queue_names=list(self._work_queues) or None,
            )
        except ObjectNotFound:
            return []  # the pool is created at the next heartbeat
        runs = [response.flow_run for response in responses]
        if len(runs) >= PAGE:
            runs += await self._behind_the_first_page(due_by)
        for run in runs:
            if self._is_due(run) and run.deployment_id:
                self._lanes[run.deployment_id].add(run)
        return self._start_waiting()

    def _is_due(self, run: FlowRun) -> bool:
        """One that is not is fetched again when it is: it must not take the place of one that can run."""
        due = run.next_scheduled_start_time or run.expected_start_time
        if due and (seconds := due.timestamp() - datetime.now(UTC).timestamp()) > 0:
            asyncio.get_running_loop().call_later(seconds, self._poke.set)
            return False
        return True

    async def _behind_the_first_page(self, due_by: datetime) -> list[FlowRun]:
        """Runs of deployments that have room: one workflow's long queue must not hide another's."""
        roomy = [deployment for deployment, lane in self._lanes.items() if not lane.waiting]
        for lane in self._lanes.values():
            lane.has_more = True
        if not roomy:
            return []
        return await self.client.get_scheduled_flow_runs_for_deployments(roomy, scheduled_before=due_by)

    def _start_waiting(self) -> list[FlowRun]:
        started = []
        for lane in list(self._lanes.values()):
            while lane.waiting and lane.has_room and not self._draining and self._has_room_at_all():
                run = lane.start_next()
                task = self._start(self._execute(run, lane))
                self._executing.add(task)
                task.add_done_callback(self._executing.discard)
                started.append(run)
        return started

    def _has_room_at_all(self) -> bool:
        return self._limit is None or sum(len(lane.running) for lane in self._lanes.values()) < self._limit

    async def _listen(self) -> None:
        """Reacts to what Prefect says of this pool's runs as it happens."""
        while True:
            try:
                while self._work_pool is None:
                    await asyncio.sleep(0.2)
                runs_of_pool = EventFilter(
                    event=EventNameFilter(prefix=["prefect.flow-run."]),
                    any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self._work_pool.id}"]),
                )
                async with get_events_subscriber(filter=runs_of_pool, reconnection_attempts=0) as subscriber:
                    self._poke.set()  # what was scheduled while nobody listened
                    self._start(self._bring_together(self._reconciler.run_once))
                    async for event in subscriber:
                        self._on_event(event)
            except (OSError, TimeoutError, ValueError, RuntimeError, StorageUnavailable) as error:
                logger.warning("lost Prefect's event stream, polling until it is back: %s", error)
            except Exception:
                logger.warning("lost Prefect's event stream, polling until it is back", exc_info=True)
            await asyncio.sleep(1)

    def _on_event(self, event: Event) -> None:
        state = event.event.removeprefix("prefect.flow-run.")
        flow_run_id = event.resource.id.removeprefix("prefect.flow-run.")
        if state in ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Late"):
            lane = self._lane_of(event)
            if lane and lane.waiting:
                lane.has_more = True
            else:
                self._poke.set()
        elif state == "Pending":
            if (lane := self._lane_of(event)) and UUID(flow_run_id) not in lane.running:
                lane.begun_elsewhere(UUID(flow_run_id))
        elif state == "Cancelling":
            if not self.runtime.cancel(flow_run_id=flow_run_id, **CANCELLED_IN_PREFECT):
                self._start(self._settle(flow_run_id))
        elif state == "Cancelled":
            self._start(self._settle(flow_run_id))

    def _lane_of(self, event: Event) -> Lane | None:
        prefix = "prefect.deployment."
        deployments = [related.id for related in event.related if related.id.startswith(prefix)]
        return self._lanes.get(UUID(deployments[0].removeprefix(prefix))) if deployments else None

    async def _react(self) -> None:
        """Fetches when poked; pokes that come while one fetch is under way make one more."""
        while True:
            await self._poke.wait()
            self._poke.clear()
            try:
                await self.get_and_submit_flow_runs()
            except Exception as error:  # noqa: BLE001 - Prefect is away: the polling service goes on trying, with backoff
                logger.warning("could not fetch scheduled runs: %s", error)
                await asyncio.sleep(1)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 5)
            try:
                await self._engine.renew_leases(self.client)
            except (httpx.HTTPError, OSError) as error:
                logger.warning("could not renew the concurrency slots' leases: %s", error)

    async def _reconcile(self) -> None:
        while True:
            await self._bring_together(self._reconciler.run_once)
            for _ in range(LOOKS_AT_NEIGHBOURS):
                await asyncio.sleep(RECONCILE_SECONDS / LOOKS_AT_NEIGHBOURS)
                await self._bring_together(self._reconciler.take_over)

    async def _bring_together(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._one_at_a_time:
                await work()
        except Exception as error:  # noqa: BLE001 - Prefect or the database is away: the next round tries again
            logger.warning("could not reconcile with Prefect: %s", error)

    # Running

    async def _execute(self, flow_run: FlowRun, lane: Lane) -> None:
        try:
            await self._read_limit(flow_run, lane)
            flow = await self._loader.load(self.client, flow_run)
            if self._draining:
                return
            if await take_flow_run(self.client, flow_run, owner=self.runtime.owner):
                lane.granted()
                await run_flow(flow, flow_run)
            else:
                lane.refused()
                asyncio.get_running_loop().call_later(ASK_AGAIN_SECONDS, self._start_waiting)
                await self._settle(str(flow_run.id))
        except asyncio.CancelledError:
            if not self._draining:
                raise
            with anyio.CancelScope(shield=True):
                await self._settle(str(flow_run.id))
        except Abort as error:
            logger.info("flow run %s does not run here: %s", flow_run.id, error)
        except Exception as error:
            level = logging.WARNING if isinstance(error, IpaasError) else logging.ERROR
            logger.log(level, "flow run %s: %s", flow_run.id, error, exc_info=level == logging.ERROR)
            await self._give_up(flow_run, error)
        finally:
            lane.running.discard(flow_run.id)
            self._start_waiting()
            if lane.has_more and not lane.waiting:
                lane.has_more = False
                self._poke.set()

    async def _give_up(self, flow_run: FlowRun, error: Exception) -> None:
        """A run that could not be run: failed when trying again can't help, else put right when Prefect answers."""
        retriable = (
            error.retriable if isinstance(error, IpaasError) else not isinstance(error, (SyntaxError, ImportError))
        )
        if retriable:
            await asyncio.sleep(1)
            await self._settle(str(flow_run.id))
            return
        try:
            await self._reconciler.fail(flow_run, error)
        except Exception as away:  # noqa: BLE001 - it is fetched again, and fails again
            logger.warning("could not end flow run %s: %s", flow_run.id, away)

    async def _settle(self, flow_run_id: str) -> None:
        try:
            await self._reconciler.settle(flow_run_id)
        except Exception as error:  # noqa: BLE001 - the periodic reconciliation tries again
            logger.warning("could not settle flow run %s: %s", flow_run_id, error)

    async def _read_limit(self, flow_run: FlowRun, lane: Lane) -> None:
        if flow_run.deployment_id and datetime.now(UTC) - lane.limit_read > LIMIT_AGE:
            lane.limit_read = datetime.now(UTC)
            deployment = await self.client.read_deployment(flow_run.deployment_id)
            limit = deployment.global_concurrency_limit
            lane.limit = limit.limit if limit else 1_000_000

    async def run(
        self,
        flow_run: FlowRun,
        configuration: IpaasJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> IpaasWorkerResult:
        """Runs one pending flow run in this process (Prefect's `submit` comes this way)."""
        if task_status:
            task_status.started(0)
        flow = await self._loader.load(self.client, flow_run)
        await run_flow(flow, flow_run)
        return IpaasWorkerResult(status_code=0, identifier=str(flow_run.id))
