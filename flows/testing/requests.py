"""The requests that a workflow sent: noted, and answered by a test's stubs instead of the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import httpx
import respx
from respx.models import AllMockedAssertionError

from connectors.kit.call import current_call
from connectors.kit.egress import MAY_BE_PRIVATE, PublicOnly, place_of
from foundation.errors import EgressRefused

EVERY_REQUEST_HAS: Final = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"}
)
"""Headers that say nothing about a request."""


@dataclass(frozen=True)
class Request:
    """
    Attributes:
        headers: their names in lower case.
        content: the body as it was sent.
        step: the path of the step that sent it; None outside of one.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    step: str | None = None

    @property
    def json(self) -> Any:
        """The body, parsed. Raises ValueError when it is no JSON."""
        return json.loads(self.content)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a body that is a form."""
        return dict(parse_qsl(self.content.decode(), keep_blank_values=True))

    @property
    def body(self) -> Any:
        """Parsed if it is JSON, else text; None without a body."""
        if not self.content:
            return None
        try:
            return self.json
        except ValueError:
            return self.content.decode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.method} {self.url}"

    def __repr__(self) -> str:
        said = "" if self.body is None else f" {json.dumps(self.body, ensure_ascii=False)}"
        return f"<{self}{said}>"


def noted(request: httpx.Request, content: bytes) -> Request:
    """The request that an action sends now."""
    call = current_call.get(None)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Request(request.method, str(request.url), headers, content, call.path if call else None)


class NotStubbed(AssertionError):
    """A request that the test has no answer for. `str()` names it.

    Args:
        said: method and address.
        stubbed: what there are answers for.
    """

    def __init__(self, said: str, stubbed: Sequence[str]) -> None:
        known = "".join(f"\n  {one}" for one in stubbed) or " nothing"
        super().__init__(f"{said} is not stubbed, and nothing leaves a test. Stubbed is:{known}")


class Unanswered(BaseException):
    """Ends the execution at such a request. No `Exception`, so that no workflow takes it for a failure and goes on.

    Args:
        said: method and address, or `host:port` of what did not go through an action.
    """


class StubbedTransport(httpx.AsyncBaseTransport):
    """Notes each request and lets the test's router answer it.

    Attributes:
        sent: the requests.
        unanswered: the first that the router has no answer for; it was raised, which Python code may have swallowed.
    """

    def __init__(self, router: respx.Router) -> None:
        self.sent: list[Request] = []
        self.unanswered: Unanswered | None = None
        self._router, self._guard = router, PublicOnly()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._refuse_private(request)
        one = noted(request, await request.aread())
        self.sent.append(one)
        try:
            return await self._router.async_handler(request)
        except AllMockedAssertionError:
            raise self._unanswered(str(one)) from None
        except RuntimeError as error:
            if not isinstance(error.__cause__, StopIteration):
                raise
            raise self._unanswered(f"{one}, asked for more often than it has answers,") from None

    def _unanswered(self, said: str) -> Unanswered:
        self.unanswered = self.unanswered or Unanswered(said)
        return self.unanswered

    def _refuse_private(self, request: httpx.Request) -> None:
        """As the network does, for addresses that are spelled out: nothing is resolved here."""
        may_be_private = request.extensions.get(MAY_BE_PRIVATE, False)
        if may_be_private is True:
            return
        try:
            self._guard.check_spelling(request.url.raw_host.decode("ascii"))
        except EgressRefused:
            if not may_be_private or not may_be_private(place_of(request.url)):
                raise
