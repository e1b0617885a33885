"""YAML documents as JSON data: YAML 1.2's core schema, parsed in C, aliases bounded.

Only `true` and `false` are booleans and dates are strings, as OpenAPI says (its documents are YAML that JSON can
represent: https://spec.openapis.org/oas/v3.1.1.html#format).
"""

from __future__ import annotations

import re
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from connectors.openapi.faults import DocumentError

MAX_DEPTH: Final = 200
MAX_ALIASES: Final = 10_000

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_MEANT: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOTHING: Final = frozenset({"", "~", "null", "Null", "NULL"})
_ABSENT: Final = object()


def read_yaml(text: str) -> Any:
    """The text's one document. What aliases name is the same object wherever it stands.

    Raises:
        DocumentError: it is not YAML, or not within the bounds; with the line.
    """
    reader = _Reader()
    try:
        for event in YAML(typ="safe").parse(text):
            reader.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DocumentError(f"{place}not YAML: {error.problem or error.context}") from None
    except (YAMLError, ValueError, RecursionError):
        raise DocumentError("not YAML") from None
    return None if reader.root is _ABSENT else reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Any = _ABSENT
        self._open: list[tuple[dict[str, Any] | list[Any], str | None]] = []
        """The mappings and lists that are being read, each with the key that it waits for a value of."""
        self._anchors: dict[str, Any] = {}
        self._aliases = 0

    def take(self, event: Any) -> None:
        match event:
            case ScalarEvent():
                value = _scalar(event)
                if event.anchor:
                    self._anchors[event.anchor] = value
                self._add(value, event)
            case MappingStartEvent() | SequenceStartEvent():
                new: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
                self._add(new, event)
                if event.anchor:
                    self._anchors[event.anchor] = new
                self._open.append((new, None))
                if len(self._open) > MAX_DEPTH:
                    _fail(event, f"nested more than {MAX_DEPTH} deep")
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()
            case AliasEvent():
                self._aliases += 1
                if event.anchor not in self._anchors:
                    _fail(event, f"no anchor &{event.anchor} before this alias")
                if self._aliases > MAX_ALIASES:
                    _fail(event, f"more than {MAX_ALIASES} aliases")
                value = self._anchors[event.anchor]
                if any(value is one for one, _ in self._open):
                    _fail(event, f"*{event.anchor} holds itself")
                self._add(value, event)
            case DocumentStartEvent() if self.root is not _ABSENT:
                _fail(event, "a second document in the file")

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            self.root = value
            return
        into, key = self._open[-1]
        if isinstance(into, list):
            into.append(value)
        elif key is None:
            if isinstance(value, (dict, list)):
                _fail(event, "a mapping or list as a key")
            self._open[-1] = (into, _key(event) if isinstance(event, ScalarEvent) else str(value))
        else:
            if key == "<<" and isinstance(value, dict):
                into.update({name: part for name, part in value.items() if name not in into})
            else:
                into[key] = value
            self._open[-1] = (into, None)


def _key(event: Any) -> str:
    return str(event.value)  # a response's 200 is the text "200"


def _scalar(event: Any) -> Any:
    text = str(event.value)
    if not event.implicit[0]:  # it is quoted, or has a tag
        return text
    if text in _NOTHING:
        return None
    if text in _MEANT:
        return _MEANT[text]
    if _INTEGER.fullmatch(text):
        return int(text, 8 if text[:2] == "0o" else 16 if text[:2] == "0x" else 10) if len(text) < 400 else text
    return float(text) if _FLOAT.fullmatch(text) else text


def _fail(event: Any, problem: str) -> None:
    mark = event.start_mark
    raise DocumentError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}")
