"""A flow run as an execution: which one it is for, and its outcome as Prefect has it."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from prefect import Flow, State
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Failed, Scheduled

from flows.engine.execution import Outcome, accept_event, run_execution
from flows.engine.failures import HandedBack, HeldElsewhere, LimitReached, StillWaits, cancellation
from flows.engine.invoke import call_directly
from flows.engine.program import Program
from flows.engine.runtime import Runtime
from flows.engine.waiting_for import open_waits, waiting_for
from flows.history import Execution, Status, Trigger
from flows.language.event import Event
from flows.on_prefect.internals import current_flow_run, leave_state, was_scheduled_again
from flows.on_prefect.invoke import PrefectInvoke
from flows.on_prefect.pausing import show_waiting
from flows.on_prefect.process import current_runtime
from foundation.errors import StorageUnavailable

EXECUTION_LABEL, WORKFLOW_LABEL, VERSION_LABEL = "ipaas.execution", "ipaas.workflow", "ipaas.version"
"""Labels of a flow run that was created for an execution; runs that Prefect made itself have none."""
CANCELLED_IN_PREFECT = {"by": "Prefect", "reason": "asked for in Prefect"}
FULL_SECONDS = 30.0
"""How far ahead a run is put that found its workflow's limit reached; admission wakes it before."""
ASK_AGAIN_SECONDS = 0.5
WOKEN_AT_ONCE = 100


def idempotency_key(deployment_id: str, execution_id: str) -> str:
    """The key a flow run is created with. Prefect keeps keys per flow, so the deployment is part of it."""
    return f"ipaas:{deployment_id}:{execution_id}"


def label(flow_run: FlowRun | None, name: str) -> str | None:
    value = flow_run.labels.get(name) if flow_run else None
    return str(value) if value else None


async def run_program(program: Program, event: Any) -> Any:
    """What a workflow's flow does, in a flow run and outside of one.

    Args:
        event: the flow run's parameter; the stored event wins over it.

    Returns:
        The workflow's output, or a Prefect state when the execution did not succeed by itself.

    Raises:
        Exception: what the workflow raised.
        Abort: it does not run here, and the flow run's state is someone else's to set.
        asyncio.CancelledError: this process stops; which Prefect takes as a crash, so that it may be scheduled again.
        StorageUnavailable: outside of a flow run, the history does not answer.
    """
    flow_run, entered = current_flow_run(), asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as stack:
        with anyio.CancelScope(shield=True):  # Prefect's timeout may come before a process has opened the history
            runtime = await stack.enter_async_context(current_runtime())
        try:
            with anyio.CancelScope(shield=True):
                execution_id = await execution_for(runtime, program, event, flow_run)
            outcome = await _run(runtime, program, execution_id, flow_run, entered)
        except HandedBack:
            raise asyncio.CancelledError from None
        except (HeldElsewhere, LimitReached, StillWaits) as error:
            raise leave_state(str(error)) from None
        except StorageUnavailable as error:
            if flow_run is None:
                raise
            # Not the workflow's failure: the run stays as it is, and goes on once the history answers again.
            raise leave_state(f"its history does not answer: {error}") from None
    if outcome.status is Status.WAITING:
        raise leave_state(f"it waits: {waiting_for(outcome.waits)}")
    if outcome.failure:
        raise outcome.failure
    if outcome.earlier:
        return state_of(outcome.status, f"the execution had already ended: {outcome.status}")
    return outcome.output if outcome.status is Status.SUCCEEDED else state_of(outcome.status, outcome.error["message"])


