"""An execution in this process alone, and those that it calls: nobody else admits, wakes or runs anything of it.

`ipaas run --local` and tests. Time is the clock's: one that moves by itself when it is slept by makes no wait long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from flows.engine.execution import accept_event, run_execution
from flows.engine.invoke import Invoke, call_directly
from flows.engine.journal import BufferedJournal, OpenJournal
from flows.engine.program import Program
from flows.engine.runtime import Runtime
from flows.engine.step import Perform, perform
from flows.history import Execution, Trigger, WorkflowVersion
from flows.language.event import Event
from foundation.errors import NotFound

_AT_ONCE = 100
_CLAIM_SECONDS = 3_600.0


async def run_inline(
    runtime: Runtime,
    program: Program,
    event: Event,
    *,
    program_of: Callable[[WorkflowVersion], Program],
    invoke: Invoke = call_directly,
    perform: Perform = perform,
    open_journal: OpenJournal = BufferedJournal,
    trigger: Trigger = Trigger.MANUAL,
) -> Execution:
    """Runs the workflow for this event to its end, with every wait; the execution.

    One that waits for what can't come by itself, a signal or a decision without a timeout, is returned as it waits.

    Args:
        program_of: compiles a workflow that is called, which must be published in the runtime's history.
    """
    store = runtime.store
    root = await accept_event(runtime, program, event, trigger=trigger, alone=True)
    programs = {(program.version.workflow, program.version.version): program}
    begun = {root: None}
    while True:
        while admitted := await store.admit(limit=_AT_ONCE, claim=_CLAIM_SECONDS):
            for one in admitted:
                begun[one.id] = None
                key = (one.workflow, one.version)
                if key not in programs:
                    programs[key] = program_of(await _published(runtime, *key))
                await run_execution(
                    runtime, one.id, programs[key], invoke=invoke, perform=perform, open_journal=open_journal
                )
        executions = [found for one in begun if (found := await store.execution(one))]
        due = [wait.due_at for one in executions for wait in one.waits if wait.due_at and wait.ended_at is None]
        if admitted.due is not None:
            due.append(runtime.clock.now() + timedelta(seconds=admitted.due))
        if executions[0].status.is_final or not due:
            return executions[0]
        await runtime.clock.sleep(max((min(due) - runtime.clock.now()).total_seconds(), 0.0))


async def _published(runtime: Runtime, workflow: str, version: str) -> WorkflowVersion:
    published = await runtime.store.version(workflow, version)
    if published is None:
        raise NotFound(f"workflow {workflow} has no version {version}")
    return published
