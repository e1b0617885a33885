"""One execution from its event to its end, whoever runs it: recorded, owned, cancellable, resumed after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from prefect import Flow, State
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort
from prefect.states import Cancelled, Completed, Failed

from connectors.kit.call import current_runner
from flows.engine.runtime import LEASE, RunningExecution, Runtime, current_runtime
from flows.engine.step import RecordedSteps, error_document
from flows.history import Execution, NewExecution, Status, Trigger, WorkflowVersion
from flows.language.event import Event
from flows.on_prefect.internals import current_flow_run, was_scheduled_again
from foundation.errors import IpaasError, StorageUnavailable
from foundation.ids import new_id
from foundation.log_fields import log_fields
from foundation.tracing import annotate, mark_failed, span

Body = Callable[[Event, Execution, RecordedSteps], Awaitable[Any]]
"""What a workflow does: the engine's walk of a YAML definition, or the author's Python function."""

EXECUTION_LABEL, WORKFLOW_LABEL, VERSION_LABEL = "ipaas.execution", "ipaas.workflow", "ipaas.version"
"""Labels of a flow run that was created for an execution; runs that Prefect made itself have none."""


AHEAD_SECONDS = 0.1
"""We stop an execution this much before its timeout and Prefect at its timeout: the history has the end first."""
CANCELLED_IN_PREFECT = {"by": "Prefect", "reason": "asked for in Prefect"}


def idempotency_key(deployment_id: str, execution_id: str) -> str:
    """The key a flow run is created with. Prefect keeps keys per flow, so the deployment is part of it."""
    return f"ipaas:{deployment_id}:{execution_id}"


def label(flow_run: FlowRun | None, name: str) -> str | None:
    value = flow_run.labels.get(name) if flow_run else None
    return str(value) if value else None


async def run_execution(version: WorkflowVersion, timeout: float, event: Any, body: Body) -> Any:
    """Runs one execution to its end and records it.

    Args:
        version: the workflow that runs.
        timeout: seconds; the execution ends as timed out then, in Prefect and outside of it alike.
        event: the flow run's parameter; the stored event wins over it.
        body: the workflow itself.

    Returns:
        The workflow's output, or a Prefect state when the execution was cancelled, timed out or had ended before.
    """
    deadline = asyncio.get_running_loop().time() + timeout - min(AHEAD_SECONDS, timeout / 10)
    flow_run = current_flow_run()
    async with current_runtime() as runtime:
        try:
            execution = await _begin(runtime, version, event, flow_run)
            if isinstance(execution, State):
                return execution
            labels = {WORKFLOW_LABEL: execution.workflow, EXECUTION_LABEL: execution.id}
            with span("execution", labels, parent=execution.trace):
                if execution.cancel_requested:
                    return await _cancelled(runtime, execution, execution.cancel_requested)
                return await _run(runtime, execution, body, deadline, timeout)
        except StorageUnavailable as error:
            if flow_run is None:
                raise
            # Not the workflow's failure: the run stays as it is, and goes on once the history answers again.
            raise Abort(f"its history does not answer: {error}") from None


async def _begin(
    runtime: Runtime, version: WorkflowVersion, event: Any, flow_run: FlowRun | None
) -> Execution | State[Any]:
    """The execution, begun; or the state of one that has ended."""
    execution_id = await _execution_id(runtime, version, event, flow_run)
    now = runtime.clock.now()
    execution = await runtime.store.begin(
        execution_id,
        flow_run_id=str(flow_run.id) if flow_run else None,
        owner=runtime.owner,
        now=now,
        lease_until=now + LEASE,
    )
    return execution or _end_of(await runtime.store.execution(execution_id))


async def _run(runtime: Runtime, execution: Execution, body: Body, deadline: float, timeout: float) -> Any:
    running = RunningExecution(execution.id, execution.flow_run_id)
    runtime.running[execution.id] = running
    steps = RecordedSteps(runtime, execution)
    runner = current_runner.set(steps)
    limit = asyncio.timeout_at(deadline)
    try:
        event = Event.model_validate(execution.event)
        async with limit:
            with log_fields(workflow=execution.workflow, execution=execution.id):
                running.task = asyncio.ensure_future(body(event, execution, steps))
            output = await running.task
        output = runtime.services.masker.mask_json(output)
        await _finish(runtime, execution, Status.SUCCEEDED, output=output)
        return output
    except (Exception, asyncio.CancelledError) as error:  # what it raises when it is stopped is the author's choice
        with anyio.CancelScope(shield=True):
            if running.stop == "cancel":
                return await _cancelled(runtime, execution, running.cancelled_by)
            if running.stop == "hand back":
                await runtime.store.requeue(execution.id, owner=runtime.owner)
                raise asyncio.CancelledError from None
            if running.stop == "lost":
                raise Abort("another process runs it now") from None  # its state in Prefect is the other one's to set
            if limit.expired():
                message = f"the execution took longer than its timeout of {timeout:g} s"
                await _finish(runtime, execution, Status.TIMED_OUT, error={"code": "timeout", "message": message})
                return Failed(message=message, name="TimedOut")
            if not isinstance(error, (StorageUnavailable, asyncio.CancelledError)):
                await _fail(runtime, execution, error)
        raise
    finally:
        current_runner.reset(runner)
        del runtime.running[execution.id]


async def _fail(runtime: Runtime, execution: Execution, error: Exception) -> None:
    """Raises an error in place of one that shows a secret or is no UTF-8: Prefect keeps what a flow raises."""
    document = error_document(error)
    message = runtime.services.masker.mask(document["message"]).encode(errors="backslashreplace").decode()
    step = getattr(error, "step_id", None)
    await _finish(runtime, execution, Status.FAILED, error=document | {"message": message, "step": step})
    if message != document["message"]:
        raise IpaasError(message) from None


async def _execution_id(runtime: Runtime, version: WorkflowVersion, event: Any, flow_run: FlowRun | None) -> str:
    """The execution this run is for. A run that Prefect made itself (a schedule, "Quick run") gets one now."""
    earlier = await runtime.store.execution_of_flow_run(str(flow_run.id)) if flow_run else None
    if earlier is None and (known := label(flow_run, EXECUTION_LABEL)):
        return known
    if earlier and not await _asked_to_retry(flow_run, earlier):
        return earlier.id
    if await runtime.store.version(version.workflow, version.version) is None:
        await runtime.store.publish(version)  # deployed with `prefect deploy`, or called from a script
    scheduled = flow_run is not None and flow_run.auto_scheduled
    trigger = Trigger.REPLAY if earlier else Trigger.SCHEDULE if scheduled else Trigger.MANUAL
    new = NewExecution(
        id=new_id(),
        workflow=version.workflow,
        version=version.version,
        trigger=trigger,
        event=earlier.event if earlier else _as_event(event).document(),
        accepted_at=runtime.clock.now(),
        flow_run_id=str(flow_run.id) if flow_run else None,
        replay_of=earlier.id if earlier else None,
    )
    await runtime.store.accept([new])
    return new.id


async def _asked_to_retry(flow_run: FlowRun | None, earlier: Execution) -> bool:
    """Somebody pressed "Retry" in Prefect's UI: the run had failed, and runs a further time."""
    again = earlier.status in (Status.FAILED, Status.TIMED_OUT) and flow_run is not None and flow_run.run_count > 1
    return again and flow_run is not None and await was_scheduled_again(flow_run)


