"""A request's body: read within bounds, then understood as what it says it is."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from ipaas.gateway.problems import Problem

MAX_FORM_FIELDS = 10_000
BODY_SECONDS = 30.0
"""How long a sender may take for its body."""


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body.

    Raises:
        Problem: 413 over `limit` bytes, also when only declared; 408 when it takes too long; 400 when the sender left.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        detail = f"the body did not arrive within {BODY_SECONDS:g} s"
        raise Problem(408, detail, reason="slow", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "the connection broke before the body was complete", reason="broken") from None
    return bytes(body)


def parse_body(content_type: str, body: bytes) -> Any:
    """The body as workflows see it: JSON parsed, a form as a dict, text as a string, anything else as base64.

    Without a content type it is JSON if it reads as JSON. An empty body is None.

    Raises:
        Problem: 400, it is not the JSON or form it says it is.
    """
    if not body:
        return None
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return _json(body)
    if media_type == "application/x-www-form-urlencoded":
        return _form(body)
    if not media_type:
        try:
            return _json(body)
        except Problem:
            return _text(body)
    is_text = media_type.startswith("text/") or media_type.endswith("xml")
    return _text(body) if is_text else base64.b64encode(body).decode()


def _json(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Problem(400, f"the body is not the JSON it says it is: {error}", reason="malformed") from None


def too_deep() -> Problem:
    return Problem(400, "the body is JSON nested too deeply", reason="malformed")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _form(body: bytes) -> dict[str, str | list[str]]:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Problem(400, f"the body is not the form it says it is: {error}", reason="malformed") from None
    return collect(pairs)


def collect(pairs: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Pairs as a dict; a name that comes more than once has a list."""
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        if name not in values:
            values[name] = value
        elif isinstance(earlier := values[name], list):
            earlier.append(value)
        else:
            values[name] = [earlier, value]
    return values


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than {limit} bytes", reason="too_large")
