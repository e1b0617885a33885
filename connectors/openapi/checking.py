"""Whether a call's values fit its operation: before it is sent, and before it is run at all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs

from connectors.openapi.faults import CallError, DocumentError
from connectors.openapi.operation import Operation
from connectors.openapi.schemas import standing_alone
from foundation.nearest import listed, nearest

Json = Any

_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=2_000_000, dfa_size_limit=2_000_000)
_MAX_DEPTH: Final = 60
_MAX_CHARACTERS: Final = 300
"""Of one message."""


def by_argument(operation: Operation, given: Mapping[str, Json]) -> dict[str, Json]:
    """The parameters' values by their arguments; Python's names for them are taken, too.

    Raises:
        CallError: the operation has no such parameter, or needs one that is not given.
    """
    names = {one.identifier: one.argument for one in operation.parameters}
    names |= {one.argument: one.argument for one in operation.parameters}
    found: dict[str, Json] = {}
    for name, value in given.items():
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near!r}?" if near else f"known: {listed(names)}" if names else "it has none"
            raise CallError(f"{operation.name} has no parameter {name!r}; {hint}")
        if value is not None:
            found[names[name]] = value
    for one in operation.parameters:
        if one.required and one.argument not in found:
            raise CallError(f"{operation.name} needs the parameter {one.argument!r}")
    return found


def fitted(operation: Operation, values: Mapping[str, Json], body: Json, content_type: str) -> tuple[Json, Json]:
    """The values and the body as their schemas have them: a number where a text is wanted is its text, and so on.

    Args:
        content_type: of the body; empty: there is none.

    Raises:
        CallError: one does not fit its schema; the message has its place and never quotes it.
    """
    fitting: dict[str, Json] = {}
    for one in operation.parameters:
        if one.argument in values:
            fitting[one.argument] = _fitted(
                operation, one.argument, _compiled(operation, one.argument), values[one.argument]
            )
    if content_type:
        body = _fitted(operation, "body", _compiled(operation, "body", content_type), body)
    return fitting, body


def _fitted(operation: Operation, place: str, compiled: _Compiled, value: Json) -> Json:
    value = compiled.fit(value)
    if fault := compiled.fault(value):
        raise CallError(f"{operation.name}: `{place}`: {fault}")
    return value


class _Compiled:
    """A schema of a document, with its validator."""

    def __init__(self, operation: Operation, schema: Json) -> None:
        self._schema = standing_alone(operation.document, schema)
        try:
            self._validator = _validator(self._schema)
        except jsonschema_rs.ValidationError:
            try:  # patterns that can't be matched in linear time check nothing
                self._validator = _validator(_without_patterns(self._schema))
            except jsonschema_rs.ValidationError as error:
                message = f"{operation.document.name}: {operation.name}: no JSON Schema: {error.message}"
                raise DocumentError(message[:_MAX_CHARACTERS]) from None

    def fault(self, value: Json) -> str | None:
        """What does not fit, with its path."""
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
            return f"{path.lstrip('.')[:120]}{': ' if path else ''}{error.message[:_MAX_CHARACTERS]}"
        except (ValueError, RecursionError):
            return "nested too deeply, or no JSON"
        return None

    def fit(self, value: Json) -> Json:
        return self._fit(value, self._schema, 0)

    def _fit(self, value: Json, schema: Json, depth: int) -> Json:
        for _ in range(_MAX_DEPTH):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                break
            schema = self._schema["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return value
        match value:
            case dict():
                properties, more = schema.get("properties", {}), schema.get("additionalProperties")
                return {key: self._fit(part, properties.get(key, more), depth + 1) for key, part in value.items()}
            case list():
                return [self._fit(part, schema.get("items"), depth + 1) for part in value]
        types = schema.get("type")
        return _as_type(value, [types] if isinstance(types, str) else types or ())


@lru_cache(maxsize=256)
def _compiled(operation: Operation, argument: str, content_type: str = "") -> _Compiled:
    if content_type:
        return _Compiled(operation, operation.body(content_type).schema)
    return _Compiled(operation, next(one.schema for one in operation.parameters if one.argument == argument))


def _as_type(value: Json, types: Any) -> Json:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        is_wanted = "number" in types or ("integer" in types and float(value).is_integer())
        return str(value) if "string" in types and not is_wanted else value
    if not isinstance(value, str) or "string" in types:
        return value
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind, read in (("integer", int), ("number", float)):
        if kind in types:
            try:
                return read(value)
            except ValueError:
                continue
    return value


def _validator(schema: Mapping[str, Json]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        dict(schema), validate_formats=False, pattern_options=_PATTERNS, mask="the value"
    )


def _without_patterns(schema: Json) -> Json:
    if isinstance(schema, Mapping):
        is_pattern = {"pattern": str, "patternProperties": Mapping}
        return {
            key: _without_patterns(value)
            for key, value in schema.items()
            if not (key in is_pattern and isinstance(value, is_pattern[key]))
        }
    return [_without_patterns(one) for one in schema] if isinstance(schema, list) else schema
