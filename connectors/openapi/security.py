"""Which credentials fit a document's security schemes. Knows types by name only: checking loads none of them.

| the document's scheme | credential |
| --- | --- |
| `apiKey`, in a header, the query or a cookie | `api-key`: its key, where the document says |
| `http` with `bearer` | `bearer`; `oauth2`, `google-service-account`, `github-app`: their access token |
| `http` with `basic` | `basic` |
| `oauth2`, `openIdConnect` | the same; with the flow `clientCredentials` also `basic`: the client's |
| several at once | `api-keys`: one for each scheme, by its name |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError
from connectors.openapi.operation import Operation

Json = Any
Way = tuple[str, ...]

TOKENS: Final = ("oauth2", "google-service-account", "github-app")
"""What gets its access tokens itself."""
OPEN: Final = ("bearer", "basic", "api-key", *TOKENS)
"""What an API takes whose document says nothing of security; an `api-key` goes into its own header."""
SEVERAL: Final = "api-keys"


def credential_types(operation: Operation) -> Sequence[str]:
    """The types of credentials that it takes; empty: none.

    Raises:
        DocumentError: it needs one, and each scheme that would do is unknown here; the message names them.
    """
    ways = ways_of(operation)
    if ways is None:
        return OPEN
    found = list(dict.fromkeys(kind for way in ways for kind in types_of(operation.document, way)))
    if ways and not found and () not in ways:
        unknown = ", ".join(f"{name} ({_said(scheme_of(operation.document, name))})" for way in ways for name in way)
        raise DocumentError(
            f"{operation.document.name}: {operation.name} needs {unknown}: no type of credential is for that"
        )
    return found


def credential_required(operation: Operation) -> bool:
    return bool(operation.security) and () not in (operation.security or ())


def ways_of(operation: Operation) -> Sequence[Way] | None:
    """The ways to prove oneself. Where the operation says nothing, each scheme of the document is one; None if there
    are none."""
    if operation.security is not None:
        return operation.security
    return [(name,) for name in operation.document.components("securitySchemes")] or None


def types_of(document: Document, way: Way) -> Sequence[str]:
    """The types that fit the way; empty if there are none."""
    kinds = [_types_of_scheme(scheme_of(document, name)) for name in way]
    if len(kinds) < 2:
        return kinds[0] if kinds else ()
    return [SEVERAL] if all(kinds) else []


def scheme_of(document: Document, name: str) -> Mapping[str, Json]:
    """Raises DocumentError: there is none."""
    found = document.component("securitySchemes", name)
    if not isinstance(found, Mapping):
        raise DocumentError(f"{document.name}: components.securitySchemes.{name} must be a mapping")
    return found


def token_url(scheme: Mapping[str, Json]) -> str | None:
    """Where a client gets an access token for its own id and secret (RFC 6749, 4.4), if it can."""
    flows = scheme.get("flows")
    flow = flows.get("clientCredentials") if isinstance(flows, Mapping) else None
    url = flow.get("tokenUrl") if isinstance(flow, Mapping) else None
    return url if isinstance(url, str) else None


def _types_of_scheme(scheme: Mapping[str, Json]) -> Sequence[str]:
    match scheme:
        case {"type": "apiKey", "in": "header" | "query" | "cookie", "name": str()}:
            return ["api-key"]
        case {"type": "http", "scheme": str(word)} if word.lower() == "basic":
            return ["basic"]
        case {"type": "http", "scheme": str(word)} if word.lower() == "bearer":
            return ["bearer", *TOKENS]
        case {"type": "oauth2" | "openIdConnect"}:
            return ["bearer", *TOKENS, "basic"] if token_url(scheme) else ["bearer", *TOKENS]
    return []


def _said(scheme: Mapping[str, Json]) -> str:
    return " ".join(str(scheme[key]) for key in ("type", "scheme") if key in scheme)
