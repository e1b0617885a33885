"""What every place that keeps secrets does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx

from connectors.kit.egress import MAY_BE_PRIVATE
from connectors.kit.exchange import exchange
from foundation.clock import Clock
from foundation.errors import ActionError, CredentialError, RemoteError
from foundation.settings import Settings

SECONDS: Final = 10.0
"""How long a place has to answer."""


class SecretStore(Protocol):
    async def read(self, where: str) -> str:
        """The secret there.

        Args:
            where: what stands behind the scheme.

        Raises:
            CredentialError: there is none, or it can't be asked: `retriable` when it may be later.
        """
        ...


@dataclass(frozen=True)
class Surroundings:
    """What a store is made with."""

    settings: Settings
    http: httpx.AsyncClient
    clock: Clock


MakeStore = Callable[[Surroundings], SecretStore]
"""What an entry point of the group `ipaas.secrets` names."""


async def ask(
    http: httpx.AsyncClient, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
) -> tuple[int, Mapping[str, Any]]:
    """Status and JSON object of an answer. No redirect is followed.

    Raises:
        CredentialError: no such answer.
    """
    request = http.build_request(method, url, headers=dict(headers), content=content)
    request.extensions[MAY_BE_PRIVATE] = True  # the address is the operator's own
    host = request.url.netloc.decode("ascii")
    try:
        answer = await exchange(http, request, secret=frozenset(headers), source=host, seconds=SECONDS, redirects=0)
    except ActionError as error:
        raise CredentialError(str(error), retriable=True) from None
    if answer.status >= 500 or answer.status == 429:
        raise CredentialError(f"{host} answered {answer.status}", retriable=True)
    try:
        return answer.status, answer.json_object() if answer.content else {}
    except RemoteError as error:
        raise CredentialError(str(error)) from None


def one_field(values: Mapping[str, Any], field: str, where: str) -> str:
    """One field's text of a secret that has several.

    Raises:
        CredentialError: it has none of that name.
    """
    if field not in values:
        raise CredentialError(f"{where} has no {field!r}; it has {', '.join(sorted(map(str, values))) or 'nothing'}")
    return str(values[field])
