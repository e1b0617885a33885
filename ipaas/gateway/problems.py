"""Errors as senders and API users see them: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from flows.language.input_schema import UnfitEvent
from foundation.errors import IpaasError, NotFound, StorageUnavailable
from ipaas import decisions, operations
from ipaas.gateway.json_response import JsonResponse

_STATUS = {
    NotFound: 404,
    operations.Conflict: 409,
    UnfitEvent: 422,
    decisions.UnfitForm: 422,
    decisions.UnfitSignal: 422,
}


class Problem(Exception):
    """An answer that says what is wrong.

    Args:
        reason: a stable word for counters, of requests to /hooks.
        extra: further members of the document.
    """

    def __init__(
        self, status: int, detail: str, *, reason: str = "", headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason, self.headers, self.extra = status, detail, reason, headers or {}, extra

    def response(self) -> Response:
        return problem_response(self.status, self.detail, headers=self.headers, **self.extra)


def problem_response(status: int, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> Response:
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **extra}
    return JsonResponse(document, status_code=status, headers=headers, media_type="application/problem+json")


def unavailable(detail: str, *, reason: str = "storage") -> Problem:
    """503: nothing was stored; the sender should come again soon."""
    return Problem(503, detail, reason=reason, headers={"Retry-After": "5"})


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this type
    return error.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    return problem_response(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def on_ipaas_error(request: Request, error: Exception) -> Response:
    if isinstance(error, StorageUnavailable):
        return unavailable("the storage does not answer; nothing was stored").response()
    if isinstance(error, operations.PrefectUnavailable):
        return unavailable(str(error)).response()
    code = error.code if isinstance(error, IpaasError) else "error"
    return problem_response(status_of(error), str(error), code=code)


def status_of(error: Exception) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours: the server logs it, the client learns no more than that."""
    return problem_response(500, "internal error")
