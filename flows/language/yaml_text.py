"""YAML 1.2 text into plain JSON data, with the line and column of every key and item.

Stricter than YAML where it protects authors: only `true` and `false` are booleans, dates are strings, a key stands
once, tags are refused, and a file is one document of bounded size. Anchors, aliases and `<<` work; how much they unfold
to is bounded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

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

from flows.language.definition import Json, Path, Position
from foundation.errors import DefinitionError

MAX_BYTES: Final = 1_048_576
MAX_NODES: Final = 50_000
"""Keys, items and values of a file, with every alias unfolded."""
MAX_DEPTH: Final = 100

_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_START: Final = Position(1, 1)
_STRING_TAG: Final = "tag:yaml.org,2002:str"


@dataclass(eq=False)
class Node:
    """A value, its position (for a mapping's value: its key's), and how many values are in it, itself included."""

    value: str | int | float | bool | list[Node] | dict[str, Node] | None
    position: Position
    size: int = 1

    def data(self) -> Json:
        if isinstance(self.value, dict):
            return {key: node.data() for key, node in self.value.items()}
        return [node.data() for node in self.value] if isinstance(self.value, list) else self.value

    def positions(self, path: Path = ()) -> Iterator[tuple[Path, Position]]:
        yield path, self.position
        parts = self.value.items() if isinstance(self.value, dict) else ()
        items = enumerate(self.value) if isinstance(self.value, list) else ()
        for key, node in (*parts, *items):
            yield from node.positions((*path, key))


@dataclass(eq=False)
class _Open:
    """A mapping or list that is being read."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_position: Position = _START
    merged: list[Node] = field(default_factory=list)


def read_yaml(text: str, file: str | None = None) -> Node:
    """The file's one document.

    Raises:
        DefinitionError: with the place; it is not YAML, or not within the bounds above.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise DefinitionError(f"the file is larger than {MAX_BYTES} bytes", file=file)
    return _Reader(file).read(text)


class _Reader:
    def __init__(self, file: str | None) -> None:
        self._file = file
        self._root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}

    def read(self, text: str) -> Node:
        try:
            for event in YAML(typ="safe", pure=True).parse(text):
                self._take(event, _position(event.start_mark))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._fail(f"not YAML: {error.problem or error.context}", _position(mark) if mark else _START)
        except YAMLError as error:  # a character that YAML does not allow; this error counts characters, not lines
            before = text[: getattr(error, "position", 0)]
            column = len(before) - before.rfind("\n")
            self._fail("not YAML: a control character", Position(before.count("\n") + 1, column))
        except (ValueError, RecursionError):
            self._fail("not YAML", _START)
        if self._root is None:
            self._fail("the file is empty", _START)
        return self._root

    def _take(self, event: Any, position: Position) -> None:
        match event:
            case DocumentStartEvent() if self._root is not None:
                self._fail("a file holds one document; found a second one", position)
            case ScalarEvent():
                self._scalar(event, position)
            case MappingStartEvent() | SequenceStartEvent():
                self._begin(event, position)
            case MappingEndEvent() | SequenceEndEvent():
                self._end()
            case AliasEvent():
                self._alias(event.anchor, position)

    def _scalar(self, event: Any, position: Position) -> None:
        tag = None if event.ctag is None else str(event.ctag)
        if tag not in (None, "!", _STRING_TAG):
            self._fail(f"the tag {tag} is not supported", position)
        if _SURROGATE.search(event.value):
            self._fail("half a surrogate pair is no character", position)
        top = self._open[-1] if self._open else None
        if top and isinstance(top.node.value, dict) and top.key is None:
            if event.value in top.node.value:
                first = top.node.value[event.value].position.line
                self._fail(f"the key {event.value!r} stands twice; first in line {first}", position)
            top.key, top.key_position = event.value, position
            if event.anchor:
                self._anchors[event.anchor] = Node(event.value, position)
            return
        value = self._plain(event.value, position) if tag is None and event.implicit[0] else event.value
        self._add(Node(value, position), event.anchor)

    def _plain(self, written: str, position: Position) -> str | int | float | bool | None:
        """What an unquoted scalar means: YAML 1.2's core schema (10.3.2), with booleans in lower case only."""
        if written in ("", "~", "null", "Null", "NULL"):
            return None
        if written in ("true", "false"):
            return written == "true"
        if _INTEGER.fullmatch(written):
            number = int(written, 0) if written[:2] in ("0o", "0x") else int(written) if len(written) < 40 else 2**99
            if not -(2**63) <= number < 2**64:
                self._fail("an integer of more than 64 bits; write it in quotes", position)
            return number
        if _NOT_FINITE.fullmatch(written) or (_FLOAT.fullmatch(written) and not math.isfinite(float(written))):
            self._fail(f"{written} is no number in JSON; write it in quotes", position)
        return float(written) if _FLOAT.fullmatch(written) else written

    def _begin(self, event: Any, position: Position) -> None:
        if event.ctag is not None:
            self._fail(f"the tag {event.ctag} is not supported", position)
        if len(self._open) >= MAX_DEPTH:
            self._fail(f"nested deeper than {MAX_DEPTH} levels", position)
        self._refuse_as_key(position)
        if event.anchor:
            self._anchors[event.anchor] = None  # known, but not to be used inside itself
        value: list[Node] | dict[str, Node] = {} if isinstance(event, MappingStartEvent) else []
        self._open.append(_Open(Node(value, position), event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.node.value, dict):
            for merged in done.merged:
                assert isinstance(merged.value, dict)  # noqa: S101 - `_merge` took mappings only
                for key, node in merged.value.items():
                    if done.node.value.setdefault(key, node) is node:
                        done.node.size += node.size
        self._check_size(done.node)
        self._add(done.node, done.anchor)

    def _alias(self, name: str, position: Position) -> None:
        if name not in self._anchors:
            self._fail(f"the alias *{name} has no anchor &{name} before it", position)
        node = self._anchors[name]
        if node is None:
            self._fail(f"the alias *{name} stands inside its own anchor", position)
        self._refuse_as_key(position)
        self._add(Node(node.value, node.position, node.size), None)

    def _refuse_as_key(self, position: Position) -> None:
        if self._open and isinstance(self._open[-1].node.value, dict) and self._open[-1].key is None:
            self._fail("a key is plain text; to write an expression as a value, put it in quotes", position)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif isinstance(top.node.value, dict) and top.key == "<<":
            top.merged += self._mappings(node, top.key_position)
            top.key = None
            return
        elif isinstance(top.node.value, dict) and top.key is not None:
            top.node.value[top.key] = Node(node.value, top.key_position, node.size)
            top.key = None
        top.node.size += node.size
        self._check_size(top.node)

    def _mappings(self, node: Node, position: Position) -> list[Node]:
        found = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(item.value, dict) for item in found):
            self._fail("<< merges a mapping or a list of mappings", position)
        return found

    def _check_size(self, node: Node) -> None:
        if node.size > MAX_NODES:
            self._fail(f"more than {MAX_NODES} values, aliases unfolded", node.position)

    def _fail(self, message: str, position: Position) -> NoReturn:
        raise DefinitionError(message, file=self._file, line=position.line, column=position.column)


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)
