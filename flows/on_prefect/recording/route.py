"""`POST` and `GET /api/ipaas/runs` of Prefect's own server, behind whatever guards the rest of its API."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from fastapi import FastAPI
from prefect.server.database import provide_database_interface
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from flows.on_prefect.recording.events import publish, untold
from flows.on_prefect.recording.records import PATH, Batch, Recorded
from flows.on_prefect.recording.rows import Change
from flows.on_prefect.recording.writing import Unavailable, Writer

MOST_BYTES: Final = 32 * 2**20
"""Of a body. What is recorded of a run is a few kilobytes; long logs make it more."""
MOST_MISTAKES: Final = 10
"""Of a body that are told."""

_log = logging.getLogger("ipaas.recording")


def add_recording(server: FastAPI) -> None:
    """Adds the route to the application that `prefect.server.api.server.create_app` has made.

    It becomes a part of the API's own application, so that Prefect's password and its CSRF tokens, where they are asked
    for, are asked for here.
    """
    recording = _Recording()
    api: FastAPI = server.api_app  # type: ignore[attr-defined]  # Prefect leaves it there
    api.add_route(PATH, recording.post, methods=["POST"])
    api.add_route(PATH, recording.get, methods=["GET"])


class _Recording:
    def __init__(self) -> None:
        self._db = provide_database_interface()
        self._writer = Writer(self._db)

    async def get(self, _: Request) -> Response:
        try:
            return _answer(Recorded(before=await self._writer.marker()), only={"before"})
        except Unavailable as error:
            return _unavailable(error)

    async def post(self, request: Request) -> Response:
        body = await _bounded(request)
        if body is None:
            return _wrong(413, f"a body has at most {MOST_BYTES:,} bytes: send fewer runs at once")
        try:
            batch, unreadable = _parsed(body)
        except ValidationError as error:
            return _wrong(422, _mistakes(error, json.loads(body)))
        except (ValueError, RecursionError):
            return _wrong(400, "the body is not JSON")
        try:
            written = await self._writer.write(batch)
        except Unavailable as error:
            return _unavailable(error)
        await publish([*written.changes, *await self._untold(written.repeated)])
        refused = unreadable | written.refused
        for run, reason in refused.items():
            _log.warning("run %s can't be recorded in Prefect: %s", run, reason)
        return _answer(Recorded(recorded=tuple(written.recorded), refused=refused, before=written.before))

    async def _untold(self, repeated: Sequence[Change]) -> Sequence[Change]:
        try:
            return await untold(self._db, repeated)
        except (SQLAlchemyError, OSError) as error:
            _log.error("events of %d recorded runs may be lost: %s", len(repeated), type(error).__name__)
            return []


async def _bounded(request: Request) -> bytes | None:
    """The body; None when it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _parsed(body: bytes) -> tuple[Batch, dict[UUID, str]]:
    """The batch, and which of its runs have no form in UTF-8: one of those must not keep the others out.

    Raises:
        ValidationError: it is JSON, but no batch.
        ValueError: it is no JSON.
        RecursionError: the same, by its depth.
    """
    try:
        return Batch.model_validate_json(body), {}
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] != "json_invalid":
            raise
    document = json.loads(body)
    runs = document.get("runs") if isinstance(document, dict) else None
    if not isinstance(runs, list):
        return Batch.model_validate(document), {}
    whole = [run for run in runs if _is_whole(run)]
    broken = [UUID(str(run["id"])) for run in runs if isinstance(run, dict) and "id" in run and not _is_whole(run)]
    batch = Batch.model_validate(document | {"runs": whole})
    return batch, dict.fromkeys(broken, "it has half a character (a lone surrogate), which has no form in UTF-8")


def _is_whole(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _mistakes(error: ValidationError, document: Any) -> list[dict[str, Any]]:
    """What is wrong, and where; without the values, which may be secret."""
    told: list[dict[str, Any]] = []
    for mistake in error.errors(include_url=False, include_input=False, include_context=False)[:MOST_MISTAKES]:
        where = mistake["loc"]
        told.append({"loc": where, "msg": mistake["msg"]})
        if where[:1] == ("runs",) and len(where) > 1 and isinstance(run := document["runs"][int(where[1])], dict):
            told[-1]["run"] = run.get("id")
    return told


def _answer(recorded: Recorded, only: set[str] | None = None) -> Response:
    return Response(recorded.model_dump_json(include=only), media_type="application/json")


def _wrong(status: int, detail: Any) -> Response:
    return JSONResponse({"detail": detail}, status_code=status)


def _unavailable(error: Unavailable) -> Response:
    _log.warning("runs can't be recorded now: %s", error)
    return _wrong(503, f"Prefect's database does not take it now ({error}); send it again")
