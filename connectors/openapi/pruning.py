"""The part of a document that some of its operations need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError
from connectors.openapi.pieces import METHODS, cut
from foundation.nearest import listed

Json = Any


def pruned(document: dict[str, Json], include: Sequence[str], name: str) -> dict[str, Json]:
    """The document with the operations whose names fit one of the patterns (`issues/*`), and what they refer to.

    Raises:
        DocumentError: a pattern fits none.
    """
    known = Document(cut(document), name).operations
    for pattern in include:
        if not any(fnmatchcase(one, pattern) for one in known):
            raise DocumentError(f"{name} has no operation {pattern!r}; there are: {listed(known, 10)}")
    wanted = {
        (one.path, one.method.lower())
        for one in known.values()
        if any(fnmatchcase(one.name, pattern) for pattern in include)
    }
    paths = {
        path: {key: value for key, value in item.items() if key not in METHODS or (path, key) in wanted}
        for path, item in document["paths"].items()
        if any(path == one for one, _ in wanted)
    }
    components = document.get("components") or {}
    schemes = {"securitySchemes": components["securitySchemes"]} if "securitySchemes" in components else {}
    needed = _needed([paths, schemes], components)
    left_out = ("paths", "components", "tags", "webhooks", "x-webhooks")
    kept = {key: value for key, value in document.items() if key not in left_out}
    return {**kept, "paths": paths, "components": schemes | needed}


def _needed(parts: Sequence[Json], components: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    found: dict[str, dict[str, Json]] = {}
    left = list(parts)
    while left:
        for reference in _references(left.pop()):
            kind, _, name = reference.removeprefix("#/components/").partition("/")
            name = _plain(name.partition("/")[0])
            named = components.get(kind)
            if isinstance(named, Mapping) and name in named and name not in found.setdefault(kind, {}):
                found[kind][name] = named[name]
                left.append(named[name])
    return {
        kind: {name: value for name, value in components[kind].items() if name in names}  # in the document's order
        for kind, names in found.items()
        if names
    }


def _references(value: Json) -> Iterator[str]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, Mapping):
            reference = one.get("$ref")
            if isinstance(reference, str):
                yield reference
            left += one.values()
        elif isinstance(one, list):
            left += one


def _plain(name: str) -> str:
    return unquote(name).replace("~1", "/").replace("~0", "~")
