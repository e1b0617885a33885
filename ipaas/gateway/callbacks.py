"""`/callbacks/{token}`: the addresses that steps can be answered at. The token is signed and says which step.

GET shows what an address is for and changes nothing: previews of links must not decide. POST acts, once.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse

from flows.history import HistoryStore, Wait, step_address
from foundation.errors import IpaasError, NotFound
from ipaas import decisions
from ipaas.gateway.approval_page import filled_in, page
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.payload import parse_body
from ipaas.gateway.problems import Problem, status_of
from ipaas.operations import Conflict

router = APIRouter(include_in_schema=False)
PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(
        ("default-src 'none'", "style-src 'unsafe-inline'", "form-action 'self'", "frame-ancestors 'none'")
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


@router.get("/callbacks/{token}")
async def show(request: Request, token: str) -> Response:
    kind, execution_id, path = _of_token(request, token)
    if kind == "approval":
        return await _page(request.app.state.store, execution_id, path)
    said = {"execution_id": execution_id, "step": path, "detail": "a POST to this address is the step's output"}
    return JsonResponse(said, headers=PRIVATE)


@router.post("/callbacks/{token}")
async def act(request: Request, token: str) -> Response:
    kind, execution_id, path = _of_token(request, token)
    state = request.app.state
    content_type = request.headers.get("content-type", "")
    body = parse_body(content_type, await request.body()).value
    if kind == "callback":
        await decisions.call_back(state.store, execution_id, path, body)
    elif content_type.startswith("application/x-www-form-urlencoded"):
        return await _decided_by_form(request, execution_id, path, body or {})
    else:
        await decisions.decide(state.store, f"{execution_id}:{path}", _decision(body))
    return JsonResponse({"status": "accepted", "execution_id": execution_id}, status_code=202, headers=PRIVATE)


def _of_token(request: Request, token: str) -> tuple[str, str, str]:
    """The kind, the execution and the path. Raises Problem."""
    found: tuple[str, str, str] | None = request.app.state.callbacks.read(token)
    if found is None:
        raise Problem(404, "there is no such address")
    return found


def _decision(body: Any) -> decisions.Decision:
    """Raises Problem."""
    said = body if isinstance(body, dict) else {}
    by = said.get("by")
    if said.get("decision") not in ("approve", "reject") or not (by is None or isinstance(by, str)):
        raise Problem(422, 'expected {"decision": "approve" or "reject", "form": {…}, "by": "…"}')
    return decisions.Decision(said["decision"] == "approve", said.get("form"), by and by[:200])


async def _decided_by_form(request: Request, execution_id: str, path: str, fields: dict[str, Any]) -> Response:
    state, wait = request.app.state, None
    try:
        wait = await decisions.approval_of(state.store, f"{execution_id}:{path}")
        decision = _decision({**fields, "form": filled_in(wait, fields), "by": fields.get("by") or None})
        await decisions.decide(state.store, f"{execution_id}:{path}", decision)
    except (Conflict, NotFound, decisions.UnfitForm) as error:
        return await _page(state.store, execution_id, path, error=error, fields=fields)
    return await _page(state.store, execution_id, path)


async def _page(
    store: HistoryStore,
    execution_id: str,
    path: str,
    *,
    error: IpaasError | None = None,
    fields: dict[str, Any] | None = None,
) -> Response:
    wait: Wait | None = await store.wait_at(step_address(execution_id, path))
    execution = await store.execution(execution_id)
    if execution is None:
        raise NotFound(f"no execution {execution_id}")
    text = page(execution, wait, error=str(error) if error else None, fields=fields or {})
    return HTMLResponse(text, status_code=status_of(error) if error else 200, headers=PRIVATE)
