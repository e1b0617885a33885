"""The management API: what operators and their tools read and do."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from flows.history import HistoryStore, Status
from flows.language.event import Event
from foundation.errors import NotFound
from ipaas import operations
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.payload import parse_body
from ipaas.gateway.problems import Problem
from ipaas.gateway.receive import acknowledged
from ipaas.views import (
    ExecutionList,
    ExecutionView,
    WorkflowDetail,
    WorkflowList,
    summary,
    view,
    workflow_detail,
    workflow_view,
)


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class ReplayRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    from_step: str | None = Field(
        default=None, alias="from", description="A step's id: the steps that began before it keep their results."
    )
    failed: bool = Field(default=False, description="All that succeeded keeps its results, items of loops one by one.")
    version: str | None = Field(
        default=None, description="`current`, or a version's hash; default: the one that it ran on."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> ReplayRequest:
        if self.failed and self.from_step is not None:
            raise ValueError("from and failed: a replay is of one of them")
        return self


class CancelRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=1_000)


class Replayed(BaseModel):
    execution_id: str
    replay_of: str


class Started(BaseModel):
    execution_id: str
    status: Literal["accepted", "duplicate"]
    status_url: str


class GuardedRoute(APIRoute):
    """Asks for the token before it looks at anything else. A POST needs one that may do more than read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            check_token(request)
            return await handle(request)

        return guarded


def check_token(request: Request) -> None:
    """Raises Problem: 401 without a token that is known, 403 with one that may only read."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    offered = given.strip() if scheme.lower() == "bearer" else ""
    may_write = _is_one_of(offered, request.app.state.full_tokens)
    may_read = _is_one_of(offered, request.app.state.read_tokens)
    if not (may_write or may_read):
        raise Problem(401, "needs `Authorization: Bearer TOKEN`", headers={"WWW-Authenticate": "Bearer"})
    if request.method != "GET" and not may_write:
        raise Problem(403, "this token may only read")


def _is_one_of(offered: str, tokens: Sequence[str]) -> bool:
    """In constant time. A header's bytes were read as Latin-1."""
    matches = [hmac.compare_digest(offered.encode("latin-1"), token.encode()) for token in tokens]
    return bool(offered) and any(matches)


def _in_utc(since: datetime) -> datetime:
    try:
        return since.astimezone(UTC)
    except OverflowError:
        raise ValueError("no such time in UTC") from None


class Wanted(BaseModel):
    """Which executions a list is of. A filter that does not exist is refused, not left out."""

    model_config = ConfigDict(extra="forbid")

    workflow: str | None = None
    status: Status | None = None
    since: Annotated[AwareDatetime, AfterValidator(_in_utc)] | None = None
    cursor: UUID | None = None
    limit: int = Field(default=50, ge=1, le=500)


_PROBLEM = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"description": HTTPStatus(status).phrase, "content": _PROBLEM} for status in statuses}


router = APIRouter(
    prefix="/api",
    route_class=GuardedRoute,
    dependencies=[Depends(HTTPBearer(auto_error=False, description="`IPAAS_API_TOKEN`, or one that may only read."))],
    responses=problems(401, 422, 503),
)


def _store(request: Request) -> HistoryStore:
    store: HistoryStore = request.app.state.store
    return store


def _ui(request: Request) -> str | None:
    url: str | None = request.app.state.ui_url
    return url


@router.get("/workflows", response_model=WorkflowList)
async def list_workflows(request: Request) -> Response:
    """Every workflow, with its current version and the state of its polls."""
    workflows, polls = await _store(request).workflows(), await _store(request).polls()
    return JsonResponse(WorkflowList(items=[workflow_view(workflow, polls, _ui(request)) for workflow in workflows]))


@router.get("/workflows/{name}", response_model=WorkflowDetail, responses=problems(404))
async def show_workflow(request: Request, name: str) -> Response:
    """One workflow, with its versions and the state of its polls."""
    store = _store(request)
    workflow = await store.workflow(name)
    if workflow is None:
        raise NotFound(f"no workflow {name}")
    polls, versions = await store.polls(name), await store.versions(name)
    return JsonResponse(workflow_detail(workflow, polls, versions, _ui(request)))


