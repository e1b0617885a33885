"""`http`: any system that speaks HTTP."""

from __future__ import annotations

from typing import Any, TypedDict

from blocks.credential_types import ApiKey, BasicAuth, BearerToken
from blocks.oauth2 import OAuth2
from blocks.service_accounts import GitHubApp, GoogleServiceAccount
from connectors.kit.action import Url, action
from connectors.kit.api import Api
from connectors.kit.auth import Proof, basic, bearer
from foundation.duration import Seconds
from foundation.errors import ActionError

API = Api(
    "http",
    auth={
        BearerToken: bearer("token"),
        BasicAuth: basic("username", "password"),
        OAuth2: bearer("access_token"),
        GoogleServiceAccount: bearer("access_token"),
        GitHubApp: bearer("access_token"),
        ApiKey: lambda credential: Proof(headers={credential.header: credential.reveal("key")}),
    },
    idempotency_header="Idempotency-Key",
)


class HttpResponse(TypedDict):
    """`body` is parsed JSON if the answer is JSON, else text; None if it is empty, `{"base64": …}` if it is binary."""

    status: int
    headers: dict[str, str]
    body: Any


@action("http.request", credential=tuple(API.auth))
async def request(
    *,
    url: Url,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    query: dict[str, Any] | None = None,
    json: Any = None,
    form: dict[str, Any] | None = None,
    body: str | None = None,
    timeout: Seconds | None = None,
    expect: list[int] | None = None,
    credential: str | None = None,
) -> HttpResponse:
    """Sends an HTTP request: https://www.rfc-editor.org/rfc/rfc9110

    POST and PATCH carry an `Idempotency-Key` that is the same over retries and restarts. Redirects are followed.
    An address from data, or from a redirect, must be public.

    Args:
        url: an http or https address; written literally, anywhere.
        method: GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS.
        headers: the request's headers.
        query: added to the URL's query; a list repeats its key.
        json: the body, as JSON.
        form: the body, as form fields.
        body: the body, as text.
        timeout: seconds, or `30s` and the like, for one attempt; default: 5 s to connect, then 30 s of silence.
        expect: statuses from 400 on that don't fail the step.
        credential: the name of a credential of type basic, bearer, api-key, oauth2,
            google-service-account or github-app.

    Returns:
        Status, headers (their names in lower case) and body.
    """
    if sum(given is not None for given in (json, form, body)) > 1:
        raise ActionError("http.request: give one of json, form and body")
    answer = await API.request(
        method,
        url,
        headers=headers,
        query=query,
        json=json,
        form=form,
        content=body,
        timeout=timeout,
        expect=expect or (),
        credential=credential,
    )
    return {"status": answer.status, "headers": dict(answer.headers), "body": answer.value()}
