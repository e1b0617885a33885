"""The step engine: walks a workflow's steps for one event. It knows nothing of Prefect.

What it calls per step is a seam, `Invoke`: a Prefect task in a flow run, the plain function elsewhere. Compiling is
done once per version, walking once per execution.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from connectors.kit.action import Action
from connectors.kit.registry import get as find_action
from connectors.kit.registry import registry
from connectors.kit.retry import RetryPolicy
from flows.engine.step import RecordedSteps, StepPlan, current_plan, error_document
from flows.history import Status, StepExecution
from flows.language.definition import Workflow
from flows.language.plan import CompiledStep, CompiledWorkflow, compile_workflow
from foundation.clock import Clock
from foundation.errors import IpaasError, StorageUnavailable


@dataclass(frozen=True)
class ReadyStep:
    """A compiled step with its action. `after` are the steps it waits for, in the order they stand in the workflow."""

    id: str
    action: Action[..., Any]
    compiled: CompiledStep
    plan: StepPlan
    after: Sequence[str]


@dataclass(frozen=True)
class ReadyWorkflow:
    """A workflow that can be walked. Made once per version."""

    compiled: CompiledWorkflow
    steps: Sequence[ReadyStep]


class Invoke(Protocol):
    async def __call__(self, step: ReadyStep, arguments: Mapping[str, Any]) -> Any:
        """Calls the step's action, recorded by the current `StepRunner`; its result."""
        ...


def make_ready(workflow: Workflow) -> ReadyWorkflow:
    """Everything that can be worked out before an event comes.

    Raises:
        DefinitionError, NotFound: what `ipaas check` finds.
    """
    compiled = compile_workflow(workflow, registry())
    order = [step.step.id for step in compiled.steps]
    return ReadyWorkflow(compiled, [_make_ready(step, order) for step in compiled.steps])


def _make_ready(compiled: CompiledStep, order: Sequence[str]) -> ReadyStep:
    step = compiled.step
    retry = RetryPolicy(**step.retry.model_dump()) if step.retry else None
    return ReadyStep(
        id=step.id,
        action=find_action(step.uses),
        compiled=compiled,
        plan=StepPlan(step.id, retry=retry, timeout=step.timeout),
        after=[one for one in order if one in compiled.depends_on],
    )


async def run_workflow(
    workflow: ReadyWorkflow,
    *,
    event: Mapping[str, Any],
    execution_id: str,
    steps: RecordedSteps,
    invoke: Invoke,
    clock: Clock,
) -> Any:
    """Runs every step and returns the workflow's output.

    Raises:
        IpaasError: a step failed, with the step's id in `step_id`; or an expression did.
    """
    scope = {
        "event": event,
        "workflow": {"name": workflow.compiled.workflow.name},
        "execution": {"id": execution_id},
        "now": clock.now(),
        "steps": {},
    }
    scope["vars"] = workflow.compiled.vars.render(scope)
    walk = _Walk(scope, steps, invoke)
    await walk.run(workflow.steps)
    return workflow.compiled.output.render(scope)


class _Walk:
    """One execution's way through its steps: those whose needs are met run at the same time."""

    def __init__(self, scope: Mapping[str, Any], steps: RecordedSteps, invoke: Invoke) -> None:
        self._scope, self._steps, self._invoke = scope, steps, invoke
        self._outcomes: dict[str, Any] = scope["steps"]

    async def run(self, steps: Sequence[ReadyStep]) -> None:
        if all(step.after == [before.id] for before, step in pairwise(steps)):
            for step in steps:  # one after the other, as most workflows are: no task for each
                await self._run(step)
            return
        try:
            async with asyncio.TaskGroup() as group:
                tasks: dict[str, asyncio.Task[None]] = {}
                for step in steps:
                    tasks[step.id] = group.create_task(self._run_after([tasks[one] for one in step.after], step))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _run_after(self, before: Sequence[asyncio.Task[None]], step: ReadyStep) -> None:
        if before:
            await asyncio.wait(before)
            if any(task.cancelled() or task.exception() for task in before):
                return  # the group is being cancelled
        await self._run(step)

    async def _run(self, step: ReadyStep) -> None:
        known = self._steps.known.get(step.id)
        outcome = _outcome(known) if known else await self._call(step)
        if outcome["status"] == Status.FAILED and step.compiled.step.on_error == "fail":
            raise StepFailed(step.id, outcome["error"])
        self._outcomes[step.id] = outcome

    async def _call(self, step: ReadyStep) -> dict[str, Any]:
        name = step.action.action_name
        try:
            condition = step.compiled.condition
            if condition is not None and not condition.render(self._scope):
                await self._steps.skip(step.id, name)
                return {"status": Status.SKIPPED, "output": None, "error": None}
            arguments = step.compiled.arguments.render(self._scope)
            if step.compiled.step.credential:
                arguments["credential"] = step.compiled.step.credential
        except IpaasError as error:
            await self._steps.fail(step.id, name, error)
            return {"status": Status.FAILED, "output": None, "error": error_document(error)}
        plan = current_plan.set(step.plan)
        try:
            output = await self._invoke(step, arguments)
        except StorageUnavailable:
            raise  # not the step's failure: it could not be recorded
        except IpaasError as error:
            return {"status": Status.FAILED, "output": None, "error": error_document(error)}
        finally:
            current_plan.reset(plan)
        return {"status": Status.SUCCEEDED, "output": output, "error": None}


class StepFailed(IpaasError):
    """A step failed and the workflow does not go on; code and message are the step's own error's."""

    def __init__(self, step_id: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"step {step_id}: {error['message']}")
        self.step_id = step_id
        self.code = error["code"]  # type: ignore[misc]  # the step's own


def _outcome(step: StepExecution) -> dict[str, Any]:
    return {"status": step.status, "output": step.output, "error": step.error}


async def invoke_directly(step: ReadyStep, arguments: Mapping[str, Any]) -> Any:
    """The action as a plain function: in `ipaas run --local`, dry runs and tests."""
    return await step.action.fn(**arguments)