def _as_event(event: Any) -> Event:
    if isinstance(event, Event):
        return event
    return Event.model_validate({key: value for key, value in (event or {}).items() if value is not None})


async def _finish(runtime: Runtime, execution: Execution, status: Status, **outcome: Any) -> None:
    now = runtime.clock.now()
    annotate({"ipaas.status": status})
    if error := outcome.get("error"):
        mark_failed(error["code"], error["message"])
    with anyio.CancelScope(shield=True):
        if await runtime.insist(lambda: runtime.store.finish(execution.id, status, now=now, **outcome)):
            seconds = (now - execution.started_at).total_seconds() if execution.started_at else 0.0
            runtime.meter.execution_ended(execution, status, seconds)


async def _cancelled(runtime: Runtime, execution: Execution, request: dict[str, str]) -> State[Any]:
    noted = await runtime.store.execution(execution.id)  # who asked through the API or the command line said so there
    request = (noted and noted.cancel_requested) or request
    error = cancellation(request["by"], request["reason"])
    await _finish(runtime, execution, Status.CANCELLED, error=error)
    return Cancelled(message=error["message"])


async def record_cancellation(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect's hook, called by a stock worker that ended a cancelled run's process: the history says so at once."""
    async with current_runtime() as runtime:
        known = label(flow_run, EXECUTION_LABEL)
        execution = await runtime.store.execution_of_flow_run(str(flow_run.id))
        execution = execution or (await runtime.store.execution(known) if known else None)
        if execution and not execution.status.is_final:
            await _cancelled(runtime, execution, CANCELLED_IN_PREFECT)


def cancellation(by: str, reason: str) -> dict[str, str]:
    """The error of a cancelled execution: who cancelled it, and why."""
    return {
        "code": "cancelled",
        "message": f"cancelled through {by}: {reason}" if reason else f"cancelled through {by}",
    }


def _end_of(execution: Execution | None) -> State[Any]:
    """The Prefect state for a run whose execution had ended before the run began."""
    if execution is None:
        raise IpaasError("this flow run's execution is not in the history: was the database replaced?")
    message = f"execution {execution.id} had already ended: {execution.status}"
    if execution.status is Status.CANCELLED:
        return Cancelled(message=message)
    return Completed(message=message) if execution.status is Status.SUCCEEDED else Failed(message=message)
