"""What fits a JSON Schema, as a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flows.expressions.shapes import ANYTHING, KINDS, LIMITS, NULL, NUMBERS, Json, Shape, any_of, one_of, union

_OF_SCHEMA: Final[Mapping[str, frozenset[str]]] = {
    "null": frozenset({"null"}),
    "boolean": frozenset({"boolean"}),
    "string": frozenset({"string"}),
    "integer": frozenset({"integer"}),
    "number": NUMBERS,
    "array": frozenset({"list"}),
    "object": frozenset({"mapping"}),
}
_DEEPEST: Final = 8
_MOST: Final = 2_000
"""Parts of a schema that are looked at: one that refers to itself has no end."""


def of_schema(schema: Json, *, closed: bool = False) -> Shape:
    """What fits a JSON Schema, as far down as it is worth to know.

    Args:
        closed: a mapping whose keys it lists has no others, unless it says so.
    """
    return _Reader(schema, closed).read(schema)


class _Reader:
    def __init__(self, root: Json, closed: bool) -> None:
        self._root, self._closed, self._read = root, closed, 0

    def read(self, schema: Json, depth: int = 0) -> Shape:
        self._read += 1
        if not isinstance(schema, Mapping) or depth > _DEEPEST or self._read > _MOST:
            return ANYTHING
        if "$ref" in schema:
            return self.read(_referred(schema["$ref"], self._root), depth + 1)
        for several in ("anyOf", "oneOf"):
            if isinstance(schema.get(several), list):
                return union(self.read(part, depth + 1) for part in schema[several])
        if "allOf" in schema or "not" in schema or "if" in schema:
            return ANYTHING
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(listed, list) and listed and not any(isinstance(value, (list, Mapping)) for value in listed):
            return one_of(*listed)
        return self._plain(schema, depth)

    def _plain(self, schema: Mapping[str, Json], depth: int) -> Shape:
        types, more = schema.get("type"), schema.get("additionalProperties")
        keys = schema["properties"] if isinstance(schema.get("properties"), Mapping) else {}
        kinds = [_OF_SCHEMA.get(one, KINDS) for one in ([types] if isinstance(types, str) else _texts(types))]
        if types == "null":
            return NULL
        return Shape(
            frozenset().union(*kinds) or KINDS,
            keys={name: self.read(part, depth + 1) for name, part in keys.items()},
            closed=more is False or (more is None and self._closed and bool(keys)),
            required=frozenset(_texts(schema.get("required"))),
            rest=self.read(more, depth + 1) if isinstance(more, Mapping) else None,
            items=self.read(schema["items"], depth + 1) if "items" in schema else None,
            limits={limit: schema[limit] for limit in LIMITS if limit in schema},
            like=f"a text like {any_of(examples)}" if (examples := _texts(schema.get("examples"))) else None,
        )


def _texts(value: Json) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _referred(reference: Json, root: Json) -> Json:
    found = root
    for part in str(reference).removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
