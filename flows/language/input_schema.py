"""A workflow's `input`: a JSON Schema (2020-12) that checks a body in time that the body can't stretch.

`jsonschema_rs` checks in time linear in the body (1 MiB takes some milliseconds): it tells equal items apart by their
hashes, not pair by pair, and matches patterns with a linear-time engine, which knows no lookaround and no back
references. As in 2020-12, `format` is a remark and refuses nothing. A schema never makes a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import jsonschema_rs
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from flows.language.definition import Declaration
from foundation.errors import DefinitionError, IpaasError

Path = tuple[str | int, ...]

MOST_VALUES_FOR_ALL: Final = 1_000
"""A body of up to so many values that does not fit is told all its faults; a larger one only its first."""
MOST_STEPS: Final = 150
"""How deep a body may be nested: the checking recurses with it."""
MOST_CHARACTERS: Final = 300
"""Of one message, which may list the keys that a schema does not know."""
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=2_000_000, dfa_size_limit=2_000_000)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN: Final = 60
"""Characters of a key in a path."""
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NOT_LINEAR: Final = (
    "this pattern can't be used: it is no regular expression, or has lookaround or back references, which can't be "
    "matched in linear time"
)


class InputSchema:
    """A schema, compiled. Safe to share between threads.

    Raises:
        DefinitionError: it can't be used; `schema_faults` says where it is wrong.
    """

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        for path, message in schema_faults(schema):
            raise DefinitionError(f"{'.'.join(map(str, ('input', *path)))}: {message}")
        self._validator = _compiled(schema)

    def errors(self, body: Any, most: int = 20) -> list[dict[str, str]]:
        """What does not fit: each with its `path` (`$.items[0].sku`) and a `message`, which never quotes the body."""
        if _is_deep(body):
            return [{"path": "$", "message": f"the body is nested more than {MOST_STEPS} levels deep"}]
        try:
            return self._errors(body, most)
        except UnicodeEncodeError:  # half of a surrogate pair: a character like any other here
            return self._errors(_without_lone_surrogates(body), most)

    def _errors(self, body: Any, most: int) -> list[dict[str, str]]:
        if self._validator.is_valid(body):
            return []
        if _has_at_most(MOST_VALUES_FOR_ALL, body):
            found: Iterable[jsonschema_rs.ValidationError] = self._validator.iter_errors(body)
        else:
            found = self._first_error(body)
        return [
            {"path": _written(error.instance_path), "message": error.message[:MOST_CHARACTERS]}
            for error in islice(found, most)
        ]

    def _first_error(self, body: Any) -> Iterator[jsonschema_rs.ValidationError]:
        try:
            self._validator.validate(body)
        except jsonschema_rs.ValidationError as error:
            yield error


def malformed_part(schema: Mapping[str, Any]) -> tuple[Path, str] | None:
    """Where it is no JSON Schema at all, and why; None when it is one."""
    # Without `$schema`, whose address would be asked for the rules: they are 2020-12's.
    if jsonschema_rs.meta.is_valid({key: value for key, value in schema.items() if key != "$schema"}):
        return None
    from jsonschema import Draft202012Validator, SchemaError  # has better words, and takes its time

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return tuple(error.absolute_path), error.message
    return None


def schema_faults(schema: Mapping[str, Any] | bool) -> list[tuple[Path, str]]:
    """What makes a well-formed schema unusable, with where it stands in it."""
    if faults := list(_lost_references(schema)):
        return faults
    try:
        _compiled(schema)
    except jsonschema_rs.ValidationError as error:
        path: Path = tuple(error.instance_path)
        return [(path, _NOT_LINEAR if "regex" in error.message else error.message)]
    return []


def _compiled(schema: Mapping[str, Any] | bool) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        schema if isinstance(schema, bool) else dict(schema),
        validate_formats=False,
        pattern_options=_PATTERNS,
        retriever=_fetch_nothing,
        mask="the value",
    )


def _fetch_nothing(address: str) -> Any:
    raise LookupError(f"{address!r} is not found in this schema")


def _lost_references(schema: Mapping[str, Any] | bool) -> Iterator[tuple[Path, str]]:
    if isinstance(schema, bool):
        return
    resource = Resource.from_contents(dict(schema), default_specification=DRAFT202012)
    base = resource.id() or ""
    root = Registry().with_resource(base, resource).resolver(base)
    for path, reference in _references(schema):
        try:
            root.lookup(reference)
        except (Unresolvable, ValueError):
            yield path, f"{reference!r} is not found in this schema"


def _references(schema: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """References of the schema itself; below an `$id` of its own a part is looked up by the compiler."""
    if isinstance(schema, Mapping):
        if path and "$id" in schema:
            return
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield (*path, key), value
            else:
                yield from _references(value, (*path, key))
    elif isinstance(schema, (list, tuple)):
        for index, value in enumerate(schema):
            yield from _references(value, (*path, index))


def _is_deep(body: Any) -> bool:
    level, depth = [body], 0
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        if depth > MOST_STEPS:
            return True
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return False


def _has_at_most(most: int, body: Any) -> bool:
    size, pending = 1, [body]
    while pending and size <= most:
        item = pending.pop()
        if isinstance(item, (dict, list)):
            size += len(item)
            pending += item.values() if isinstance(item, dict) else item
    return size <= most


def _without_lone_surrogates(body: Any) -> Any:
    return json.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(body, ensure_ascii=False)))


def _written(path: Iterable[str | int]) -> str:
    """A path in the words of JSONPath."""
    return "$" + "".join(_part(part) for part in path)


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    shown = part if len(part) <= _SHOWN else f"{part[: _SHOWN - 1]}…"
    if _NAME.fullmatch(shown):
        return f".{shown}"
    escaped = shown.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"


class UnfitEvent(IpaasError):
    """The event's body does not fit the workflow's `input`."""

    code = "unfit_event"


def check_input(declaration: Declaration, body: Any) -> None:
    """Raises UnfitEvent, naming the first failing path, when the body does not fit the workflow's `input`."""
    if declaration.input is None:
        return
    for error in InputSchema(declaration.input).errors(body, most=1):
        raise UnfitEvent(f"the body does not fit the workflow's input: {error['path']}: {error['message']}")
