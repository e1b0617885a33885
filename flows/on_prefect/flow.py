"""A workflow as a Prefect flow: one flow per workflow version, one task run per step."""

from __future__ import annotations

from typing import Any, cast

from prefect import Flow

from flows.engine.program import Program
from flows.history import WorkflowVersion
from flows.language.definition import Declaration, content_hash
from flows.on_prefect.run import record_cancellation, run_program


class WorkflowFlow(Flow[..., Any]):
    """A Prefect flow made of a workflow, which knows what it was made of. Made by `make_flow`."""

    program: Program
    """What the flow runs as a recorded execution; `ipaas run --local` runs the same without Prefect."""
    declaration: Declaration
    published: WorkflowVersion

    @property
    def file(self) -> str:
        return self.published.file

    def with_options(self, **options: Any) -> WorkflowFlow:
        return _knowing(cast(WorkflowFlow, super().with_options(**options)), self.program)


def make_flow(program: Program) -> WorkflowFlow:
    """A flow that runs the program as a recorded execution. Its one parameter is the event."""
    declaration = program.declaration

    async def execute(event: Any = None) -> Any:
        return await run_program(program, event)

    execute.__name__ = declaration.name.replace("-", "_")
    execute.__doc__ = declaration.description
    flow = WorkflowFlow(
        execute,
        name=declaration.name,
        version=program.version.version,
        description=declaration.description or None,
        timeout_seconds=declaration.timeout,
        validate_parameters=False,  # the event is checked by us: what a sender may send is not for Prefect to interpret
        persist_result=False,
        on_cancellation=[record_cancellation],
    )
    return _knowing(flow, program)


def _knowing(flow: WorkflowFlow, program: Program) -> WorkflowFlow:
    flow.program, flow.declaration, flow.published = program, program.declaration, program.version
    return flow


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
