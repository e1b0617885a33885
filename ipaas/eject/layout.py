"""Code in lines, as `ruff format` leaves it: on one line where it fits, else each part on a line of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

WIDTH = 88
"""Ruff's own; a file formatted so stays so for longer lines, too."""


@dataclass(frozen=True)
class Group:
    """What can be broken into lines: a call's arguments, a list, a mapping.

    Attributes:
        items: each with what stands before it: `json=`, `"key": `.
    """

    open: str
    items: Sequence[tuple[str, Code]]
    close: str


Code: TypeAlias = str | Group
"""An expression."""


def one_line(code: Code) -> str:
    if isinstance(code, str):
        return code
    return code.open + ", ".join(before + one_line(item) for before, item in code.items) + code.close


def laid_out(code: Code, depth: int, before: str = "", after: str = "") -> list[str]:
    """The lines of `before`, the expression and `after`, `depth` levels in."""
    indent = "    " * depth
    line = f"{indent}{before}{one_line(code)}{after}"
    if isinstance(code, str) or len(line) <= WIDTH or not code.items:
        return [line]
    inner = [line for label, item in code.items for line in laid_out(item, depth + 1, label, ",")]
    return [f"{indent}{before}{code.open}", *inner, f"{indent}{code.close}{after}"]


def literal(value: Any, quote: str = '"') -> Code:
    """Plain JSON as Python."""
    if isinstance(value, str):
        return quoted(value, quote)
    if isinstance(value, Mapping):
        return mapping((quoted(key, quote), literal(item, quote)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return Group("[", [("", literal(item, quote)) for item in value], "]")
    return number(value) if isinstance(value, float) else repr(value)


def number(value: float) -> str:
    """`20` for 20.0."""
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def duration(seconds: float) -> str:
    """`"3d"` for 259200.0."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if seconds and seconds % length == 0:
            return quoted(f"{seconds / length:.0f}{unit}")
    return number(seconds)


def mapping(items: Iterable[tuple[str, Code]]) -> Group:
    return Group("{", [(f"{key}: ", item) for key, item in items], "}")


def quoted(value: str, quote: str = '"') -> str:
    """A text's literal, in the quotes that Ruff chooses; in single ones it must not hold any."""
    if quote == '"' and value.count('"') > value.count("'"):
        quote = "'"
    escaped = value.replace("\\", "\\\\").replace(quote, f"\\{quote}")
    return (
        quote + "".join(character if character.isprintable() else _escape(character) for character in escaped) + quote
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


@dataclass
class Lines:
    """Statements, written one after the other."""

    depth: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, code: Code, before: str = "", after: str = "") -> None:
        self.lines += laid_out(code, self.depth, before, after)

    def deeper(self) -> Lines:
        """Writes to the same lines, one level in."""
        return Lines(self.depth + 1, self.lines)

    def blank(self) -> None:
        """A blank line, unless it would be the first one of a function."""
        if self.lines[-1] and not self.lines[-1].lstrip().startswith("async def"):
            self.lines.append("")
