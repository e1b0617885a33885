"""The management API: what operators and their tools read and do."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from blocks.errors import NotFound
from flows.history import Execution, HistoryStore, Status, StepExecution, Trigger, Workflow
from ipaas import operations
from ipaas.gateway.problems import Problem


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


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


class ExecutionView(ExecutionSummary):
    event: Any
    output: Any
    steps: list[StepView]


class ExecutionList(BaseModel):
    items: list[ExecutionSummary]
    next_cursor: str | None


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


class WorkflowList(BaseModel):
    items: list[WorkflowView]
    next_cursor: str | None = None


class ReplayRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    from_step: str | None = None
    version: str | None = None


class CancelRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = ""


class Replayed(BaseModel):
    execution_id: str
    replay_of: str


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
    }


def view(execution: Execution, ui_url: str | None) -> ExecutionView:
    """An execution as `GET /api/executions/{id}` and `ipaas executions show` give it."""
    return ExecutionView(
        **summary(execution, ui_url),
        event=execution.event,
        output=execution.output,
        steps=[_step(step) for step in execution.steps],
    )


def _step(step: StepExecution) -> StepView:
    return StepView(
        id=step.step_id,
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
        triggers=workflow.current.declaration["triggers"],
        deployment_url=f"{ui_url}/deployments/deployment/{deployment}" if deployment and ui_url else None,
        updated_at=workflow.updated_at,
    )


def authorized(tokens: Sequence[str], request: Request) -> bool:
    """Whether the request carries one of the tokens; compared in constant time."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    offered = given.strip().encode("utf-8", "surrogateescape")
    matches = [hmac.compare_digest(offered, token.encode()) for token in tokens]
    return scheme.lower() == "bearer" and any(matches)


async def may_read(request: Request) -> None:
    _require(request, (*request.app.state.full_tokens, *request.app.state.read_tokens))


async def may_write(request: Request) -> None:
    if not authorized(request.app.state.full_tokens, request) and authorized(request.app.state.read_tokens, request):
        raise Problem(403, "this token may only read")
    _require(request, request.app.state.full_tokens)


def _require(request: Request, tokens: Sequence[str]) -> None:
    if not authorized(tokens, request):
        raise Problem(401, "needs `Authorization: Bearer TOKEN`", headers={"WWW-Authenticate": "Bearer"})


PROBLEM: dict[str, Any] = {"model": ProblemDocument, "content": {"application/problem+json": {}}}
router = APIRouter(
    prefix="/api",
    responses={401: PROBLEM, 403: PROBLEM, 422: PROBLEM, 503: PROBLEM},
)
READ, WRITE = [Depends(may_read)], [Depends(may_write)]


def _store(request: Request) -> HistoryStore:
    store: HistoryStore = request.app.state.store
    return store


def _ui(request: Request) -> str | None:
    url: str | None = request.app.state.ui_url
    return url


@router.get("/workflows", dependencies=READ)
async def list_workflows(request: Request) -> WorkflowList:
    """Every workflow, with its current version."""
    workflows = await _store(request).workflows()
    return WorkflowList(items=[workflow_view(workflow, _ui(request)) for workflow in workflows])


@router.get("/workflows/{name}", dependencies=READ, responses={404: PROBLEM})
async def show_workflow(request: Request, name: str) -> WorkflowView:
    workflow = await _store(request).workflow(name)
    if workflow is None:
        raise NotFound(f"no workflow {name}")
    return workflow_view(workflow, _ui(request))


@router.post("/workflows/{name}/activate", dependencies=WRITE, responses={404: PROBLEM})
async def activate_workflow(request: Request, name: str) -> WorkflowView:
    """Its hooks accept events again."""
    return await _set_active(request, name, True)


@router.post("/workflows/{name}/deactivate", dependencies=WRITE, responses={404: PROBLEM})
async def deactivate_workflow(request: Request, name: str) -> WorkflowView:
    """Its hooks answer 409 and its schedules pause; what was accepted still runs."""
    return await _set_active(request, name, False)


async def _set_active(request: Request, name: str, active: bool) -> WorkflowView:
    await operations.set_active(_store(request), request.app.state.prefect, name, active)
    await request.app.state.hooks.refresh()
    return await show_workflow(request, name)


@router.get("/executions", dependencies=READ)
async def list_executions(
    request: Request,
    workflow: str | None = None,
    status: Status | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> ExecutionList:
    """Newest first. `since` is by the time of acceptance."""
    if since is not None and since.tzinfo is None:
        raise Problem(422, "since: needs a time zone, as in 2026-01-31T12:00:00Z")
    page = await _store(request).executions(workflow=workflow, status=status, since=since, cursor=cursor, limit=limit)
    items = [ExecutionSummary(**summary(execution, _ui(request))) for execution in page.items]
    return ExecutionList(items=items, next_cursor=page.next_cursor)


@router.get("/executions/{execution_id}", dependencies=READ, responses={404: PROBLEM})
async def show_execution(request: Request, execution_id: str) -> ExecutionView:
    """One execution with its event, output and steps."""
    execution = await _store(request).execution(execution_id)
    if execution is None:
        raise NotFound(f"no execution {execution_id}")
    return view(execution, _ui(request))


@router.post(
    "/executions/{execution_id}/replay", dependencies=WRITE, status_code=202, responses={404: PROBLEM, 409: PROBLEM}
)
async def replay_execution(request: Request, execution_id: str, how: ReplayRequest | None = None) -> Replayed:
    """Runs an ended execution's event again, as a new execution."""
    how = how or ReplayRequest()
    state = request.app.state
    again = await operations.replay(
        state.store, state.clock, execution_id, from_step=how.from_step, version=how.version
    )
    state.dispatcher.poke()
    return Replayed(execution_id=again, replay_of=execution_id)


@router.post(
    "/executions/{execution_id}/cancel", dependencies=WRITE, status_code=202, responses={404: PROBLEM, 409: PROBLEM}
)
async def cancel_execution(request: Request, execution_id: str, why: CancelRequest | None = None) -> ExecutionView:
    """Cancels an execution that has not ended."""
    state = request.app.state
    reason = why.reason if why else ""
    execution = await operations.cancel(
        state.store, state.prefect, state.clock, execution_id, by="the API", reason=reason
    )
    return view(execution, _ui(request))
