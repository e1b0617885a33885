"""Brings the history and Prefect together after something died: no execution is left behind, no run stays Running.

Whatever ended in between (a worker, the Prefect server, a database), one table says what to do with a flow run and its
execution, by what each of them says. It is applied when a worker starts, when it meets a run it can't place, and every
few seconds to executions whose process shows no sign of life.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed, Scheduled

from flows.engine.failures import cancellation, error_document
from flows.engine.runtime import Runtime
from flows.history import Execution, Status
from flows.on_prefect.deployment import WORK_POOL
from flows.on_prefect.run import CANCELLED_IN_PREFECT, EXECUTION_LABEL, label
from foundation.owner import THIS_HOST, is_alive

logger = logging.getLogger("ipaas.worker.reconcile")

STALE_SECONDS = 60
"""How long a run may be handed to Prefect, or be pending, without a sign before it is looked at."""

SETTLED_SECONDS = 10
"""How old a state is in Prefect before it is held against the history: what ended here is just being told there."""

MOST_RUNS = 20
"""How often an execution is begun, restarts of the platform included, before it is taken for what kills its worker."""


class Reconciler:
    def __init__(self, client: PrefectClient, runtime: Runtime) -> None:
        self._client, self._runtime, self._store = client, runtime, runtime.store

    async def run_once(self) -> None:
        """Looks at every execution and run that nobody seems to care for."""
        now = self._runtime.clock.now()
        orphans = {execution.id: execution for execution in await self._store.expired(now)}
        orphans |= {execution.id: execution for execution in await self._of_dead_neighbours()}
        stale = await self._store.stale_dispatches(now - timedelta(seconds=STALE_SECONDS), 100)
        orphans |= {execution.id: execution for execution in stale}
        for execution in orphans.values():
            flow_run = await self._flow_run(execution.flow_run_id)
            await self._settle(flow_run, await self._store.execution(execution.id))  # it may have begun meanwhile
        for flow_run in await self._silent_runs():
            await self.settle(str(flow_run.id))

    async def take_over(self) -> None:
        """The executions of this machine's dead processes run again at once."""
        for execution in await self._of_dead_neighbours():
            flow_run = await self._flow_run(execution.flow_run_id)
            await self._settle(flow_run, await self._store.execution(execution.id))

    async def settle(self, flow_run_id: str) -> None:
        """Brings one flow run and its execution together, unless the execution runs in this process."""
        flow_run = await self._flow_run(flow_run_id)
        execution = await self._store.execution_of_flow_run(flow_run_id)
        if execution is None and (known := label(flow_run, EXECUTION_LABEL)):
            execution = await self._store.execution(known)
        await self._settle(flow_run, execution)

    async def fail(self, flow_run: FlowRun, error: Exception) -> None:
        """Ends a run that can't be run at all: its workflow is missing or does not compile."""
        message = self._runtime.services.masker.mask(str(error))
        if execution_id := label(flow_run, EXECUTION_LABEL):
            document = error_document(error) | {"message": message, "step": None}
            await self._store.finish(execution_id, Status.FAILED, now=self._runtime.clock.now(), error=document)
        await self._client.set_flow_run_state(flow_run.id, Failed(message=message), force=True)

    async def _settle(self, flow_run: FlowRun | None, execution: Execution | None) -> None:
        if execution and execution.id in self._runtime.running:
            return
        if execution and execution.status.is_final:
            if flow_run and flow_run.state and not (flow_run.state.is_final() or _is_retry(flow_run.state, execution)):
                await self._client.set_flow_run_state(flow_run.id, _state_of(execution), force=False)
            return
        if execution and execution.status is Status.RUNNING and not await self._is_orphan(execution):
            return
        if flow_run is None or flow_run.state is None:
            if execution:
                logger.info("execution %s: its flow run is gone, it is dispatched again", execution.id)
                await self._store.requeue(execution.id, owner=execution.owner)
                await self._store.undispatch(execution.id)
            return
        state = flow_run.state
        if state.type in (StateType.CANCELLED, StateType.CANCELLING):
            await self._cancel(flow_run, execution)
        elif state.type is StateType.FAILED or (state.type is StateType.COMPLETED and execution):
            await self._end_as(state, execution)
        elif state.type in (StateType.RUNNING, StateType.PENDING, StateType.CRASHED):
            await self._run_again(flow_run, state, execution)
        elif execution and execution.status is Status.RUNNING:
            await self._store.requeue(execution.id, owner=execution.owner)

    async def _cancel(self, flow_run: FlowRun, execution: Execution | None) -> None:
        if execution:
            said = flow_run.state and flow_run.state.message  # as when the workflow's limit is reached
            in_prefect = CANCELLED_IN_PREFECT | ({"reason": said} if said else {})
            request = execution.cancel_requested or in_prefect
            error = cancellation(request["by"], request["reason"])
            await self._store.finish(execution.id, Status.CANCELLED, now=self._runtime.clock.now(), error=error)
        if flow_run.state and flow_run.state.type is StateType.CANCELLING:
            await self._client.set_flow_run_state(flow_run.id, Cancelled(message="Cancelled before it ran."))

    async def _end_as(self, state: State, execution: Execution | None) -> None:
        if execution is None:
            return
        now = self._runtime.clock.now()
        if state.is_completed():
            await self._store.finish(execution.id, Status.SUCCEEDED, now=now)
            return
        status = Status.TIMED_OUT if state.name == "TimedOut" else Status.FAILED
        error = {"code": "prefect", "message": state.message or "failed in Prefect", "step": None}
        await self._store.finish(execution.id, status, now=now, error=error)

    async def _run_again(self, flow_run: FlowRun, state: State, execution: Execution | None) -> None:
        """Its process is gone: the same flow run is scheduled anew, and goes on after its last finished step."""
        begun = execution is not None and execution.status is Status.RUNNING
        beginning = state.type is StateType.PENDING or not (begun or state.type is StateType.CRASHED)
        if beginning and not (_taker_is_dead(state) or self._is_older(state, STALE_SECONDS)):
            return  # a process is just beginning it
        if execution and begun:
            if execution.runs >= MOST_RUNS:
                await self._give_up(flow_run, execution)
                return
            if not await self._store.requeue(execution.id, owner=execution.owner):
                return  # somebody else was faster
            logger.info("execution %s: its process %s is gone, it is run again", execution.id, execution.owner)
        if state.type is not StateType.CRASHED:
            # Orchestrated, not forced: this gives the run's concurrency slot back.
            crashed: State = Crashed(
                message="The process that ran it is gone; it is run again after its last finished step."
            )
            await self._client.set_flow_run_state(flow_run.id, crashed)
        await self._client.set_flow_run_state(flow_run.id, Scheduled(message="Run again after a crash."))

    async def _give_up(self, flow_run: FlowRun, execution: Execution) -> None:
        """An execution that takes its worker down each time must not do so for ever: it fails, and can be replayed."""
        message = f"the process that ran it died {execution.runs} times; it is not run again by itself"
        error = {"code": "crashed", "message": message, "step": None}
        await self._store.finish(execution.id, Status.FAILED, now=self._runtime.clock.now(), error=error)
        await self._client.set_flow_run_state(flow_run.id, Failed(message=message))

    def _is_older(self, state: State, seconds: float) -> bool:
        return self._runtime.clock.now() - state.timestamp > timedelta(seconds=seconds)

    async def _is_orphan(self, execution: Execution) -> bool:
        lease_over = execution.lease_until is None or execution.lease_until < self._runtime.clock.now()
        return lease_over or not is_alive(execution.owner) or execution.owner == self._runtime.owner

    async def _of_dead_neighbours(self) -> list[Execution]:
        """Running executions of this host's processes that are gone: known at once, whatever their leases say."""
        mine = await self._store.owned(f"{THIS_HOST}/")
        return [execution for execution in mine if not is_alive(execution.owner)]

    async def _silent_runs(self) -> list[FlowRun]:
        """Flow runs of our pool that Prefect thinks are under way, and whose state is old enough to have settled."""
        busy = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
        runs = await self._client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[WORK_POOL])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=busy))),
            sort=FlowRunSort.START_TIME_ASC,
            limit=200,
        )
        here = {running.flow_run_id for running in self._runtime.running.values()}
        return [run for run in runs if run.state and str(run.id) not in here and self._is_silent(run.state)]

    def _is_silent(self, state: State) -> bool:
        return _taker_is_dead(state) or self._is_older(state, SETTLED_SECONDS)

    async def _flow_run(self, flow_run_id: str | None) -> FlowRun | None:
        if flow_run_id is None:
            return None
        try:
            return await self._client.read_flow_run(UUID(flow_run_id))
        except ObjectNotFound:
            return None


def _taker_is_dead(state: State) -> bool:
    """A process of this machine took the run, and died before it began."""
    return state.type is StateType.PENDING and not is_alive(state.message)


def _is_retry(state: State, execution: Execution) -> bool:
    """Somebody pressed "Retry" in Prefect's UI, and the run waits for its turn."""
    return state.type is StateType.SCHEDULED and execution.status in (Status.FAILED, Status.TIMED_OUT)


def _state_of(execution: Execution) -> State:
    """The Prefect state that says what the history says."""
    message = (execution.error or {}).get("message")
    if execution.status is Status.SUCCEEDED:
        return Completed()
    if execution.status is Status.CANCELLED:
        return Cancelled(message=message)
    return Failed(message=message, name="TimedOut" if execution.status is Status.TIMED_OUT else "Failed")
