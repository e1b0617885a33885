"""Asks an authorization server for tokens: one request, sent once, and what its answer means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from blocks.token_credential import TokenRefused, TokenRequest
from connectors.kit.answer import Answer, retry_after_seconds
from connectors.kit.egress import MAY_BE_PRIVATE
from connectors.kit.exchange import exchange
from connectors.kit.refusals import STATUS_ONLY
from foundation.clock import Clock
from foundation.errors import ActionError, RemoteError
from foundation.masking import Masker

SECONDS: Final = 20.0
"""How long a server has to answer."""


_SECRET: Final = ("assertion", "client_secret", "code", "code_verifier", "device_code", "refresh_token")
"""What of a request's form nobody else may see."""


class _Request:
    """Stands for a request in the masker."""


class TokenServer:
    """What sends token requests, and knows no credential.

    Args:
        http: the client that actions have.
        masker: learns what the requests carry; what servers say is masked.
    """

    def __init__(self, http: httpx.AsyncClient, *, clock: Clock, masker: Masker) -> None:
        self._http, self._clock, self._masker = http, clock, masker

    async def ask(self, request: TokenRequest) -> Mapping[str, Any]:
        """The answer's JSON object. Whoever redirects is not followed: the secrets would go along.

        Raises:
            TokenRefused: it did not answer, or with a status of 400 or more.
        """
        sent = self._http.build_request("POST", request.url, data=dict(request.form), headers=dict(request.headers))
        sent.extensions[MAY_BE_PRIVATE] = True  # the address is the credential's own
        with self._masking(request):
            return await self._answer(sent, frozenset(request.headers))

    async def _answer(self, sent: httpx.Request, secret: frozenset[str]) -> Mapping[str, Any]:
        host = sent.url.netloc.decode("ascii")
        try:
            answer = await exchange(self._http, sent, secret=secret, source=host, seconds=SECONDS, redirects=0)
            if answer.status < 400:
                return answer.json_object()
        except ActionError as error:
            raise TokenRefused(self._masker.mask(str(error)), lasting=False) from None
        raise self._refusal(answer)

    @contextmanager
    def _masking(self, request: TokenRequest) -> Iterator[None]:
        """A server may say what it was sent, such as an assertion that is good for this request alone."""
        holder = _Request()
        given = [request.form.get(name, "") for name in _SECRET]
        for secret in filter(None, [*given, request.headers.get("Authorization", "").rpartition(" ")[2]]):
            self._masker.add(secret, holder=holder)
        try:
            yield
        finally:
            self._masker.release(holder)

    def _refusal(self, answer: Answer) -> TokenRefused:
        now, word = self._clock.now(), _word(answer)
        said = str(STATUS_ONLY.error_in(answer, self._masker, now))
        temporary = answer.status in (408, 425, 429) or answer.status >= 500 or word in _TEMPORARY
        return TokenRefused(
            said if word in said else f"{said} ({self._masker.mask(word)})",
            lasting=not temporary,
            retry_after=retry_after_seconds(answer.headers, now),
            word=word,
        )


_TEMPORARY: Final = frozenset({"authorization_pending", "slow_down", "temporarily_unavailable", "server_error"})


def _word(answer: Answer) -> str:
    """What RFC 6749, 5.2 calls `error`."""
    try:
        return str(answer.json_object().get("error") or "")
    except RemoteError:
        return ""
