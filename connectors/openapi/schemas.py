"""A document's schemas as JSON Schemas (2020-12) that stand by themselves: what they refer to is in their `$defs`.

Recursive schemas stay recursive. What only documents (`example`, `xml`, `discriminator`, `x-…`) is left out, and of
OpenAPI 3.0 `nullable` and the exclusive limits become what JSON Schema has for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from connectors.openapi.document import Document
from connectors.openapi.faults import DocumentError

Json = Any

MAX_DEFINITIONS: Final = 400
"""How many other schemas one may refer to; those beyond fit anything."""
_MAX_DEPTH: Final = 60
_ALONE: Final = frozenset({"const", "enum", "required", "default"})
"""Keywords whose values are data, no schemas."""
_KEPT: Final = frozenset(
    {
        *("type", "enum", "const", "format", "default", "title", "description"),
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas"),
        *("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems"),
        *("minLength", "maxLength", "pattern", "contentMediaType", "contentEncoding"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
    }
)
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_OPEN_OBJECT: Final = frozenset({"type", "properties", "required", "description", "title", "default", "format"})
BYTES: Final[Mapping[str, Json]] = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("base64", "filename", "content_type")},
    "required": ["base64"],
    "additionalProperties": False,
}
"""What stands for bytes in a workflow."""

Way = Literal["sent", "received"]


def standing_alone(document: Document, schema: Json, way: Way = "sent") -> dict[str, Json]:
    """The schema with everything it refers to.

    Args:
        way: what is sent needs no `readOnly` properties, and what is received no `writeOnly` ones.

    Raises:
        DocumentError: a reference leads to nothing.
    """
    return _Copy(document, way).whole(schema)


class _Copy:
    def __init__(self, document: Document, way: Way) -> None:
        self._document, self._way = document, way
        self._names: dict[str, str] = {}
        """The name in `$defs` of each reference that was met."""
        self._definitions: dict[str, Json] = {}
        self._left: list[tuple[str, str]] = []

    def whole(self, schema: Json) -> dict[str, Json]:
        copied = self.schema(schema)
        while self._left:
            reference, name = self._left.pop()
            self._definitions[name] = self.schema(self._document.at(reference))
        found = copied if isinstance(copied, dict) else ({} if copied else {"not": {}})
        return found | ({"$defs": self._definitions} if self._definitions else {})

    def schema(self, schema: Json, depth: int = 0) -> Json:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise DocumentError(f"{self._document.name}: a schema is a mapping, not {type(schema).__name__}")
        if depth > _MAX_DEPTH or "$dynamicRef" in schema:
            return {}
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, depth)
        copied = {key: self._keyword(key, value, depth) for key, value in schema.items() if key in _KEPT}
        self._heal(copied)
        if "allOf" in copied:
            copied = self._merged(schema, copied, depth)
        if self._document.is_3_0:
            _modernize(schema, copied)
        if self._way == "sent" and _is_binary(schema):
            copied = {"anyOf": [{"type": "string"}, BYTES]}
        if "required" in copied:
            copied["required"] = self._required(schema, copied["required"])
        return copied

    def _reference(self, schema: Mapping[str, Json], depth: int) -> Json:
        reference = schema["$ref"]
        if reference not in self._names:
            if len(self._names) >= MAX_DEFINITIONS:
                return {}
            self._names[reference] = _name_of(reference, self._names.values())
            self._left.append((reference, self._names[reference]))
        copied = {"$ref": f"#/$defs/{self._names[reference]}"}
        beside = {} if self._document.is_3_0 else {key: one for key, one in schema.items() if key in _KEPT}
        beside.pop("description", None)
        return {"allOf": [copied, self.schema(beside, depth + 1)]} if beside.keys() - {"title", "default"} else copied

    def _keyword(self, key: str, value: Json, depth: int) -> Json:
        if key in _NAMED and isinstance(value, Mapping):
            return {name: self.schema(part, depth + 1) for name, part in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self.schema(part, depth + 1) for part in value]
        is_schema = key not in _ALONE and isinstance(value, Mapping)
        return self.schema(value, depth + 1) if is_schema else value

    def _heal(self, copied: dict[str, Json]) -> None:
        """What no validator could read is left out: documents have it, and it checks nothing."""
        if isinstance(copied.get("pattern"), str):
            try:
                re.compile(copied["pattern"])
            except re.error:
                del copied["pattern"]
        if not isinstance(copied.get("required", []), list):
            del copied["required"]
        if not isinstance(copied.get("enum", []), list):
            del copied["enum"]
        if copied.get("type") == "file":
            copied["type"] = "string"

    def _required(self, schema: Mapping[str, Json], required: list[Json]) -> list[Json]:
        """Those that this way must have: `readOnly` ones are not sent, and `writeOnly` ones not received."""
        left_out = "readOnly" if self._way == "sent" else "writeOnly"
        properties = schema.get("properties")
        parts = properties if isinstance(properties, Mapping) else {}
        return [
            name
            for name in required
            if not (isinstance(part := parts.get(name), Mapping) and part.get(left_out) is True)
        ]

    def _merged(self, schema: Mapping[str, Json], copied: dict[str, Json], depth: int) -> dict[str, Json]:
        """An `allOf` of plain objects as the one object that it is; any other stays."""
        parts = [self._document.resolve(part) for part in schema["allOf"]]
        beside = {key: value for key, value in schema.items() if key in _KEPT and key != "allOf"}
        if not all(isinstance(part, Mapping) and _is_open_object(part) for part in (*parts, beside)):
            return copied
        found: dict[str, Json] = {"type": "object", "properties": {}, "required": []}
        for part in (*parts, beside):
            own = self.schema(part, depth + 1)
            found["properties"] |= own.get("properties", {})
            found["required"] += own.get("required", [])
        found["required"] = list(dict.fromkeys(found["required"]))
        return found | {key: copied[key] for key in ("title", "description") if key in copied}


def _is_binary(schema: Mapping[str, Json]) -> bool:
    is_file = schema.get("format") == "binary" or str(schema.get("contentMediaType", "")).endswith("octet-stream")
    return is_file and schema.get("type", "string") == "string" and "contentEncoding" not in schema


def _is_open_object(schema: Mapping[str, Json]) -> bool:
    known = {key for key in schema if key in _KEPT or key in ("nullable", "$ref")}
    return known <= _OPEN_OBJECT and schema.get("type", "object") == "object"


def _modernize(schema: Mapping[str, Json], copied: dict[str, Json]) -> None:
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(copied.get(exclusive), bool) and copied.pop(exclusive) and limit in copied:
            copied[exclusive] = copied.pop(limit)
    if schema.get("nullable") is not True:
        return
    if isinstance(copied.get("enum"), list) and None not in copied["enum"]:
        copied["enum"] = [*copied["enum"], None]
    if isinstance(copied.get("type"), str):
        copied["type"] = [copied["type"], "null"]
    elif copied.keys() & {"allOf", "anyOf", "oneOf"}:
        about = {key: copied.pop(key) for key in ("description", "title") if key in copied}
        whole = dict(copied)
        copied.clear()
        copied |= about | {"anyOf": [whole, {"type": "null"}]}


def _name_of(reference: str, taken: Iterable[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", reference.rpartition("/")[2]) or "schema"
    names, made, number = set(taken), name, 2
    while made in names:
        made, number = f"{name}-{number}", number + 1
    return made
