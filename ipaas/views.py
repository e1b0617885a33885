"""Executions and workflows as people see them: in the management API and, the same, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from flows.engine.waiting_for import open_waits, waiting_for
from flows.history import Execution, Status, StepExecution, Trigger, Wait, Workflow, WorkflowVersion
from ipaas.decisions import approval_id


class StepView(BaseModel):
    id: str
    action: str
    status: Status
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    output: Any
    error: Any


class ExecutionSummary(BaseModel):
    id: str
    workflow: str
    version: str
    trigger: Trigger
    status: Status
    error: Any
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    flow_run_id: str | None
    flow_run_url: str | None
    replay_of: str | None
    replayed_by: str | None
    """Its newest replay: a failed execution without one is still to be dealt with."""


class ExecutionView(ExecutionSummary):
    waiting_for: str | None
    """What a step waits for; of an accepted one why it is not admitted yet: `concurrency customer=42`."""
    event: Any
    output: Any
    steps: list[StepView]


class ExecutionList(BaseModel):
    items: list[ExecutionSummary]
    next_cursor: str | None


class ApprovalView(BaseModel):
    id: str
    execution_id: str
    step: str
    message: str
    form: Any
    """A JSON Schema."""
    asked_at: datetime
    due_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    decision: Any


class ApprovalList(BaseModel):
    items: list[ApprovalView]
    next_cursor: str | None = None


class WorkflowView(BaseModel):
    name: str
    description: str
    tags: list[str]
    active: bool
    version: str
    language: str
    triggers: Any
    deployment_url: str | None
    updated_at: datetime | None


class VersionView(BaseModel):
    version: str
    language: str
    file: str
    created_at: datetime | None
    """When it was published for the first time."""
    current: bool


class WorkflowDetail(WorkflowView):
    versions: list[VersionView]
    """The newest first."""


class WorkflowList(BaseModel):
    items: list[WorkflowView]
    next_cursor: str | None = None


def summary(execution: Execution, ui_url: str | None) -> dict[str, Any]:
    """An execution as lists show it. `ui_url` is Prefect's UI, for the link to the flow run."""
    run = execution.flow_run_id
    return {
        "id": execution.id,
        "workflow": execution.workflow,
        "version": execution.version,
        "trigger": execution.trigger,
        "status": execution.status,
        "error": execution.error,
        "accepted_at": execution.accepted_at,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "flow_run_id": run,
        "flow_run_url": f"{ui_url}/runs/flow-run/{run}" if run and ui_url else None,
        "replay_of": execution.replay_of,
        "replayed_by": execution.replayed_by,
    }


def view(execution: Execution, ui_url: str | None) -> ExecutionView:
    """An execution as `GET /api/executions/{id}` and `ipaas executions show` give it."""
    return ExecutionView(
        **summary(execution, ui_url),
        waiting_for=waiting_for(open_waits(execution.waits))
        if execution.status is Status.WAITING
        else execution.waiting_for,
        event=execution.event,
        output=execution.output,
        steps=[_step(step) for step in execution.steps],
    )


def approval_view(wait: Wait) -> ApprovalView:
    return ApprovalView(
        id=approval_id(wait),
        execution_id=wait.execution_id,
        step=wait.path,
        message=wait.document["message"],
        form=wait.document["form"],
        asked_at=wait.begun_at,
        due_at=wait.due_at,
        decided_at=wait.ended_at,
        decided_by=wait.answered_by,
        decision=wait.answer,
    )


def _step(step: StepExecution) -> StepView:
    return StepView(
        id=step.path,
        action=step.action,
        status=step.status,
        attempts=step.attempts,
        started_at=step.started_at,
        finished_at=step.finished_at,
        output=step.output,
        error=step.error,
    )


def workflow_view(workflow: Workflow, ui_url: str | None) -> WorkflowView:
    deployment = workflow.deployment_id
    return WorkflowView(
        name=workflow.name,
        description=workflow.current.description,
        tags=list(workflow.current.tags),
        active=workflow.active,
        version=workflow.current.version,
        language=workflow.current.language,
        triggers=(workflow.current.declaration or {}).get("triggers", []),
        deployment_url=f"{ui_url}/deployments/deployment/{deployment}" if deployment and ui_url else None,
        updated_at=workflow.updated_at,
    )


def workflow_detail(workflow: Workflow, versions: Sequence[WorkflowVersion], ui_url: str | None) -> WorkflowDetail:
    listed = [version_view(one, workflow) for one in versions]
    return WorkflowDetail(**dict(workflow_view(workflow, ui_url)), versions=listed)


def version_view(version: WorkflowVersion, workflow: Workflow) -> VersionView:
    return VersionView(
        version=version.version,
        language=version.language,
        file=version.file,
        created_at=version.created_at,
        current=version.version == workflow.current.version,
    )
