"""What an operator can do to executions: the management API and the command line both call these.

Prefect and httpx are imported where Prefect is asked: views of the history need this module, and neither of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.engine.failures import cancellation
from flows.engine.flow_keys import FlowKeys, flow_keys
from flows.engine.replay import steps_before, steps_that_succeeded
from flows.history import (
    Accepted,
    Execution,
    HistoryStore,
    NewExecution,
    Status,
    StepExecution,
    Topic,
    Trigger,
    WaitKind,
)
from flows.language.definition import Declaration
from flows.language.event import Event
from flows.language.input_schema import check_input
from foundation.clock import Clock
from foundation.errors import IpaasError, NotFound
from foundation.ids import new_id
from foundation.tracing import traceparent

if TYPE_CHECKING:
    from prefect import State
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas import OrchestrationResult

PREFECT_SECONDS = 5.0
"""How long an operator waits for a Prefect that does not answer."""


class Conflict(IpaasError):
    """What was asked for does not fit the thing's present state."""

    code = "conflict"


class PrefectUnavailable(IpaasError):
    """Prefect did not do what was asked for; nothing was changed."""

    code = "prefect_unavailable"
    retriable = True


async def start(
    store: HistoryStore,
    clock: Clock,
    workflow: str,
    event: Event,
    *,
    idempotency_key: str | None = None,
    remembered: timedelta = timedelta(days=1),
) -> Accepted:
    """Starts the current version of a workflow for this event, active or not.

    Args:
        idempotency_key: who comes with the same one again is answered with the same execution.
        remembered: for how long.

    Raises:
        NotFound: there is no such workflow.
        UnfitEvent: the body does not fit the workflow's `input`.
    """
    known = await store.workflow(workflow)
    if known is None:
        raise NotFound(f"no workflow {workflow}")
    declaration = Declaration.model_validate(known.current.declaration)
    await asyncio.to_thread(check_input, declaration, event.body)  # a large body takes a while
    key, now, document = f"{workflow}\nmanual\n{idempotency_key}", clock.now(), event.document()
    flow = flow_keys(declaration, document)
    new = NewExecution(
        id=new_id(),
        workflow=workflow,
        version=known.current.version,
        trigger=Trigger.MANUAL,
        event=document,
        accepted_at=now,
        dedupe_keys=[key] if idempotency_key else (),
        dedupe_until=now + remembered if idempotency_key else None,
        trace=traceparent(),
        keys=flow.keys,
        priority=flow.priority,
    )
    [accepted] = await store.accept([new])
    if not accepted.duplicate:
        store.announce(Topic.ACCEPTED)
    return accepted


async def cancel(
    store: HistoryStore, client: PrefectClient, execution_id: str, *, by: str, reason: str = ""
) -> Execution:
    """Cancels an execution wherever it is: waiting, handed to Prefect, or running. So are those that it waits for.

    Raises:
        NotFound: there is no such execution.
        Conflict: it has already ended.
        PrefectUnavailable: it waits for something outside, and can't be ended in Prefect; nothing was changed.
    """
    reason = "".join(one if one.isprintable() else " " for one in reason)  # Prefect can't take every text
    before = await store.execution(execution_id)
    if before is None:
        raise NotFound(f"no execution {execution_id}")
    if before.status.is_final:
        raise Conflict(f"execution {execution_id} has already ended: {before.status}")
    if before.status is Status.WAITING and before.flow_run_id:
        await _cancel_paused_run(client, before.flow_run_id, cancellation(by, reason)["message"])
    execution = await store.request_cancel(execution_id, by=by, reason=reason)
    for called in _called(before):
        with contextlib.suppress(Conflict, NotFound):  # it has just ended
            await cancel(
                store, client, called, by=by, reason=f"execution {execution_id}, which called it, was cancelled"
            )
    if execution and execution.flow_run_id and not execution.status.is_final:
        await _cancel_flow_run(store, client, execution, by, reason)
    after = await store.execution(execution_id)
    if after and after.status.is_final:
        store.announce(Topic.ENDED, execution_id)
        store.announce(Topic.ACCEPTED)  # its slot is free
    return after or before


def _called(execution: Execution) -> list[str]:
    """The executions that it waits for."""
    waits = [wait for wait in execution.waits if wait.kind is WaitKind.CALL and wait.ended_at is None]
    return [wait.document["execution_id"] for wait in waits]


async def _cancel_paused_run(client: PrefectClient, flow_run_id: str, message: str) -> None:
    """Nobody runs it, so nobody would end it in Prefect later on."""
    import httpx
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Cancelled

    cancelled: State[Any] = Cancelled(message=message)
    try:
        async with asyncio.timeout(PREFECT_SECONDS):
            await client.set_flow_run_state(UUID(flow_run_id), cancelled, force=True)
    except ObjectNotFound:
        return
    except (httpx.HTTPError, OSError, TimeoutError) as error:
        raise _away(error) from error