async def _run(
    runtime: Runtime, program: Program, execution_id: str, flow_run: FlowRun | None, entered: float
) -> Outcome:
    if flow_run:
        try:
            outcome = await run_execution(
                runtime,
                execution_id,
                program,
                flow_run_id=str(flow_run.id),
                invoke=PrefectInvoke(),
                entered=entered,
            )
        except LimitReached as error:
            await put_back(flow_run, str(error))
            raise
        except StillWaits:
            execution = await runtime.store.execution(execution_id)
            await show_waiting(flow_run, open_waits(execution.waits) if execution else ())
            raise
        if outcome.status is Status.WAITING:
            await show_waiting(flow_run, outcome.waits)
        return outcome
    while True:
        with contextlib.suppress(LimitReached, StillWaits):
            outcome = await run_execution(runtime, execution_id, program, invoke=call_directly)
            if outcome.status is not Status.WAITING:
                return outcome
        await runtime.clock.sleep(ASK_AGAIN_SECONDS)
        await runtime.store.wake(limit=WOKEN_AT_ONCE)


async def put_back(flow_run: FlowRun, reason: str) -> None:
    """It waits in Prefect until admission wakes it."""
    at = datetime.now(UTC) + timedelta(seconds=FULL_SECONDS)
    later: State[Any] = Scheduled(name="AwaitingConcurrencySlot", message=reason, scheduled_time=at)
    async with get_client() as client:
        await client.set_flow_run_state(flow_run.id, later)


async def execution_for(runtime: Runtime, program: Program, event: Any, flow_run: FlowRun | None) -> str:
    """The execution this run is for. A run that Prefect made itself (a schedule, "Quick run") gets one now."""
    known = label(flow_run, EXECUTION_LABEL)
    if known and flow_run and flow_run.run_count <= 1:
        return known  # only "Retry" gives a run another one than it was created for
    run_id = str(flow_run.id) if flow_run else None
    earlier = await runtime.store.execution_of_flow_run(run_id) if run_id else None
    if earlier is None and known:
        return known
    if earlier and not await _asked_to_retry(flow_run, earlier):
        return earlier.id
    # Two workers may meet it at the same time. "Retry" in the UI counts its runs on.
    key = f"prefect:{run_id}:{flow_run.run_count if earlier else 0}" if flow_run else None
    if earlier:
        again = Event.model_validate(earlier.event)
        return await accept_event(
            runtime, program, again, trigger=Trigger.REPLAY, flow_run_id=run_id, replay_of=earlier.id, dedupe_key=key
        )
    trigger = Trigger.SCHEDULE if flow_run and flow_run.auto_scheduled else Trigger.MANUAL
    return await accept_event(runtime, program, _as_event(event), trigger=trigger, flow_run_id=run_id, dedupe_key=key)


async def _asked_to_retry(flow_run: FlowRun | None, earlier: Execution) -> bool:
    """Somebody pressed "Retry" in Prefect's UI: the run had failed, and runs a further time."""
    again = earlier.status in (Status.FAILED, Status.TIMED_OUT) and flow_run is not None and flow_run.run_count > 1
    return again and flow_run is not None and await was_scheduled_again(flow_run)


def _as_event(event: Any) -> Event:
    if isinstance(event, Event):
        return event
    return Event.model_validate({key: value for key, value in (event or {}).items() if value is not None})


def state_of(status: Status, message: str | None) -> State[Any]:
    """The Prefect state that says what the history says of an execution that has ended."""
    if status is Status.CANCELLED:
        return Cancelled(message=message)
    if status is Status.SUCCEEDED:
        return Completed(message=message)
    if status is Status.SKIPPED:
        return Completed(message=message, name="Skipped")
    return Failed(message=message, name="TimedOut" if status is Status.TIMED_OUT else "Failed")


async def record_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook, called by a stock worker that ended a cancelled run's process: the history says so at once."""
    async with current_runtime() as runtime:
        known = label(flow_run, EXECUTION_LABEL)
        execution = await runtime.store.execution_of_flow_run(str(flow_run.id))
        execution = execution or (await runtime.store.execution(known) if known else None)
        if execution and not execution.status.is_final:
            request = execution.cancel_requested or CANCELLED_IN_PREFECT
            error = cancellation(request["by"], request["reason"])
            await runtime.store.finish(execution.hold, Status.CANCELLED, error=error)
