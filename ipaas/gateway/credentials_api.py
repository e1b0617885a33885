"""The management API for credentials: what may be shown of them, and connecting them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from foundation.errors import CredentialError
from ipaas.connecting import Connecting
from ipaas.credentials import CredentialList, credential_views
from ipaas.gateway.api import GuardedRoute, problems
from ipaas.gateway.json_response import JsonResponse
from ipaas.gateway.problems import Problem, unavailable

router = APIRouter(
    prefix="/api",
    route_class=GuardedRoute,
    dependencies=[Depends(HTTPBearer(auto_error=False))],
    responses=problems(401, 422, 503),
)


class ConnectRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="Who is told when it must be connected again."
    )


class Consent(BaseModel):
    url: str = Field(description="Where a person consents, within ten minutes.")
    redirect_uri: str = Field(description="What the vendor must know as a redirect address.")


@router.get("/credentials", response_model=CredentialList)
async def list_credentials(request: Request) -> Response:
    """Every credential with its type, its tokens' state and who uses it; never a secret. 503 while Prefect is away."""
    state = request.app.state
    try:
        views = await credential_views(state.store, lambda: nullcontext(state.prefect), state.clock)
    except CredentialError as error:
        raise unavailable(str(error), reason="credential") from None
    return JsonResponse(CredentialList(items=views))


@router.post("/credentials/{name}/connect", response_model=Consent, responses=problems(403, 409))
async def connect_credential(request: Request, name: str, asked: ConnectRequest | None = None) -> Response:
    """Where a person consents to a credential's use. 409 when there is no such credential, or nobody is asked."""
    connecting: Connecting = request.app.state.connecting
    try:
        url = await connecting.consent_url(name, by=asked.by if asked else None)
    except CredentialError as error:
        if error.retriable:
            raise unavailable(str(error), reason="credential") from None
        raise Problem(409, str(error)) from None
    return JsonResponse(Consent(url=url, redirect_uri=connecting.redirect_uri))
