"""Brings the history and Prefect together: no execution is left behind, no run stays as it is for ever.

Whatever ended in between (a worker, Prefect's server, a database), this finds the flow runs and executions that nobody
seems to care for. `ipaas.worker.verdict` says what to do with each, `ipaas.worker.settlement` does it. It is applied
every few seconds, when a worker starts, and when it meets a run it can't place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Failed

from flows.engine.failures import error_document
from flows.engine.journal import LEASE_SECONDS
from flows.engine.runtime import Runtime
from flows.history import Execution, Mode, Status
from flows.on_prefect.flow_runs import Unreadable, existing_deployments, read_flow_runs, runs_under_way
from flows.on_prefect.run import EXECUTION_LABEL, label
from foundation.errors import StorageUnavailable
from foundation.owner import THIS_HOST, is_alive
from ipaas.worker.patience import Patience
from ipaas.worker.settlement import Settlement
from ipaas.worker.verdict import STALE_SECONDS, ExecutionFacts, RunFacts, Verdict, decide

logger = logging.getLogger("ipaas.reconcile")

SETTLED_SECONDS = 10.0
"""A run that ended here may still be Running in Prefect for a moment: a round looks at it only after this long."""
MOST_STALE = 1000
"""How many executions that wait in Prefect one round looks at."""
_NEED_DEPLOYMENT = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CRASHED, StateType.PAUSED)


@dataclass(frozen=True)
class _Around:
    """What is known of a batch of runs and executions together."""

    expired: Collection[str] = ()
    """Executions whose lease is over, when this process may say so."""
    deployments: Collection[UUID] = ()
    """Those of the runs' deployments that exist."""


