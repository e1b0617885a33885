"""The management API for executions that wait: approvals and signals."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from flows.history import Delivery
from ipaas import decisions
from ipaas.gateway.api import GuardedRoute, problems
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.payload import parse_body
from ipaas.views import ApprovalList, ApprovalView, approval_view

THE_API = "the API"
router = APIRouter(
    prefix="/api",
    route_class=GuardedRoute,
    dependencies=[Depends(HTTPBearer(auto_error=False))],
    responses=problems(401, 422, 503),
)


class DecisionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "reject"]
    form: Any = None
    by: str = Field(default=THE_API, max_length=200, description="Who decided.")


class SignalSent(BaseModel):
    delivered: bool = Field(description="Whether a step waited for it.")
    status: Delivery


@router.get("/approvals", response_model=ApprovalList)
async def list_approvals(request: Request) -> Response:
    """What waits for a decision, oldest first."""
    waits = await decisions.approvals(request.app.state.store)
    return JsonResponse(ApprovalList(items=[approval_view(wait) for wait in waits]))


@router.post("/approvals/{approval_id}", response_model=ApprovalView, responses=problems(403, 404, 409))
async def decide_approval(request: Request, approval_id: str, decision: DecisionRequest) -> Response:
    """Decides. The id is the approval's, or its execution's when that asks for one only."""
    state = request.app.state
    made = decisions.Decision(decision.decision == "approve", decision.form, decision.by)
    wait = await decisions.decide(state.store, approval_id, made)
    return JsonResponse(approval_view(wait))


@router.post("/signals/{name}", status_code=202, response_model=SignalSent, responses=problems(400, 403))
async def send_signal(request: Request, name: str) -> Response:
    """Sends a signal; its body is the request's. One that nobody waits for yet is kept for a week."""
    state = request.app.state
    body = parse_body(request.headers.get("content-type", ""), await request.body()).value
    delivery = await decisions.signal(state.store, name, body, by=THE_API)
    sent = SignalSent(delivered=delivery is Delivery.DELIVERED, status=delivery)
    return JsonResponse(sent, status_code=202)
