"""The text of a document as data of OpenAPI 3: JSON or YAML, bounded, its version known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from connectors.openapi.faults import DocumentError
from connectors.openapi.swagger import as_openapi
from connectors.openapi.yaml_data import read_yaml

Json = Any

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_NODES: Final = 4_000_000
"""Keys and values of a document, every YAML alias unfolded. GitHub's has half a million."""
MAX_DEPTH: Final = 200


def read_document(content: bytes, name: str) -> dict[str, Json]:
    """The document, as OpenAPI 3.0 or 3.1; Swagger 2.0 is converted.

    Args:
        name: what errors call it.

    Raises:
        DocumentError: it is too large, neither JSON nor YAML, or of another kind or version.
    """
    try:
        data = read_data(content)
        if not isinstance(data, dict):
            raise DocumentError("an OpenAPI document is a mapping with the key `openapi`")
        document: dict[str, Json] = data
        _check_bounds(document)
        if "swagger" in document:
            if str(document["swagger"]) != "2.0":
                raise DocumentError(f"Swagger {_shown(document['swagger'])} is not read: 2.0 is, and OpenAPI 3.0, 3.1")
            document = as_openapi(document)
        version = document.get("openapi")
        if version is None:
            raise DocumentError("no OpenAPI document: it has no key `openapi`")
        if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
            raise DocumentError(f"OpenAPI {_shown(version)} is not read: 3.0 and 3.1 are, and Swagger 2.0")
        if not isinstance(document.get("paths", {}), Mapping):
            raise DocumentError("`paths` must be a mapping")
    except DocumentError as error:
        raise DocumentError(f"{name}: {error}") from None
    return document


def read_data(content: bytes) -> Json:
    """JSON or YAML.

    Raises:
        DocumentError: it is neither, or too large.
    """
    if len(content) > MAX_BYTES:
        raise DocumentError(f"larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8, from byte {error.start} on") from None
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            fault = f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        except (RecursionError, ValueError):
            raise DocumentError(
                "not JSON that can be read: it is nested too deeply, or has an endless number"
            ) from None
        try:
            return read_yaml(text) if len(text) < 1_000_000 else _fail(fault)  # a YAML document in flow style
        except DocumentError:
            raise DocumentError(fault) from None
    return read_yaml(text)


def _fail(fault: str) -> Json:
    raise DocumentError(fault)


def _check_bounds(document: Json) -> None:
    """Walks without recursion: what is nested too deeply, or unfolds to too much, is told before anything else does."""
    left, nodes = [(document, 0)], 0
    while left:
        value, depth = left.pop()
        inside = value.values() if isinstance(value, dict) else value
        nodes += len(value)
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            problem = f"more than {MAX_NODES} keys and values" if nodes > MAX_NODES else f"more than {MAX_DEPTH} deep"
            raise DocumentError(f"{problem}, aliases unfolded")
        left += [(one, depth + 1) for one in inside if isinstance(one, (dict, list))]


def _shown(value: Json) -> str:
    return str(value)[:20]
