"""`openapi.call`: any operation of any API that has an OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from connectors.http import HttpResponse
from connectors.kit.action import Unrendered, action
from connectors.kit.description import URL
from connectors.openapi import project
from connectors.openapi.operation import read_operation
from connectors.openapi.proof import TYPES, ApiKeys
from connectors.openapi.sending import Config, Wanted, call_operation
from connectors.openapi.sources import is_url
from foundation.duration import Seconds

__all__ = ["ApiKeys", "call"]


@action("openapi.call", credential=tuple(TYPES.values()), narrowed_by="connectors.openapi.described:describe_call")
async def call(
    *,
    spec: Unrendered,
    operation: Unrendered,
    parameters: dict[str, Any] | None = None,
    body: Any = None,
    server: Annotated[str | None, URL] = None,
    variables: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    content_type: str | None = None,
    paginate: dict[str, Any] | None = None,
    check: bool = True,
    timeout: Seconds | None = None,
    expect: list[int] | None = None,
    credential: str | None = None,
) -> HttpResponse:
    """Calls an operation of an OpenAPI document: https://spec.openapis.org/oas/v3.1.1.html

    POST and PATCH carry an `Idempotency-Key` that is the same over retries and restarts. What the document does not
    take is not sent.

    Args:
        spec: a connector of the project, a file of it, `package:NAME/FILE` or a URL, which may end in `#sha256=…`;
            written literally.
        operation: its operationId, or `GET /path`; written literally.
        parameters: by name, wherever they stand; `query.NAME` and the like where a name is there twice.
        body: the request's body; bytes are `{"base64": …}`.
        server: the API's address, instead of the document's.
        variables: values of the variables in the server's address.
        headers: further headers.
        content_type: the body's, if the operation takes several.
        paginate: how the list goes on, as `{style: link_header}`; the output's body is then the list of all items.
        check: whether the call is held against the document's schemas.
        timeout: seconds, or `30s` and the like, for one attempt.
        expect: statuses from 400 on that don't fail the step.
        credential: the name of a credential of the type that the document wants.

    Returns:
        Status, headers (their names in lower case) and body.
    """
    document = project.open_document(spec)
    options = {
        "server": server,
        "variables": variables,
        "headers": headers,
        "content_type": content_type,
        "paginate": paginate,
        "timeout": timeout,
        "expect": expect,
    }
    config = Config(check=check, trusted=not is_url(spec))
    if project.is_pinned(spec):
        config = pinned_config(spec, check=check)
    wanted = Wanted(read_operation(document, operation), parameters or {}, body, options, credential, config)
    return await call_operation(wanted)


call.fn.__module__ = "connectors.openapi"  # from where it is imported


def pinned_config(connector: str, *, check: bool = True) -> Config:
    """What the project says of a pinned connector."""
    pin = project.read_pin(connector)
    return Config(connector, pin.server, pin.variables, check and pin.check, pin.pagination)
