"""Executions and workflows as people see them: in the management API and, the same, on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from flows.engine.waiting_for import open_waits, waiting_for
from flows.history import Execution, Mode, PollState, Status, Trigger, Wait, Workflow, WorkflowVersion
from flows.history.shown import shown, shown_summary
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
    mode: Mode | None
    """How it was begun: by Prefect, or at once by a worker. Null: it was not."""
    trigger: Trigger
    status: Status
    error: Any
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    flow_run_id: str | None
    flow_run_url: str | None
    parent_id: str | None
    """The execution that called it, or whose failure started it."""
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


class PollView(BaseModel):
    poll: str
    """The action that it uses; a second one that uses it has a number."""
    every: float
    due_at: datetime
    polled_at: datetime | None
    failures: int
    error: Any
    frozen: bool
    """None has gone well for long."""


class WorkflowView(BaseModel):
    name: str
    description: str
    tags: list[str]
    active: bool
    version: str
    language: str
    triggers: Any
    polls: list[PollView]
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


def summary(execution: Execution, ui_url: str | None) -> ExecutionSummary:
    """An execution as lists show it. `ui_url` is Prefect's UI, for the link to the flow run."""
    return ExecutionSummary(**shown_summary(execution, ui_url))


def view(execution: Execution, ui_url: str | None) -> ExecutionView:
    """An execution as `GET /api/executions/{id}` and `ipaas executions show` give it."""
    waits_for = execution.waiting_for
    if execution.status is Status.WAITING:
        waits_for = waiting_for(open_waits(execution.waits))
    return ExecutionView(**shown(execution, ui_url) | {"waiting_for": waits_for})


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


def workflow_view(workflow: Workflow, polls: Sequence[PollState], ui_url: str | None) -> WorkflowView:
    """A workflow as the API gives it. Of `polls` its own are shown."""
    deployment = workflow.deployment_id
    return WorkflowView(
        name=workflow.name,
        description=workflow.current.description,
        tags=list(workflow.current.tags),
        active=workflow.active,
        version=workflow.current.version,
        language=workflow.current.language,
        triggers=(workflow.current.declaration or {}).get("triggers", []),
        polls=[_poll(poll) for poll in polls if poll.workflow == workflow.name],
        deployment_url=f"{ui_url}/deployments/deployment/{deployment}" if deployment and ui_url else None,
        updated_at=workflow.updated_at,
    )


def _poll(poll: PollState) -> PollView:
    return PollView(
        poll=poll.source,
        every=poll.every,
        due_at=poll.due_at,
        polled_at=poll.polled_at,
        failures=poll.failures,
        error=poll.error,
        frozen=poll.is_frozen,
    )


def workflow_detail(
    workflow: Workflow, polls: Sequence[PollState], versions: Sequence[WorkflowVersion], ui_url: str | None
) -> WorkflowDetail:
    listed = [version_view(one, workflow) for one in versions]
    return WorkflowDetail(**dict(workflow_view(workflow, polls, ui_url)), versions=listed)


def version_view(version: WorkflowVersion, workflow: Workflow) -> VersionView:
    return VersionView(
        version=version.version,
        language=version.language,
        file=version.file,
        created_at=version.created_at,
        current=version.version == workflow.current.version,
    )
