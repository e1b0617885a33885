"""One execution from its event to its end, whoever runs it: recorded, fenced, cancellable, resumed after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio

from flows.engine.failures import (
    HandedBack,
    HeldElsewhere,
    LimitReached,
    NotRun,
    StillWaits,
    cancellation,
    error_document,
)
from flows.engine.flow_keys import FlowKeys, flow_keys
from flows.engine.invoke import Invoke, call_directly
from flows.engine.journal import LEASE_SECONDS, DurableJournal, Journal, OpenJournal
from flows.engine.parking import Parked
from flows.engine.program import Program, Run
from flows.engine.runtime import RunningExecution, Runtime
from flows.engine.step import Perform, Steps, perform
from flows.history import Execution, NewExecution, NewWait, Refusal, Status, Topic, Trigger
from flows.language.event import Event
from foundation.errors import ExpressionError, IpaasError, StorageUnavailable
from foundation.ids import new_id
from foundation.log_fields import log_fields
from foundation.tracing import annotate, mark_failed, span

DEDUPE_TIME = timedelta(days=1)
AHEAD_SECONDS = 0.1
"""We stop an execution this much before its timeout and Prefect at its timeout: the history has the end first."""


@dataclass(frozen=True)
class Outcome:
    """How an execution ended, or that it waits for something outside.

    Attributes:
        failure: what a failed one raised, fit to be shown.
        earlier: it had ended before this run of it began.
    """

    status: Status
    output: Any = None
    error: Any = None
    failure: Exception | None = None
    earlier: bool = False
    waits: Sequence[NewWait] = ()

    @classmethod
    def of(cls, execution: Execution) -> Outcome:
        return cls(execution.status, execution.output, execution.error, earlier=True)


async def accept_event(
    runtime: Runtime,
    program: Program,
    event: Event,
    *,
    trigger: Trigger = Trigger.MANUAL,
    flow_run_id: str | None = None,
    replay_of: str | None = None,
    dedupe_key: str | None = None,
    alone: bool = False,
) -> str:
    """Accepts an event that came another way than through the gateway; its execution's id.

    Args:
        alone: nothing else runs here that flow control could hold it back for.
        dedupe_key: who comes with the same one gets the same execution, for a day.
    """
    store, version = runtime.store, program.version
    if await store.version(version.workflow, version.version) is None:
        await store.publish(version)  # called from a script
    document = event.document()
    flow = FlowKeys() if alone else flow_keys(program.declaration, document, runtime.services.masker)
    if replay_of:
        flow = flow.of_replay()
    new = NewExecution(
        id=new_id(),
        workflow=version.workflow,
        version=version.version,
        trigger=trigger,
        event=document,
        accepted_at=runtime.clock.now(),
        flow_run_id=flow_run_id,
        replay_of=replay_of,
        dedupe_keys=[dedupe_key] if dedupe_key else (),
        dedupe_until=runtime.clock.now() + DEDUPE_TIME if dedupe_key else None,
        keys=flow.keys,
        priority=flow.priority,
    )
    [accepted] = await store.accept([new])
    return accepted.execution_id


async def run_execution(
    runtime: Runtime,
    execution_id: str,
    program: Program,
    *,
    flow_run_id: str | None = None,
    invoke: Invoke = call_directly,
    perform: Perform = perform,
    open_journal: OpenJournal = DurableJournal,
    entered: float | None = None,
) -> Outcome:
    """Begins one accepted execution, runs it to its end and records it.

    Args:
        entered: since when this run counts, by the event loop's clock; None: from now on. Whoever cancels it once its
            timeout is over (Prefect does, for its flow) means the timeout.

    Raises:
        NotRun: it is not this process's to run, or not any more; nothing was recorded.
        StorageUnavailable: the history does not answer; it goes on when its lease is over.
        asyncio.CancelledError: it was cancelled from outside, which is nobody's wish that the history knows of.
    """
    entered = asyncio.get_running_loop().time() if entered is None else entered
    execution: Execution | Refusal = Refusal.UNKNOWN
    with anyio.CancelScope(shield=True):  # one that has begun is ended by us, whatever becomes of its flow run
        execution = await runtime.store.begin(
            execution_id, flow_run_id=flow_run_id, owner=runtime.owner, lease=LEASE_SECONDS
        )
    if isinstance(execution, Refusal):
        return await _refused(runtime, execution_id, execution)
    return await run_begun(
        runtime, execution, program, invoke=invoke, perform=perform, open_journal=open_journal, entered=entered
    )


async def run_begun(
    runtime: Runtime,
    execution: Execution,
    program: Program,
    *,
    invoke: Invoke = call_directly,
    perform: Perform = perform,
    open_journal: OpenJournal = DurableJournal,
    entered: float | None = None,
) -> Outcome:
    """Runs one execution, which this process has begun, to its end and records it. As `run_execution`.

    Args:
        execution: whole, as beginning it gave it.
    """
    entered = asyncio.get_running_loop().time() if entered is None else entered
    timeout = program.declaration.timeout
    deadline = entered + max(timeout - execution.spent, 0) - min(AHEAD_SECONDS, timeout / 10)
    running = RunningExecution(execution.hold, execution.shown_as)
    journal = open_journal(runtime.store, execution, runtime.clock, running.lost)
    recorded = _Recorded(runtime, program, execution, journal)
    names = {"ipaas.workflow": execution.workflow, "ipaas.execution": execution.id}
    with span("execution", names, parent=execution.trace):
        if execution.cancel_requested:
            return await recorded.cancelled(execution.cancel_requested)
        try:
            return await _run(runtime, recorded, running, deadline, invoke, perform)
        finally:
            runtime.more_may_start()


async def _refused(runtime: Runtime, execution_id: str, refusal: Refusal) -> Outcome:
    if refusal is Refusal.HELD:
        raise HeldElsewhere
    if refusal is Refusal.FULL:
        raise LimitReached
    if refusal is Refusal.WAITING:
        raise StillWaits
    execution = await runtime.store.execution(execution_id)
    if execution is None:
        raise IpaasError("this flow run's execution is not in the history: was the database replaced?")
    return Outcome.of(execution)


async def _run(
    runtime: Runtime,
    recorded: _Recorded,
    running: RunningExecution,
    deadline: float,
    invoke: Invoke,
    perform: Perform,
) -> Outcome:
    execution, program = recorded.execution, recorded.program
    steps = Steps(
        execution.id,
        recorded.journal,
        runtime.services,
        runtime.clock,
        runtime.meter,
        invoke,
        program.actions,
        waits={wait.path: wait for wait in execution.waits},
        outside=runtime.outside(runtime, execution),
        perform=perform,
    )
    event = _with_batch(program, execution.event)
    run = Run(Event.model_validate(event), _scope(execution) | {"event": event}, steps)
    runtime.running[execution.id] = running
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            with log_fields(workflow=execution.workflow, execution=execution.id):
                running.task = asyncio.ensure_future(_perform(program, run))
            output = await running.task
        return await recorded.succeeded(output, run.scope)
    except Parked as parked:
        if running.stop:
            return await _shielded(_stopped(runtime, recorded, running, parked, timed_out=False))
        return await _shielded(recorded.parked(list(steps.parking.waits.values())))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - what it raises when stopped is the author's
        is_over = isinstance(error, asyncio.CancelledError) and asyncio.get_running_loop().time() >= deadline
        return await _shielded(_stopped(runtime, recorded, running, error, timed_out=limit.expired() or is_over))
    finally:
        del runtime.running[execution.id]


async def _stopped(
    runtime: Runtime, recorded: _Recorded, running: RunningExecution, error: BaseException, *, timed_out: bool
) -> Outcome:
    """What becomes of an execution whose workflow did not come to its end by itself."""
    if running.stop == "cancel":
        return await recorded.cancelled(running.cancelled_by)
    if running.stop == "hand back":
        await recorded.journal.hand_back()
        await runtime.store.renew([running.hold], lease=LEASE_SECONDS)  # notes how long it has run
        await runtime.store.requeue(running.hold)
        raise HandedBack from None
    if running.stop == "lost":
        raise HeldElsewhere from None
    if timed_out:
        return await recorded.timed_out()
    if isinstance(error, Exception) and not isinstance(error, (NotRun, StorageUnavailable)):
        return await recorded.failed(error)
    raise error


async def _shielded(end: Awaitable[Outcome]) -> Outcome:
    """A cancel from outside waits until the end is recorded."""
    outcome: Outcome | None = None
    with anyio.CancelScope(shield=True):
        outcome = await end
    assert outcome  # noqa: S101 - a shielded scope swallows nothing
    return outcome


async def _perform(program: Program, run: Run) -> Any:
    run.scope["vars"] = {}
    try:
        if program.vars:
            run.scope["vars"] = program.vars.render(run.scope)
        return await program.body(run)
    except (NotRun, StorageUnavailable):
        raise
    except Exception as failure:
        await program.on_failure(run, failure)
        raise


def _with_batch(program: Program, event: Any) -> Any:
    """One that was not gathered with others (a replay, `--local`) is a batch by itself."""
    return {**event, "batch": [event]} if program.declaration.batch and "batch" not in event else event


def _scope(execution: Execution) -> dict[str, Any]:
    """What expressions see when an execution begins; the same whenever it begins again."""
    return {
        "event": execution.event,
        "workflow": {"name": execution.workflow},
        "execution": {"id": execution.id},
        "now": execution.started_at,
        "steps": {},
        "callbacks": {},
    }


@dataclass(frozen=True)
class _Recorded:
    """An execution's end, recorded."""

    runtime: Runtime
    program: Program
    execution: Execution
    journal: Journal

    async def succeeded(self, output: Any, scope: Mapping[str, Any]) -> Outcome:
        output = self.runtime.services.masker.mask_json(output)
        return await self._end(Outcome(Status.SUCCEEDED, output), answer=self._answer(output, scope))

    async def failed(self, error: Exception) -> Outcome:
        """Prefect keeps what is raised: one that shows a secret or is no UTF-8 is replaced by one that does not."""
        document = error_document(error)
        said = str(error) if isinstance(error, IpaasError) else document["message"]
        message = self.runtime.services.masker.mask(said).encode(errors="backslashreplace").decode()
        failure = error if message == said else _without_cause(IpaasError(message))
        document = {**document, "message": message, "step": getattr(error, "path", None)}
        return await self._end(Outcome(Status.FAILED, error=document, failure=failure))

    async def timed_out(self) -> Outcome:
        message = f"the execution took longer than its timeout of {self.program.declaration.timeout:g} s"
        return await self._end(Outcome(Status.TIMED_OUT, error={"code": "timeout", "message": message}))

    async def parked(self, waits: Sequence[NewWait]) -> Outcome:
        if not await self.journal.park(waits):
            raise HeldElsewhere
        return Outcome(Status.WAITING, waits=waits)

    async def cancelled(self, request: Mapping[str, str]) -> Outcome:
        noted = await self.runtime.store.execution(self.execution.id)  # who asked through the API said so there
        request = (noted and noted.cancel_requested) or request
        error = cancellation(request["by"], request["reason"])
        return await self._end(Outcome(Status.CANCELLED, error=error))

    async def _end(self, outcome: Outcome, answer: Any = None) -> Outcome:
        annotate({"ipaas.status": outcome.status})
        if outcome.error:
            mark_failed(outcome.error["code"], outcome.error["message"])
        with anyio.CancelScope(shield=True):
            if await self.journal.finish(outcome.status, output=outcome.output, error=outcome.error, answer=answer):
                self._count(outcome.status)
                self._announce_end()
                return outcome
            ended = await self.runtime.store.execution(self.execution.id)
        if ended is None or not ended.status.is_final:
            raise HeldElsewhere
        return Outcome.of(ended)  # someone else was faster, or the answer to our own write got lost

    def _count(self, status: Status) -> None:
        begun = self.execution.begun_at or self.runtime.clock.now()
        seconds = max((self.runtime.clock.now() - begun).total_seconds(), 0.0)
        self.runtime.meter.execution_ended(self.execution, status, seconds)

    def _announce_end(self) -> None:
        """Wakes whoever holds its sender."""
        if self._answers_sender:
            self.runtime.store.announce(Topic.ENDED, self.execution.id)

    @property
    def _answers_sender(self) -> bool:
        return self.program.answer is not None and self.execution.trigger is Trigger.WEBHOOK

    def _answer(self, output: Any, scope: Mapping[str, Any]) -> Any:
        """What the sender gets who waits for the end; what is wrong with it is for him to see, too."""
        answer = self.program.answer
        if answer is None or not self._answers_sender:
            return None
        outcomes = {
            step.path: {"output": step.output, "status": step.status, "error": step.error}
            for step in self.journal.steps.values()
        }
        seen = {**scope, "output": output, "steps": outcomes | scope["steps"]}
        try:
            said = {name: getattr(answer, name).render(seen) for name in ("status", "body", "headers")}
        except ExpressionError as error:
            return {"problem": f"respond: {error}"}
        return self.runtime.services.masker.mask_json(said)


def _without_cause(error: IpaasError) -> IpaasError:
    error.__suppress_context__ = True
    return error