class Reconciler:
    """One per worker.

    Args:
        fetch, on_changed: see `Settlement`.
    """

    def __init__(
        self,
        client: PrefectClient,
        runtime: Runtime,
        fetch: Callable[[FlowRun], None] = lambda run: None,
        on_changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._client, self._runtime, self._store = client, runtime, runtime.store
        self._settlement = Settlement(client, runtime, fetch, on_changed)
        self._on_changed = on_changed
        self._fine = Patience(time.monotonic, first=5, longest=15)
        """What is as it should be is looked at again after so many seconds."""
        self._failing = Patience(time.monotonic, first=5, longest=600)
        """What can't be settled is tried again after so many seconds."""

    async def run_once(self) -> None:
        """Looks at every execution and run that nobody seems to care for.

        Raises:
            httpx.TransportError, StorageUnavailable: Prefect or the history does not answer.
        """
        orphans = [*await self._expired(), *await self._of_dead_neighbours()]
        stale = await self._store.stale_dispatches(older_than=STALE_SECONDS, limit=MOST_STALE)
        await self._settle_executions([*orphans, *(one for one in stale if self._fine.is_over(one.id))])
        await self._settle_runs(await self._silent_runs())

    async def take_over(self) -> None:
        """The executions of this machine's dead processes run again at once."""
        await self._settle_executions(await self._of_dead_neighbours())

    async def settle(self, flow_run_id: str) -> None:
        """Brings one flow run and its execution together."""
        run = (await read_flow_runs(self._client, [flow_run_id])).get(flow_run_id)
        if run is not None and not isinstance(run, Unreadable):
            await self._settle_runs([run])
        elif execution := await self._store.execution_of_flow_run(flow_run_id):
            await self._isolated(execution.id, self._settle(run, execution, await self._look_around([])))

    async def fail(self, flow_run: FlowRun, error: Exception) -> None:
        """Ends a run that can't be run at all: its workflow is missing or does not compile."""
        message = self._runtime.services.masker.mask(str(error))
        if execution := await self._execution_of(flow_run):
            document = error_document(error) | {"message": message, "step": None}
            await self._store.finish(execution.hold, Status.FAILED, error=document)
            self._on_changed()
        await self._client.set_flow_run_state(flow_run.id, Failed(message=message), force=True)

    # Who is looked at

    async def _expired(self) -> Sequence[Execution]:
        """Whose process gave no sign of life for a lease. This one must have been well itself for as long to say so."""
        return await self._store.expired() if self._runtime.healthy_seconds >= LEASE_SECONDS else []

    async def _of_dead_neighbours(self) -> list[Execution]:
        """Running executions of this host's processes that are gone: known at once, whatever their leases say."""
        mine = await self._store.owned(f"{THIS_HOST}/")
        return [execution for execution in mine if not is_alive(execution.owner)]

    async def _silent_runs(self) -> list[FlowRun]:
        """Flow runs that Prefect thinks are under way, that do not run here, and have been as they are for a while."""
        here = {running.flow_run_id for running in self._runtime.running.values()}
        return [run for run in await runs_under_way(self._client) if str(run.id) not in here and self._is_silent(run)]

    def _is_silent(self, run: FlowRun) -> bool:
        return _taker_is_dead(run) or self._age(run) > SETTLED_SECONDS

    # Each by itself

    async def _settle_executions(self, executions: Sequence[Execution]) -> None:
        if not executions:
            return
        found = await read_flow_runs(self._client, [one.flow_run_id for one in executions if one.flow_run_id])
        around = await self._look_around([run for run in found.values() if isinstance(run, FlowRun)])
        for execution in {one.id: one for one in executions}.values():
            run = found.get(str(execution.flow_run_id))
            await self._isolated(execution.id, self._settle(run, execution, around))

    async def _settle_runs(self, runs: Sequence[FlowRun]) -> None:
        if not runs:
            return
        known = await self._store.executions_of_flow_runs([str(run.id) for run in runs])
        around = await self._look_around(runs)
        for run in runs:
            await self._isolated(str(run.id), self._settle_run(run, known.get(str(run.id)), around))

    async def _settle_run(self, run: FlowRun, execution: Execution | None, around: _Around) -> None:
        await self._settle(run, execution or await self._execution_of(run), around)

    async def _look_around(self, runs: Sequence[FlowRun]) -> _Around:
        deployments = [run.deployment_id for run in runs if run.deployment_id and run.state_type in _NEED_DEPLOYMENT]
        expired = {execution.id for execution in await self._expired()}
        return _Around(expired, await existing_deployments(self._client, deployments))

    async def _isolated(self, thing: str, settling: Coroutine[Any, Any, None]) -> None:
        """What can't be read or settled does not hold up the others, and is tried again ever less often."""
        if not self._failing.is_over(thing):
            settling.close()
            return
        try:
            await settling
        except (httpx.TransportError, StorageUnavailable):
            raise  # the others would not fare better
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this one's
            if self._failing.wait(thing):
                logger.warning("%s can't be settled with Prefect, it is tried again: %r", thing, error)
        else:
            self._failing.end(thing)

    async def _settle(self, run: FlowRun | Unreadable | None, execution: Execution | None, around: _Around) -> None:
        if isinstance(run, Unreadable):
            raise run
        verdict = self._decide(run, execution, around)
        if execution and verdict is not Verdict.LEAVE:  # it may have begun, or ended, since it was read
            execution = await self._store.execution(execution.id)
            verdict = self._decide(run, execution, around)
        if verdict is not Verdict.LEAVE:
            await self._settlement.carry_out(verdict, run, execution)
        elif execution and not execution.status.is_final:
            self._fine.wait(execution.id)

    def _decide(self, run: FlowRun | None, execution: Execution | None, around: _Around) -> Verdict:
        of_run = self._run_facts(run, around) if run else None
        return decide(of_run, self._execution_facts(run, execution, around) if execution else None)

    def _run_facts(self, run: FlowRun, around: _Around) -> RunFacts | None:
        if run.state is None:
            return None
        return RunFacts(
            state=run.state.type,
            state_name=run.state.name or "",
            age=self._age(run),
            taker_is_dead=_taker_is_dead(run),
            is_deployed=run.deployment_id in around.deployments,
            is_queued=run.work_queue_id is not None,
        )

    def _execution_facts(self, run: FlowRun | None, execution: Execution, around: _Around) -> ExecutionFacts:
        return ExecutionFacts(
            status=execution.status,
            is_held=execution.status is Status.RUNNING and not self._is_lost(execution, around),
            is_of_this_run=run is None or execution.shown_as in (None, str(run.id)),
            is_admitted=execution.admitted_at is not None,
            is_express=execution.mode is Mode.EXPRESS,
            runs=execution.runs - execution.parked_runs,
        )

    def _is_lost(self, execution: Execution, around: _Around) -> bool:
        if execution.id in self._runtime.running:
            return False
        return execution.id in around.expired or not is_alive(execution.owner)

    async def _execution_of(self, run: FlowRun) -> Execution | None:
        execution = await self._store.execution_of_flow_run(str(run.id))
        if execution is None and (known := label(run, EXECUTION_LABEL)):
            execution = await self._store.execution(known)
        return execution

    def _age(self, run: FlowRun) -> float:
        """Seconds that it has been in its state."""
        return self._runtime.clock.now().timestamp() - run.state.timestamp.timestamp() if run.state else 0.0


def _taker_is_dead(run: FlowRun) -> bool:
    """A process of this machine took the run, and died before it began."""
    return run.state is not None and run.state.type is StateType.PENDING and not is_alive(run.state.message)