@router.post("/workflows/{name}/activate", response_model=WorkflowDetail, responses=problems(403, 404))
async def activate_workflow(request: Request, name: str) -> Response:
    """Its hooks accept events again, and its schedules go on. 503, and nothing changed, while Prefect is away."""
    return await _set_active(request, name, True)


@router.post("/workflows/{name}/deactivate", response_model=WorkflowDetail, responses=problems(403, 404))
async def deactivate_workflow(request: Request, name: str) -> Response:
    """Its hooks answer 409 and its schedules pause; what was accepted still runs. 503 as in activate."""
    return await _set_active(request, name, False)


async def _set_active(request: Request, name: str, active: bool) -> Response:
    await operations.set_active(_store(request), request.app.state.prefect, name, active)
    await request.app.state.hooks.refresh()
    return await show_workflow(request, name)


@router.post(
    "/workflows/{name}/executions",
    status_code=202,
    response_model=Started,
    responses=problems(400, 403, 404, 413, 429),
    openapi_extra={
        "requestBody": {
            "description": "The event's body: what the workflow's `input` asks for.",
            "content": {"application/json": {"schema": {}}},
        }
    },
)
async def start_execution(
    request: Request,
    name: str,
    idempotency_key: Annotated[str | None, Header(description="A second request with it starts nothing.")] = None,
) -> Response:
    """Starts an execution by hand, of an inactive workflow too. The request's body is the event's `body`; one that does
    not fit the workflow's `input` is a 422 whose `errors` have the failing paths."""
    state, body = request.app.state, await request.body()
    payload = await asyncio.to_thread(parse_body, request.headers.get("content-type", ""), body)
    state.backlog.check(name)
    accepted = await operations.start(
        state.store,
        state.clock,
        name,
        Event(body=payload.value),
        idempotency_key=idempotency_key,
        remembered=timedelta(days=state.settings.dedupe_days),
    )
    if not accepted.duplicate:
        state.metrics.accepted.labels(name).inc()
        state.backlog.add(name)
    return acknowledged(request, accepted, state.settings.public_url)


@router.get("/executions", response_model=ExecutionList)
async def list_executions(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
    """Newest first. `since` is by the time of acceptance; `cursor` is the `next_cursor` of the page before."""
    page = await _store(request).executions(
        workflow=wanted.workflow,
        status=wanted.status,
        since=wanted.since,
        cursor=str(wanted.cursor) if wanted.cursor else None,
        limit=wanted.limit,
    )
    items = [summary(execution, _ui(request)) for execution in page.items]
    return JsonResponse(ExecutionList(items=items, next_cursor=page.next_cursor))


@router.get("/executions/{execution_id}", response_model=ExecutionView, responses=problems(404))
async def show_execution(request: Request, execution_id: str) -> Response:
    """One execution with its event, output and steps."""
    execution = await _store(request).execution(execution_id)
    if execution is None:
        raise NotFound(f"no execution {execution_id}")
    return JsonResponse(view(execution, _ui(request)))


@router.post(
    "/executions/{execution_id}/replay",
    status_code=202,
    response_model=Replayed,
    responses=problems(400, 403, 404, 409, 413),
)
async def replay_execution(request: Request, execution_id: str, how: ReplayRequest | None = None) -> Response:
    """Runs an ended execution's event again, as a new execution."""
    how = how or ReplayRequest()
    state = request.app.state
    again = await operations.replay(
        state.store, state.clock, execution_id, from_step=how.from_step, failed=how.failed, version=how.version
    )
    return JsonResponse(Replayed(execution_id=again, replay_of=execution_id), status_code=202)


@router.post(
    "/executions/{execution_id}/cancel",
    status_code=202,
    response_model=ExecutionView,
    responses=problems(400, 403, 404, 409, 413),
)
async def cancel_execution(request: Request, execution_id: str, why: CancelRequest | None = None) -> Response:
    """Cancels an execution that has not ended: at once, or within seconds when it runs."""
    state = request.app.state
    reason = why.reason if why else ""
    execution = await operations.cancel(state.store, state.prefect, execution_id, by="the API", reason=reason)
    return JsonResponse(view(execution, _ui(request)), status_code=202)
