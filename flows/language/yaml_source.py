"""A workflow's YAML, or Python's arguments, into a definition; every fault with its place and what would be right."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from flows.language.definition import (
    TRIGGERS,
    Declaration,
    Json,
    Path,
    Position,
    Respond,
    located,
    position_of,
)
from flows.language.faults import MOST_FAULTS, DefinitionErrors, written
from flows.language.flow_control import Batch, Concurrency, Debounce, Throttle
from flows.language.kinds import KINDS, tag
from flows.language.wait import FOR_ANSWER, FOR_TIME, WaitFor
from flows.language.workflow import Workflow
from flows.language.yaml_text import MAX_BYTES, read_yaml
from foundation.errors import DefinitionError

D = TypeVar("D", bound=Declaration)
M = TypeVar("M", bound=BaseModel)
Keys = Callable[[Path], Sequence[str]]
"""The keys that are known where there is an unknown one, whose path it gets."""

_KINDS: Final = {tag(kind): kind for kind in KINDS}
_TAGS: Final = frozenset({*_KINDS, FOR_TIME, FOR_ANSWER})


def _parts_of(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models of its keys' values, for those keys that take a mapping with keys of its own."""
    found: dict[str, type[BaseModel]] = {}
    for name, info in model.model_fields.items():
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found[info.alias or name] = kind
    return found


_MODELS: Final[Mapping[tuple[str, ...], type[BaseModel]]] = {
    **{(written,): KINDS[kind] for written, kind in _KINDS.items()},
    **{(written, key): part for written, kind in _KINDS.items() for key, part in _parts_of(KINDS[kind]).items()},
    (FOR_ANSWER,): WaitFor,
    **{("triggers", kind): model for kind, model in TRIGGERS.items()},
    ("concurrency",): Concurrency,
    ("throttle",): Throttle,
    ("debounce",): Debounce,
    ("batch",): Batch,
    ("respond",): Respond,
}
"""The model of what stands at a path, indexes and what is around a step left out: for the keys allowed there."""

_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_MISSING: Final = {
    "auth": "say who may send, auth: {scheme: …, credential: …}, or auth: none to take anything from anyone",
    "cases": "a block for each value, like cases: {DE: […], FR: […]}",
    "until": "the condition it ends with",
}


def load_workflow(source: pathlib.Path | str, file: str | None = None) -> Workflow:
    """Reads a workflow.

    Args:
        source: the file's path, or its text.
        file: its name in messages; for a path, the path itself by default.

    Raises:
        DefinitionErrors: everything that is wrong with it, each fault with its place.
    """
    name = file if file is not None or isinstance(source, str) else str(source)
    try:
        root = read_yaml(source if isinstance(source, str) else text_of(source, name), name)
        if not isinstance(root.value, dict):
            line, column = root.position
            raise DefinitionError(
                "a workflow is a mapping that starts with name: …", file=name, line=line, column=column
            )
    except DefinitionError as error:
        raise DefinitionErrors([error]) from None
    return declare(Workflow, root.data(), file=name, positions=dict(root.positions()))


def declare(
    model: type[D], data: Json, *, file: str | None = None, positions: Mapping[Path, Position] | None = None
) -> D:
    """A declaration from plain data: a YAML file's, or the arguments of Python's `@workflow(…)`.

    Raises:
        DefinitionErrors: everything that is wrong with it.
    """
    known = positions or {}
    read = validated(model, data, lambda place: _known_keys(place, model), file=file, positions=known)
    return located(read, file, known)


def validated(model: type[M], data: Json, keys: Keys, *, file: str | None, positions: Mapping[Path, Position]) -> M:
    """What an author wrote, as a model. Raises DefinitionErrors: everything that is wrong with it."""
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        found = [fault for fault in invalid.errors(include_url=False) if not _is_follow_up(fault)]
        faults = [_fault(_as_written(fault, data), keys) for fault in found[:MOST_FAULTS]]
    placed = [(position_of(positions, path), message) for path, message in faults]
    raise DefinitionErrors(
        [
            DefinitionError(message, file=file, line=position.line, column=position.column)
            for position, message in sorted(placed, key=lambda fault: (fault[0].line or 0, fault[0].column or 0))
        ]
    )


def text_of(path: pathlib.Path, name: str | None) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DefinitionError(f"the file is larger than {MAX_BYTES} bytes", file=name)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DefinitionError(f"can't be read: {error.strerror}", file=name) from None
    except UnicodeDecodeError:
        raise DefinitionError("the file is not UTF-8", file=name) from None


def _as_written(fault: Any, data: Json) -> Any:
    """A single limit is read as a list of one."""
    key, *rest = fault["loc"] or ("",)
    if key == "concurrency" and rest[:1] == [0] and not isinstance(data[key], (list, tuple)):
        return {**fault, "loc": (key, *rest[1:])}
    return fault


def _is_follow_up(fault: Any) -> bool:
    """A list that is only too short because its faulty items don't count."""
    return bool(fault["type"] == "too_short" and fault["input"])


def _fault(fault: Any, keys: Keys) -> tuple[Path, str]:
    """Where the fault is and what to tell the author."""
    place: Path = fault["loc"]
    path = tuple(part for part in place if part not in _TAGS)
    kind, given, context = fault["type"], fault["input"], fault.get("ctx", {})
    where, key = written(path), path[-1] if path else ""
    if kind == "extra_forbidden":
        return path, _unknown_key(place, keys(place))
    if kind == "missing":
        wanted = f": {_MISSING[str(key)]}" if key in _MISSING else ""
        return path, f"{_prefix(path[:-1])}missing key {key!r}{wanted}"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        trigger = next(iter(given), None) if isinstance(given, Mapping) else given
        return path, f"{where}: expected {_one_of(TRIGGERS)}, got {_shown(trigger)}"
    if kind == "value_error":
        return path, f"{_prefix(path)}{context['error']}"
    if kind in _WANTED:
        return path, f"{where}: expected {_WANTED[kind]}, got {_shown(given)}"
    if kind == "literal_error":
        return path, f"{where}: expected {context['expected']}, got {_shown(given)}"
    if kind == "greater_than_equal":
        return path, f"{where}: must be at least {context['ge']}, got {_shown(given)}"
    if kind == "less_than_equal":
        return path, f"{where}: must be at most {context['le']}, got {_shown(given)}"
    if kind == "too_short":
        return path, f"{where}: must not be empty"
    return path, f"{where}: {fault['msg']}"


def _known_keys(place: Path, model: type[BaseModel]) -> list[str]:
    """
    Args:
        place: with the tags of the steps around it, the innermost of which says whose key it is.
    """
    *around, _ = place
    innermost = max((index for index, part in enumerate(around) if part in _TAGS), default=0)
    return keys_of(_MODELS.get(tuple(part for part in around[innermost:] if isinstance(part, str)), model))


def _unknown_key(place: Path, known: Sequence[str]) -> str:
    *around, key = place
    parents = tuple(part for part in around if part not in _TAGS)
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{_prefix(parents)}unknown key {key!r}; {hint}"


def _one_of(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}"


def keys_of(model: type[BaseModel]) -> list[str]:
    """As they are written."""
    return [info.alias or name for name, info in model.model_fields.items()]


def _prefix(path: Path) -> str:
    return f"{written(path)}: " if path else ""


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
