"""A version of a workflow as the engine runs it, made from YAML steps or from an author's function."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.engine.calls import calling
from flows.engine.failures import error_document
from flows.engine.invoke import EngineAction
from flows.engine.step import Steps
from flows.engine.walk import walk
from flows.expressions import Expression
from flows.history import WorkflowVersion
from flows.language.code import hosts_in_code
from flows.language.definition import Declaration
from flows.language.event import Event
from flows.language.outcomes import StepFailed, Stopped, as_seen
from flows.language.workflow import CompiledResponse, Workflow, compile_answer
from foundation.errors import IpaasError

logger = logging.getLogger("ipaas.engine")


@dataclass(frozen=True)
class Run:
    """One execution while it runs, as its workflow sees it.

    Attributes:
        scope: what expressions see; `steps` fills up as they end.
    """

    event: Event
    scope: dict[str, Any]
    steps: Steps


Body = Callable[[Run], Awaitable[Any]]
"""What a workflow does: the walk of a YAML definition, or the author's Python function. Returns the output."""
OnFailure = Callable[[Run, Exception], Awaitable[None]]
"""What else it does when that raised something."""


async def _nothing(run: Run, failure: Exception) -> None: ...


@dataclass(frozen=True)
class Program:
    """A version of a workflow, ready to run. Made once, shared by all its executions.

    Attributes:
        actions: what its steps can use, by name.
        vars: None: it has none.
        answer: what a sender who waits for the end gets; None: nobody waits.
        on_failure: raises nothing that would hide the failure.
    """

    version: WorkflowVersion
    declaration: Declaration
    body: Body
    actions: Mapping[str, EngineAction]
    vars: Expression | None = None
    answer: CompiledResponse | None = None
    on_failure: OnFailure = _nothing


def program_of_steps(version: WorkflowVersion, workflow: Workflow, actions: Mapping[str, EngineAction]) -> Program:
    """The program of a compiled YAML workflow."""

    async def body(run: Run) -> Any:
        run.scope.update(run.steps.with_callbacks(run.scope, workflow.steps))
        try:
            await walk(workflow.steps, run.scope, run.steps)
        except Stopped as stop:
            return stop.output
        return workflow.rendered_output.render(run.scope)

    async def on_failure(run: Run, failure: Exception) -> None:
        run.scope.update(run.steps.with_callbacks(run.scope, workflow.on_failure))
        error = {"step": failure.path if isinstance(failure, IpaasError) else None, **error_document(failure)}
        try:
            await walk(workflow.on_failure, {**run.scope, "error": as_seen(error)}, run.steps)
        except StepFailed as second:
            logger.warning("on_failure of %s failed, too: %s", workflow.name, second)
        except Stopped:
            return

    return Program(version, workflow, body, actions, workflow.rendered_vars, _answer(workflow), on_failure)


def program_of_function(
    version: WorkflowVersion, declaration: Declaration, function: Callable[[Event], Awaitable[Any]]
) -> Program:
    """The program of an author's function, whose calls of actions are its steps."""

    namespace = getattr(function, "__globals__", {})
    code = inspect.unwrap(function).__code__

    def wrote_host(host: str) -> bool:
        return host in hosts_in_code(version.source, namespace)

    async def body(run: Run) -> Any:
        async with calling(run.steps, run.scope, code.co_filename, wrote_host):
            return await function(run.event)

    return Program(version, declaration, body, {}, answer=_answer(declaration))


def _answer(declaration: Declaration) -> CompiledResponse | None:
    return compile_answer(declaration.respond) if declaration.respond.when == "finished" else None
