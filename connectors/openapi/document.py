"""A document that is ready for use: its operations by name, its references followed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

from connectors.openapi.faults import DocumentError, UnknownOperation
from connectors.openapi.pieces import Pieces, pointer
from foundation.nearest import listed, nearest

Json = Any

_MAX_HOPS: Final = 50
"""References that may lead to references in a row."""


@dataclass(frozen=True)
class Listed:
    """An operation, as lists show it. `name` is its `operationId`, or one made of method and path."""

    name: str
    method: str
    path: str
    summary: str = ""
    deprecated: bool = False


class Document:
    """
    Attributes:
        name: what errors call it.
        location: where it came from: what its relative servers are relative to.
    """

    def __init__(self, pieces: Pieces, name: str, location: str = "") -> None:
        self._pieces, self.name, self.location = pieces, name, location

    @property
    def root(self) -> Mapping[str, Json]:
        """The document without its paths and components."""
        return self._pieces.root

    @property
    def is_3_0(self) -> bool:
        """Whether its schemas are those of OpenAPI 3.0, which are no JSON Schemas yet."""
        return str(self.root.get("openapi", "")).startswith("3.0")

    @cached_property
    def operations(self) -> Mapping[str, Listed]:
        """By name, in the document's order."""
        found: dict[str, Listed] = {}
        for one in self._pieces.operations:
            named = re.sub(r"\s+", "-", one["id"].strip()) if one["id"] else ""
            name = named if named and named not in found else _made_name(one["method"], one["path"])
            found[name] = Listed(name, one["method"].upper(), one["path"], one["summary"], one["deprecated"])
        return found

    def find(self, name: str) -> Listed:
        """The operation of this name, or of `METHOD /path`.

        Raises:
            DocumentError: there is none; the message has the nearest.
        """
        if found := self.operations.get(name):
            return found
        method, _, path = name.partition(" ")
        for one in self.operations.values():
            if path and (one.method, one.path) == (method.upper(), path.strip()):
                return one
        near = nearest(name, self.operations)
        hint = f"did you mean {near!r}?" if near else f"there are: {listed(self.operations, 10)}"
        raise UnknownOperation(f"{self.name} has no operation {name[:100]!r}; {hint}")

    def path_item(self, path: str) -> Json:
        """What all operations of a path share."""
        return self._pieces[pointer("paths", path)]

    def operation(self, one: Listed) -> Json:
        return self._pieces[pointer("paths", one.path, one.method.lower())]

    def components(self, kind: str) -> Iterator[str]:
        """The names of the components of a kind, such as `securitySchemes`."""
        start = pointer("components", kind) + "/"
        names = (key.removeprefix(start) for key in self._pieces if key.startswith(start))
        return (name.replace("~1", "/").replace("~0", "~") for name in names)

    def component(self, kind: str, name: str) -> Json:
        """Raises DocumentError."""
        return self.resolve({"$ref": "#" + pointer("components", kind, name)})

    def resolve(self, value: Json) -> Json:
        """What a value is: itself, or what its `$ref` leads to.

        Raises:
            DocumentError: it leads to nothing, or in a circle.
        """
        reference = None
        for _ in range(_MAX_HOPS):
            if not isinstance(value, Mapping) or not isinstance(value.get("$ref"), str):
                return value
            reference = value["$ref"]
            value = self.at(reference)
        raise DocumentError(f"{self.name}: {_short(reference)} leads from reference to reference, in a circle")

    def at(self, reference: str) -> Json:
        """What stands where a reference points.

        Raises:
            DocumentError: it leads to nothing.
        """
        if not reference.startswith("#/"):
            raise DocumentError(f"{self.name}: {_short(reference)} leads outside of the document")
        target = unquote(reference[1:])
        key, rest = target, []
        while key and key not in self._pieces:
            key, _, last = key.rpartition("/")
            rest.append(last.replace("~1", "/").replace("~0", "~"))
        if not key:
            raise DocumentError(f"{self.name}: {_short(reference)} leads to nothing")
        value = self._pieces[key]
        for part in reversed(rest):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise DocumentError(f"{self.name}: {_short(reference)} leads to nothing")
        return value


def _made_name(method: str, path: str) -> str:
    """`get_users_id` of `GET /users/{id}`."""
    return "_".join([method, *re.findall(r"[A-Za-z0-9]+", path)])


def _short(reference: Json) -> str:
    return f"$ref {str(reference)[:120]!r}"
