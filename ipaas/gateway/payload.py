"""A request's body: read within bounds, then understood as what it says it is."""

from __future__ import annotations

import asyncio
import base64
import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from foundation import large_json
from ipaas.gateway.budget import Share
from ipaas.gateway.problems import Problem

MAX_FORM_FIELDS = 10_000
MAX_DEPTH = 255
"""Of a JSON body: what reads the event later has its own limits."""
BODY_SECONDS = 30.0
"""How long a sender may take for its body."""

_MAYBE_INFINITE = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{309}")
"""What a number looks like that no float can hold."""


@dataclass(frozen=True)
class Payload:
    """A body as workflows see it."""

    value: Any
    json: str | None = None
    """The text, if it was JSON."""


async def read_body(request: Request, limit: int, share: Share) -> bytes:
    """The raw body, while its bytes are part of the share.

    Raises:
        Problem: 413 over `limit` bytes, also when only declared; 408 when it takes too long; 400 when the sender left;
            503 when there is no room for it.
    """
    declared = request.headers.get("content-length", "")
    expected = int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
    if expected > limit:
        raise _too_large(limit)
    share.expect(expected)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(BODY_SECONDS) as deadline:
            share.begin(deadline)
            async for chunk in request.stream():
                chunks.append(chunk)
                share.add(len(chunk))
                if share.size > limit:
                    raise _too_large(limit)
    except TimeoutError:
        share.check()
        detail = f"the body did not arrive within {BODY_SECONDS:g} s"
        raise Problem(408, detail, reason="slow", headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Problem(400, "the connection broke before the body was complete", reason="broken") from None
    share.complete()
    return b"".join(chunks)


def parse_body(content_type: str, body: bytes) -> Payload:
    """The body as workflows see it: JSON parsed, a form as a dict, text as a string, anything else as base64.

    Without a content type it is JSON if it reads as JSON. An empty body is None.

    Raises:
        Problem: 400, it is not the JSON or form it says it is.
    """
    if not body:
        return Payload(None)
    media_type = re.split("[;,]", content_type, maxsplit=1)[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return _json(body)
    if media_type == "application/x-www-form-urlencoded":
        return Payload(_form(body))
    if not media_type:
        try:
            return _json(body)
        except Problem:
            return Payload(_text(body))
    is_text = media_type.startswith("text/") or media_type.endswith("xml")
    return Payload(_text(body) if is_text else base64.b64encode(body).decode())


def _json(body: bytes) -> Payload:
    try:
        text = body.decode("utf-8-sig")
        value = large_json.loads(text)
        if _MAYBE_INFINITE.search(text) and not _is_finite(value):
            raise ValueError("a number is larger than any that can be kept")
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise Problem(400, f"the body is not the JSON it says it is: {error}", reason="malformed") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise too_deep()
    return Payload(value, text)


def too_deep() -> Problem:
    return Problem(400, "the body is JSON nested too deeply", reason="malformed")


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [inner for outer in level if isinstance(outer, list | dict) for inner in _inside(outer)]
        if not level:
            return False
    return any(isinstance(value, list | dict) for value in level)


def _is_finite(value: Any) -> bool:
    level = [value]
    while level:
        if any(isinstance(one, float) and math.isinf(one) for one in level):
            return False
        level = [inner for outer in level if isinstance(outer, list | dict) for inner in _inside(outer)]
    return True


def _inside(value: list[Any] | dict[str, Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


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
