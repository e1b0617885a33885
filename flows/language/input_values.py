"""Values as JSON Schema sees them: their types, and when two are the same; and what one check may still do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TYPES: Final[Mapping[str, frozenset[type[Any]]]] = {
    "null": frozenset({type(None)}),
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "string": frozenset({str}),
    "array": frozenset({list}),
    "object": frozenset({dict}),
}
_NAMES: Final = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


class TooMuch(Exception):
    """The check would take too long."""


@dataclass(slots=True)
class Run:
    """One check of one body: what it may still do, and how many errors are wanted."""

    left: int
    most: int

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise TooMuch

    def refuse(self) -> None:
        raise TooMuch


@dataclass(slots=True)
class Error:
    """What does not fit. The path is from the inside out: whoever passes it on adds where it came from."""

    message: str
    path: list[str | int] = field(default_factory=list)


def describe(value: Any) -> str:
    return _NAMES.get(value.__class__, "a number")


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value.__class__ is not bool


def is_of(value: Any, types: Collection[str]) -> bool:
    return any(value.__class__ in TYPES[name] for name in types) or (
        "integer" in types and isinstance(value, float) and value.is_integer()
    )


def identity(value: Any, run: Run) -> str:
    """A text that equal values share and others don't: 1 and 1.0 are equal, 1 and true are not.

    Texts, because their hashes can't be foreseen: a set of numbers can be made slow by who chooses them.
    """
    match value:
        case str():
            run.spend(2 + len(value) // 64)
            return f'{len(value)}"{value}'
        case None | bool():
            run.spend(2)
            return f"{value}"
        case int():
            run.spend(4 + value.bit_length() // 64)
            return str(value)
        case float():
            run.spend(8)
            return str(int(value)) if value.is_integer() else repr(value)
        case list():
            run.spend(8 + len(value))
            return f"[{','.join([identity(item, run) for item in value])}]"
        case dict():
            run.spend(8 + 4 * len(value))
            pairs = [f"{identity(key, run)}:{identity(item, run)}" for key, item in value.items()]
            return f"{{{','.join(sorted(pairs))}}}"
    raise TypeError(f"{type(value).__name__} is not JSON")