async def _cancel_flow_run(
    store: HistoryStore, client: PrefectClient, execution: Execution, by: str, reason: str
) -> None:
    """The noted request is honoured when the run begins, and while it runs: a Prefect that is away loses nothing."""
    import httpx
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Cancelling

    error = cancellation(by, reason)
    cancelling: State[Any] = Cancelling(message=error["message"])
    try:
        async with asyncio.timeout(PREFECT_SECONDS):
            result: OrchestrationResult[Any] = await client.set_flow_run_state(UUID(execution.flow_run_id), cancelling)
        never_begun = bool(result.state and result.state.is_cancelled())
    except ObjectNotFound:
        never_begun = execution.status is Status.ACCEPTED
    except (httpx.HTTPError, OSError, TimeoutError):
        return
    if never_begun:
        await store.finish(execution.hold, Status.CANCELLED, error=error)


async def replay(
    store: HistoryStore,
    clock: Clock,
    execution_id: str,
    *,
    from_step: str | None = None,
    failed: bool = False,
    version: str | None = None,
) -> str:
    """Runs an ended execution's event again; the new execution's id.

    Args:
        from_step: the steps that were started before this one keep their results.
        failed: all that succeeded keep theirs, items of loops one by one.
        version: `current`, or a version's hash; default: the one it ran on.

    Raises:
        NotFound: no such execution, step or version.
        Conflict: it has not ended yet.
    """
    first = await store.execution(execution_id)
    if first is None:
        raise NotFound(f"no execution {execution_id}")
    if not first.status.is_final:
        raise Conflict(f"execution {execution_id} has not ended: {first.status}")
    wanted = await _version(store, first, version)
    published = await store.version(first.workflow, wanted)
    flow = FlowKeys()
    if published is not None and published.declaration is not None:
        flow = flow_keys(Declaration.model_validate(published.declaration), first.event).of_replay()
    again = NewExecution(
        id=new_id(),
        workflow=first.workflow,
        version=wanted,
        trigger=Trigger.REPLAY,
        event=first.event,
        accepted_at=clock.now(),
        replay_of=first.id,
        steps=list(steps_that_succeeded(first)) if failed else _steps_before(first, from_step),
        keys=flow.keys,
        priority=flow.priority,
    )
    await store.accept([again])
    store.announce(Topic.ACCEPTED)
    return again.id


async def _version(store: HistoryStore, first: Execution, version: str | None) -> str:
    if version is None:
        return first.version
    if version == "current":
        workflow = await store.workflow(first.workflow)
        if workflow is None:
            raise NotFound(f"no workflow {first.workflow}")
        return workflow.current.version
    if await store.version(first.workflow, version) is None:
        raise NotFound(f"workflow {first.workflow} has no version {version}")
    return version


def _steps_before(first: Execution, from_step: str | None) -> list[StepExecution]:
    if from_step is None:
        return []
    paths = [step.path for step in first.steps]
    if from_step not in paths:
        raise NotFound(f"execution {first.id} has no step {from_step}; it has {', '.join(paths) or 'none'}")
    return list(steps_before(first.steps, from_step))


async def set_active(store: HistoryStore, client: PrefectClient, name: str, active: bool) -> None:
    """Opens or closes a workflow: its hooks, and its schedules in Prefect.

    Prefect first: its hooks must not be shut while its schedules go on. Asking again is always safe.

    Raises:
        NotFound: there is no such workflow.
        PrefectUnavailable: nothing was changed.
    """
    workflow = await store.workflow(name)
    if workflow is None:
        raise NotFound(f"no workflow {name}")
    if workflow.deployment_id:
        await _set_schedules(client, workflow.deployment_id, active)
    await store.set_active(name, active)


async def _set_schedules(client: PrefectClient, deployment_id: str, active: bool) -> None:
    import httpx
    from prefect.exceptions import ObjectNotFound

    change = client.resume_deployment if active else client.pause_deployment
    try:
        async with asyncio.timeout(PREFECT_SECONDS):
            await change(UUID(deployment_id))
    except ObjectNotFound:
        return  # deployed anew with its next execution, and then in the state the history says
    except (httpx.HTTPError, OSError, TimeoutError) as error:
        raise _away(error) from error


def _away(error: Exception) -> PrefectUnavailable:
    return PrefectUnavailable(f"Prefect does not answer ({type(error).__name__}); nothing was changed")
