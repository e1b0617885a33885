"""Compiles workflows into Prefect flows: one flow per workflow version, one task run per step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from prefect import Flow, State, allow_failure

from flows.engine.execution import Body, record_cancellation, run_execution
from flows.engine.runtime import current_runtime
from flows.engine.step import RecordedSteps
from flows.engine.walk import ReadyStep, invoke_directly, make_ready, run_workflow
from flows.history import Execution, WorkflowVersion
from flows.language.definition import Declaration, content_hash
from flows.language.event import Event
from flows.language.yaml_source import load_workflow
from flows.on_prefect.internals import current_flow_run


class WorkflowFlow(Flow[..., Any]):
    """A Prefect flow made of a workflow, which knows what it was made of. Made by `make_flow`."""

    declaration: Declaration
    published: WorkflowVersion
    body: Body
    """What the flow runs as a recorded execution; `ipaas run --local` runs the same without Prefect."""

    @property
    def file(self) -> str:
        return self.published.file

    def with_options(self, **options: Any) -> WorkflowFlow:
        changed = cast(WorkflowFlow, super().with_options(**options))
        changed.declaration, changed.published, changed.body = self.declaration, self.published, self.body
        return changed


def compile_version(version: WorkflowVersion) -> WorkflowFlow:
    """The Prefect flow of a published version.

    Raises:
        DefinitionError: it does not compile (any more); `ipaas check` finds the same.
    """
    if version.language == "python":
        from flows.on_prefect.python_source import load_python  # imports user code, which imports `flows`

        return load_python(version)
    definition = load_workflow(version.source, file=version.file)
    ready = make_ready(definition)

    async def body(event: Event, execution: Execution, steps: RecordedSteps) -> Any:
        async with current_runtime() as runtime:
            return await run_workflow(
                ready,
                event=event.document(),
                execution_id=execution.id,
                steps=steps,
                invoke=PrefectInvoke() if current_flow_run() else invoke_directly,
                clock=runtime.clock,
            )

    return make_flow(definition, version, body)


def make_flow(
    declaration: Declaration,
    version: WorkflowVersion,
    body: Body,
) -> WorkflowFlow:
    """A flow that runs `body` as a recorded execution. Its one parameter is the event."""

    async def execute(event: Any = None) -> Any:
        return await run_execution(version, declaration.timeout, event, body)

    execute.__name__ = declaration.name.replace("-", "_")
    execute.__doc__ = declaration.description
    flow = WorkflowFlow(
        execute,
        name=declaration.name,
        version=version.version,
        description=declaration.description or None,
        timeout_seconds=declaration.timeout,
        validate_parameters=False,  # the event is checked by us: what a sender may send is not for Prefect to interpret
        persist_result=False,
        on_cancellation=[record_cancellation],
    )
    flow.declaration, flow.published, flow.body = declaration, version, body
    return flow


class PrefectInvoke:
    """Calls each step as a Prefect task, named after the step, with edges to the steps it waited for."""

    def __init__(self) -> None:
        self._states: dict[str, State[Any]] = {}

    async def __call__(self, step: ReadyStep, arguments: Mapping[str, Any]) -> Any:
        task = step.action.with_options(name=step.id, task_run_name=step.id)
        # A step that failed and may (`on_error: continue`) holds up none; without this, Prefect would start no other.
        waited_for = [allow_failure(self._states[one]) for one in step.after if one in self._states]
        state: State[Any] = await task(**arguments, return_state=True, wait_for=waited_for)
        self._states[step.id] = state
        return await state.aresult()


def version_of(declaration: Declaration, source: str, *, language: str, file: str) -> WorkflowVersion:
    """What is published of a workflow's file."""
    return WorkflowVersion(
        workflow=declaration.name,
        version=content_hash(source),
        language=language,
        source=source,
        file=file,
        description=declaration.description,
        tags=declaration.tags,
        declaration=declaration.model_dump(mode="json", include=set(Declaration.model_fields)),
    )


def yaml_version(path: Path) -> WorkflowVersion:
    """What is published of a YAML file. Raises DefinitionError."""
    source = path.read_text(encoding="utf-8-sig")
    return version_of(load_workflow(path), source, language="yaml", file=str(path.resolve()))
