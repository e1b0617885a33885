"""The worker: a Prefect worker type, `ipaas`, that runs compiled workflows in its own warm process.

Prefect's base class does what every worker does (the work pool, heartbeats, polling). This one is told of scheduled
runs the moment they exist (an event subscription; polling is the safety net), and starts no process: a run is a task of
this event loop. Which executions may run is the history's to say; a worker has it admit the next one when one ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from flows.history import Mode
from flows.on_prefect.deployment import WORK_POOL_TYPE
from flows.on_prefect.internals import LEASE_SECONDS, warm_engine
from flows.on_prefect.pausing import RESUMING
from flows.on_prefect.process import open_runtime, use_runtime
from flows.on_prefect.run import CANCELLED_IN_PREFECT
from foundation.background import Background
from foundation.errors import IpaasError
from foundation.settings import Settings
from ipaas.admission.dispatcher import Dispatcher
from ipaas.admission.modes import said_for
from ipaas.worker.deployments import Deployments
from ipaas.worker.express import Express
from ipaas.worker.fetching import Fetcher
from ipaas.worker.lane import Lane, Lanes
from ipaas.worker.listening import Listener
from ipaas.worker.metrics import WorkerMetrics, serving_metrics
from ipaas.worker.missed import MissedTimes
from ipaas.worker.polling import Poller
from ipaas.worker.reconcile import Reconciler
from ipaas.worker.recorder import Recorder
from ipaas.worker.running import DRAIN_SECONDS, Runner

logger = logging.getLogger("ipaas.worker")

RECONCILE_SECONDS = 5.0
LOOKS_AT_NEIGHBOURS = 2
"""How often in between it is seen whether another worker of this machine has died: one short query."""
DEPLOYMENTS_SECONDS = 5.0
"""How soon a limit that was edited in Prefect is in force, and runs of a new schedule are known."""
HANDING_BACK_SECONDS = 5.0
FLUSH_SECONDS = 5.0
"""How long a worker that stops tells Prefect of what it ran; the next one tells the rest."""
LOOKS_PER_UNQUEUED = 5
"""After how many looks at the deployments it is seen whether runs have lost their queue."""


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
        self._lanes = Lanes(self._limit, beside=lambda: self._express.running)
        self._poke = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._stack = contextlib.AsyncExitStack()
        self._settings, self._metrics = Settings(), WorkerMetrics()
        self._stack.enter_context(serving_metrics(self._metrics, self._settings))
        self.runtime = await self._stack.enter_async_context(open_runtime(self._settings))
        self.runtime.meter = self._metrics
        self._stack.enter_context(use_runtime(self.runtime))
        self._engine = await self._stack.enter_async_context(warm_engine())
        await super().setup()
        self._make_parts()
        self._background = Background(self.runtime.clock)
        listener = Listener(self._pool_id, self._on_event, self._on_connected)
        for name, work in {
            "dispatcher": self._dispatcher.run,
            "events": listener.run,
            "fetching": self._react,
            "deployments": self._look_at_deployments,
            "reconciliation": self._reconcile,
            "polls": self._poller.run,
            "express": self._express.run,
            "long express runs": self._express.tell_of_long_runs,
            "recording": self._recorder.run,
            "slots": self._renew_leases,
        }.items():
            self._background.start(name, work)

    def _make_parts(self) -> None:
        store = self.runtime.store
        default = Mode(self._settings.mode)
        standard, express = said_for(Mode.STANDARD, default), said_for(Mode.EXPRESS, default)
        everything = (*Mode, None)  # where Prefect can't be told of express runs, it orchestrates them
        self._recorder = Recorder(self.client, self.runtime, on_changed=self._admit_more)
        self._dispatcher = Dispatcher(
            store, self.client, modes=lambda: standard if self._recorder.is_possible else everything
        )
        self._express = Express(
            self.runtime,
            self._recorder,
            modes=lambda: express if self._recorder.is_possible else (),
            room=lambda: self._lanes.room,
            wake=self._dispatcher.wake,
        )
        self._deployments = Deployments(self.client, store, on_repaired=self._on_repaired)
        self._missed = MissedTimes(self.client, store, self._deployments)
        self._fetcher = Fetcher(
            self.client, self._lanes, self._deployments, self._missed, pool=self._work_pool_name, poke=self._poke.set
        )
        self._reconciler = Reconciler(self.client, self.runtime, fetch=self._fetch_one, on_changed=self._admit_more)
        self._runner = Runner(
            self.client,
            self.runtime,
            self._lanes,
            self._reconciler,
            admit_more=self._admit_more,
            fetch_more=self._poke.set,
        )
        self._poller = Poller(
            self.runtime,
            backlog=self._settings.backlog,
            on_accepted=self._admit_more,
            on_ended=self._metrics.poll_ended,
        )
        self.runtime.more_may_start = self._admit_more

    def _admit_more(self) -> None:
        """Something was accepted, or a slot is free."""
        self._dispatcher.poke()
        self._express.poke()

    def _pool_id(self) -> UUID | None:
        return self._work_pool.id if self._work_pool else None

    async def teardown(self, *exc_info: Any) -> None:
        """Takes no more runs, waits for those in flight, hands back what is not finished in time."""
        with anyio.CancelScope(shield=True):
            await self.drain()
            await self._background.stop()
            await self._missed.close()
            await self._express.close()
            await self._runner.close()
        try:
            await super().teardown(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stack.aclose()

    async def drain(self) -> None:
        """Takes no more runs; returns when those in flight have ended, in Prefect too, or were handed back."""
        if self.is_setup:  # it may be told to stop before it has started
            await asyncio.gather(self._express.drain(DRAIN_SECONDS), self._runner.drain(DRAIN_SECONDS))
            await self.runtime.drain(0)
            await self._express.drain(HANDING_BACK_SECONDS)
            await self._recorder.flush(FLUSH_SECONDS)

    # Fetching

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Fetches the runs that are due and starts those that have room; what waits is started when room comes."""
        self._last_polled_time = datetime.now(UTC)
        if self._runner.draining or self._work_pool is None:
            return []
        await self._fetcher.fetch(list(self._work_queues))
        return self._runner.start_waiting()

    def _fetch_one(self, run: FlowRun) -> None:
        async def add() -> None:
            await self._fetcher.add(run)
            self._runner.start_waiting()

        self._runner.start(self._in_turn(add))

    def _on_connected(self) -> None:
        """What was scheduled, or ended, while nobody listened."""
        self._poke.set()
        self._runner.start(self._in_turn(self._reconciler.run_once))

    def _on_event(self, event: Event) -> None:
        state = event.event.removeprefix("prefect.flow-run.")
        flow_run_id = event.resource.id.removeprefix("prefect.flow-run.")
        if state in ("Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Late", RESUMING):
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
                self._runner.start(self._runner.settle(flow_run_id))
        elif state == "Cancelled":
            self._runner.start(self._runner.settle(flow_run_id))

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
            except (httpx.HTTPError, IpaasError, OSError) as error:  # the polling service goes on trying, with backoff
                logger.warning("could not fetch scheduled runs: %s", error)
                await asyncio.sleep(1)

    # Looking after Prefect

    async def _look_at_deployments(self) -> None:
        looks = 0
        while True:
            await self._in_turn(self._deployments.look)
            for deployment_id, limit in self._deployments.limits.items():
                self._lanes[deployment_id].limit = limit
            if looks % LOOKS_PER_UNQUEUED == 0:
                await self._in_turn(self._fetcher.fetch_unqueued)
            self._poke.set()  # a limit may be higher now, and Prefect does not announce what its schedules make
            looks += 1
            await asyncio.sleep(DEPLOYMENTS_SECONDS)

    def _on_repaired(self) -> None:
        """The work pool may be a new one, which has to be listened to; and runs of the old one wait for nobody."""

        async def look() -> None:
            await self.sync_with_backend()
            await self._fetcher.fetch_unqueued()
            self._poke.set()

        self._runner.start(self._in_turn(look))

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 5)
            try:
                await self._engine.renew_leases(self.client)
            except (httpx.HTTPError, OSError) as error:
                logger.warning("could not renew the concurrency slots' leases: %s", error)

    async def _reconcile(self) -> None:
        while True:
            await self._in_turn(self._reconciler.run_once)
            for _ in range(LOOKS_AT_NEIGHBOURS):
                await asyncio.sleep(RECONCILE_SECONDS / LOOKS_AT_NEIGHBOURS)
                await self._in_turn(self._reconciler.take_over)

    async def _in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        """One at a time; what fails because Prefect or the database is away is tried again by the next round."""
        try:
            async with self._one_at_a_time:
                await work()
        except (httpx.HTTPError, IpaasError, OSError) as error:
            logger.warning("could not look after Prefect: %s", error)
        except Exception:
            logger.exception("could not look after Prefect")

    async def run(
        self,
        flow_run: FlowRun,
        configuration: IpaasJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> IpaasWorkerResult:
        """Runs one pending flow run in this process (Prefect's `submit` comes this way)."""
        if task_status:
            task_status.started(0)
        await self._runner.run(flow_run)
        return IpaasWorkerResult(status_code=0, identifier=str(flow_run.id))
