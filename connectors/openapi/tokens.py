"""Access tokens that a client gets for its own id and secret: https://www.rfc-editor.org/rfc/rfc6749#section-4.4

They live in the memory of this process until they expire, and are masked like every secret.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urljoin

from connectors.kit.call import current_call
from connectors.kit.http_client import request
from connectors.openapi.proof import TokenRequest, basic
from foundation.errors import CredentialError, RemoteError

DEFAULT_SECONDS: Final = 300.0
"""How long a token is used whose server does not say how long it lives."""
EARLY_SECONDS: Final = 30.0
"""How long before its end it is asked for anew."""
MAX_KEPT: Final = 1_000


@dataclass(frozen=True)
class _Token:
    text: str
    until: datetime


_tokens: OrderedDict[TokenRequest, _Token] = OrderedDict()


async def access_token(wanted: TokenRequest, credential: str, *, base: str, trusted: bool) -> str:
    """A token that is good for now.

    Args:
        credential: the credential's name.
        base: the API's address, which the token's may be relative to.
        trusted: as `trusted_host` of a request.

    Raises:
        CredentialError: the client is refused, or the answer has no token.
        ActionError: as `http_client.request`.
    """
    services = current_call.get().services
    known = _tokens.get(wanted)
    if known and services.clock.now() < known.until:
        return known.text
    body = "grant_type=client_credentials" + (f"&scope={quote(wanted.scope)}" if wanted.scope else "")
    try:
        answer = await request(
            "POST",
            urljoin(base + "/", wanted.url),
            headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
            auth={"Authorization": basic(quote(wanted.client_id, safe=""), quote(wanted.client_secret, safe=""))},
            content=body,
            credential=credential,
            trusted_host=trusted,
        )
    except RemoteError as error:
        if error.status not in (400, 401, 403):
            raise
        raise CredentialError(f"credential {credential!r} gets no access token: {error}") from None
    said = answer.json_object()
    text, seconds = said.get("access_token"), said.get("expires_in")
    if not isinstance(text, str) or not text:
        raise CredentialError(f"credential {credential!r} gets no access token: the answer of {answer.source} has none")
    services.masker.add(text, holder=wanted)
    lives = float(seconds) if isinstance(seconds, (int, float)) else DEFAULT_SECONDS
    _tokens[wanted] = _Token(text, services.clock.now() + timedelta(seconds=max(0.0, lives - EARLY_SECONDS)))
    while len(_tokens) > MAX_KEPT:
        _tokens.popitem(last=False)
    return text


def forget_token(wanted: TokenRequest) -> None:
    """The next call asks for another one."""
    _tokens.pop(wanted, None)
