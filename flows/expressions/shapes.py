"""What a value is, as far as that is known before anything runs.

A shape is the part of a JSON Schema that tells apart what can't be confused: a text where a list is wanted, a key that
is never there. What is not known is `ANYTHING`, and fits everywhere: a shape never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

Json = Any

NUMBERS: Final = frozenset({"integer", "number"})
"""`integer` is a whole number, `number` one that is none; JSON's numbers are both."""
KINDS: Final = frozenset({"null", "boolean", "string", "list", "mapping"}) | NUMBERS
_SCALARS: Final = frozenset({"null", "boolean", "string"}) | NUMBERS
_SAID: Final[Mapping[str, str]] = {
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "a boolean",
    "list": "a list",
    "mapping": "a mapping",
    "null": "null",
}
LIMITS: Final[Mapping[str, tuple[str, Callable[[Any, Any], bool], str]]] = {
    "minimum": ("number", lambda value, limit: value >= limit, "at least {}"),
    "exclusiveMinimum": ("number", lambda value, limit: value > limit, "more than {}"),
    "maximum": ("number", lambda value, limit: value <= limit, "at most {}"),
    "exclusiveMaximum": ("number", lambda value, limit: value < limit, "less than {}"),
    "minLength": ("string", lambda value, limit: len(value) >= limit, "at least {} characters"),
    "maxLength": ("string", lambda value, limit: len(value) <= limit, "at most {} characters"),
    "pattern": ("string", lambda value, limit: re.search(limit, value) is not None, "a text that matches {}"),
}
"""What each of JSON Schema's limits is of, whether a value is within it, and how it is said."""
_TRUTHS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n"})


@dataclass(frozen=True)
class Shape:
    """
    Attributes:
        kinds: what it may be.
        keys: of a mapping, those that are known.
        closed: a mapping has no other keys.
        required: keys that a mapping must have.
        rest: what a mapping has under its other keys.
        items: what a list holds.
        values: the only ones it can have, if they are few and known; scalars.
        limits: what JSON Schema says further of numbers and strings.
        like: an example of it.
    """

    kinds: frozenset[str] = KINDS
    keys: Mapping[str, Shape] = field(default_factory=dict)
    closed: bool = False
    required: frozenset[str] = frozenset()
    rest: Shape | None = None
    items: Shape | None = None
    values: frozenset[Any] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    like: str | None = None

    def __str__(self) -> str:
        if self.values and len(self.values) <= 10:
            return any_of(sorted("null" if value is None else repr(value) for value in self.values))
        kinds = self.kinds - {"integer"} if self.kinds >= NUMBERS else self.kinds
        return any_of([said for kind, said in _SAID.items() if kind in kinds])

    def key(self, name: str) -> Shape:
        return self.keys.get(name) or self.rest or ANYTHING


ANYTHING: Final = Shape()
STRING: Final = Shape(frozenset({"string"}))
NUMBER: Final = Shape(NUMBERS)
INTEGER: Final = Shape(frozenset({"integer"}))
BOOLEAN: Final = Shape(frozenset({"boolean"}))
NULL: Final = Shape(frozenset({"null"}), values=frozenset({None}))


def any_of(words: Collection[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def mapping(keys: Mapping[str, Shape], *, closed: bool = True) -> Shape:
    return Shape(frozenset({"mapping"}), keys=keys, closed=closed)


def list_of(items: Shape | None) -> Shape:
    return Shape(frozenset({"list"}), items=items)


def one_of(*values: Json) -> Shape:
    """A scalar that is one of these."""
    return Shape(frozenset(map(_kind, values)), values=frozenset(values))


def literal(value: Json) -> Shape:
    """The shape of a value that stands there."""
    if isinstance(value, Mapping):
        return mapping({key: literal(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return list_of(union(map(literal, value)))
    return Shape(frozenset({_kind(value)}), values=frozenset({value}))


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
    return "string"


def union(shapes: Iterable[Shape]) -> Shape:
    """What is one of these; of none it is anything."""
    found = list(shapes)
    if not found:
        return ANYTHING
    first, *others = found
    for other in others:
        first = _either(first, other)
    return first


def _either(one: Shape, other: Shape) -> Shape:
    if one == other:
        return one
    values = None if one.values is None or other.values is None else one.values | other.values
    both = replace(_of(one, other, "mapping"), items=_of(one, other, "list").items)
    limits = {
        limit: value
        for limit, value in {**one.limits, **other.limits}.items()
        if not (LIMITS[limit][0] in one.kinds and LIMITS[limit][0] in other.kinds)
    }
    return replace(both, kinds=one.kinds | other.kinds, values=values, limits=limits, like=one.like or other.like)


def _of(one: Shape, other: Shape, kind: str) -> Shape:
    """What is known of a mapping, or a list, that is either of both."""
    if kind not in other.kinds:
        return one
    if kind not in one.kinds:
        return other
    keys = {key: _either(one.key(key), other.key(key)) for key in {*one.keys, *other.keys}}
    rest = None if one.rest is None or other.rest is None else _either(one.rest, other.rest)
    items = None if one.items is None or other.items is None else _either(one.items, other.items)
    return Shape(
        keys=keys, closed=one.closed and other.closed, required=one.required & other.required, rest=rest, items=items
    )


def misfit(given: Shape, wanted: Shape) -> str | None:
    """Why what is given can't be what is wanted; None when it may be.

    Numbers are taken as text and text as numbers, but not where only a few values are wanted.
    """
    takes = wanted.kinds.__contains__ if wanted.values is not None else partial(_takes, wanted.kinds)
    kinds = {kind for kind in given.kinds if takes(kind)}
    if kinds == {"string"} and "string" not in wanted.kinds and given.values is not None:
        kinds = kinds if any(_reads(str(value), wanted.kinds) for value in given.values) else set()
    if not kinds or (wanted.values is not None and given.values is not None and not given.values & wanted.values):
        return f"expected {wanted}, got {_got(given)}"
    for limit, bound in wanted.limits.items():
        of, holds, said = LIMITS[limit]
        kinds_of = NUMBERS if of == "number" else {of}
        if given.values and kinds <= kinds_of and not any(holds(value, bound) for value in given.values):
            return f"expected {(limit == 'pattern' and wanted.like) or said.format(bound)}, got {_got(given)}"
    return None


def _got(given: Shape) -> str:
    shown = str(given)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"


def _takes(wanted: frozenset[str], kind: str) -> bool:
    if kind in wanted:
        return True
    if kind in NUMBERS:
        return "string" in wanted or (kind == "integer" and bool(wanted & {"number", "boolean"}))
    return kind in ("string", "boolean") and bool(wanted & (NUMBERS | {"boolean"}))


def _reads(text: str, wanted: frozenset[str]) -> bool:
    """Whether a text is taken for what is wanted."""
    if "boolean" in wanted and text.lower() in _TRUTHS:
        return True
    try:
        return bool(wanted & NUMBERS) and (float(text).is_integer() or "number" in wanted)
    except (ValueError, OverflowError):
        return False


def unlike(shape: Shape, value: Json) -> bool:
    """Whether it is known that the value is never this one."""
    return shape.values is not None and value not in shape.values


def is_scalar(shape: Shape) -> bool:
    """Whether it is neither a list nor a mapping."""
    return shape.kinds <= _SCALARS
