"""Values as request bodies: JSON, forms, multipart, text and bytes.

Bytes are written as elsewhere in workflows: `{"base64": "…"}`; a file may have a `filename` and a `content_type`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from connectors.openapi.document import Document
from connectors.openapi.faults import CallError
from connectors.openapi.operation import Media, Operation, Parameter, is_json
from connectors.openapi.parameters import in_query

Json = Any

FORM: Final = "application/x-www-form-urlencoded"
_FILE_KEYS: Final = frozenset({"base64", "filename", "content_type"})


def written(operation: Operation, value: Json, content_type: str | None = None) -> tuple[bytes, dict[str, str]]:
    """The body's bytes, and the headers that say what they are.

    Args:
        content_type: one of those that the operation takes; None: its first.

    Raises:
        CallError: the operation takes no body, or none of that content type, or the value can't be written as one.
    """
    media = operation.body(content_type)
    kind = media.content_type
    if is_json(kind):
        return _json(value), {"Content-Type": kind}
    if kind == FORM:
        return _form(operation.document, media, value), {"Content-Type": kind}
    if kind.startswith("multipart/"):
        return _multipart(operation.document, media, value)
    if isinstance(value, str):
        return value.encode(), {"Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else _actual(kind)}
    if _is_file(value):
        return _bytes(value, "body"), {"Content-Type": str(value.get("content_type") or _actual(kind))}
    if kind in ("*/*", "application/octet-stream") or kind.endswith("/*"):
        return _json(value), {"Content-Type": "application/json"}
    raise CallError(f'`body` must be a text or {{"base64": …}}: it is sent as {kind}')


def _actual(kind: str) -> str:
    return "application/octet-stream" if "*" in kind else kind


def _json(value: Json) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    except (TypeError, ValueError) as error:
        raise CallError(f"`body` is not JSON: {error}") from None


def _form(document: Document, media: Media, value: Json) -> bytes:
    parts: list[str] = []
    for name, part in _fields(value).items():
        if part is not None:
            parts += in_query(_field(name, media.encoding.get(name), part), part)
    return "&".join(parts).encode()


def _field(name: str, encoding: Json, value: Json) -> Parameter:
    """A form's field as the query parameter that it is written as. Without an encoding, what holds others is JSON."""
    field = Parameter(name, "query", f"body.{name}", style="form", explode=True)
    said = encoding if isinstance(encoding, Mapping) else {}
    if said.keys() & {"style", "explode", "allowReserved"}:
        style = said.get("style", "form")
        explode = said.get("explode", style == "form")
        return replace(field, style=style, explode=explode, allow_reserved=said.get("allowReserved") is True)
    holds = isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(one, (Mapping, list)) for one in value)
    )
    return replace(field, content_type="application/json") if holds else field


def _multipart(document: Document, media: Media, value: Json) -> tuple[bytes, dict[str, str]]:
    files: list[tuple[str, Any]] = []
    properties = _properties(document, media.schema)
    for name, given in _fields(value).items():
        if given is None:
            continue
        said = media.encoding.get(name) or {}
        kind = str(said.get("contentType") or "").partition(",")[0].strip()
        several = isinstance(given, list) and not is_json(kind)
        for part in given if several else [given]:
            files.append((name, _part(name, part, kind, document.resolve(properties.get(name) or {}))))
    if not files:
        raise CallError("`body` must have at least one field: it is sent as multipart")
    # A boundary of httpx's own making; every field is a part with its own content type.
    request = httpx.Request("POST", "https://multipart.invalid", files=files)
    content, header = request.read(), request.headers["Content-Type"]
    return content, {"Content-Type": header.replace("multipart/form-data", media.content_type, 1)}


def _part(name: str, value: Json, kind: str, schema: Json) -> tuple[str | None, bytes, str | None] | tuple[None, bytes]:
    if _is_file(value):
        filename = str(value.get("filename") or name)
        return (
            filename,
            _bytes(value, f"body.{name}"),
            str(value.get("content_type") or kind or "application/octet-stream"),
        )
    if isinstance(schema, Mapping) and schema.get("format") == "binary" and isinstance(value, str):
        return name, value.encode(), kind or "text/plain; charset=utf-8"
    if isinstance(value, (Mapping, list)) or is_json(kind):
        return None, _json(value), kind or "application/json"
    text = (
        ("true" if value else "false") if isinstance(value, bool) else value if isinstance(value, str) else str(value)
    )
    return (None, text.encode(), kind) if kind else (None, text.encode())


def _properties(document: Document, schema: Json) -> Mapping[str, Json]:
    found = document.resolve(schema)
    properties = found.get("properties") if isinstance(found, Mapping) else None
    return properties if isinstance(properties, Mapping) else {}


def _fields(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise CallError("`body` must be a mapping of the form's fields")
    return value


def _is_file(value: Json) -> bool:
    return isinstance(value, Mapping) and "base64" in value and not value.keys() - _FILE_KEYS


def _bytes(value: Mapping[str, Json], place: str) -> bytes:
    try:
        return base64.b64decode(str(value["base64"]), validate=True)
    except (binascii.Error, ValueError):
        raise CallError(f"`{place}`: its `base64` is none") from None
