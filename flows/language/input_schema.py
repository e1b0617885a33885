"""A workflow's `input`: a JSON Schema (2020-12) that checks a body in time that the body can't stretch.

The schema is compiled once to rules, one for each keyword. Every rule that looks at a value pays for it out of what
one check may do, which grows with the body and ends at `MAX_WORK`. So the bound holds whatever the schema combines:
`allOf` of `anyOf`, `oneOf`, `contains`, references that lead back, deep nesting. A body that would take longer gets an
error that says so. Items are told apart by a text that equal values share, not pair by pair; patterns are matched in
linear time (`flows.language.input_pattern`). As in 2020-12, `format` is a remark and refuses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flows.language.input_compiler import Path, SchemaCompiler
from flows.language.input_values import Error, Run, TooMuch
from foundation.errors import DefinitionError

MAX_WORK: Final = 1_000_000
"""Units of work of one check; a unit takes 50 to 140 ns on a busy core, so the longest check takes about 0.1 s.

1 MiB of usual JSON (12 000 objects of 80 characters, each property with a rule or two) takes 0.9 million.
"""
LEAST_WORK: Final = 100_000
WORK_PER_VALUE: Final = 20
"""A small body gets less, so that none of up to 43 KB takes longer than 50 ms."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN: Final = 60
"""Characters of a key in a path."""


class InputSchema:
    """A schema, compiled. Safe to share between threads.

    Raises:
        DefinitionError: it has a pattern or a reference that can't be used; `schema_faults` knows all of them.
    """

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        compiler = SchemaCompiler(schema)
        for path, message in compiler.faults:
            raise DefinitionError(f"{'.'.join(map(str, ('input', *path)))}: {message}")
        self._rule = compiler.rule

    def errors(self, body: Any, most: int = 20) -> list[dict[str, str]]:
        """What does not fit, in the order of the schema: each with its `path` (`$.items[0].sku`) and a `message`.

        Messages name types and rules, never the body's values.
        """
        try:
            found: Sequence[Error] = self._rule(body, Run(_allowed(body), most))
        except TooMuch:
            found = [Error("the body takes too long to be checked against the workflow's input")]
        except RecursionError:
            found = [Error("the body is nested too deeply to be checked against the workflow's input")]
        return [{"path": _written(error.path), "message": error.message} for error in found[:most]]


def schema_faults(schema: Mapping[str, Any] | bool) -> list[tuple[Path, str]]:
    """What makes a well-formed schema unusable, with where it stands in it."""
    return SchemaCompiler(schema).faults


def _allowed(body: Any) -> int:
    """The work for a body of this many values; 16 characters count as one. It counts no further than it matters."""
    enough = (MAX_WORK - LEAST_WORK) // WORK_PER_VALUE
    size, pending = 1, [body]
    while pending and size < enough:
        item = pending.pop()
        if isinstance(item, str):
            size += len(item) // 16
        elif isinstance(item, (list, dict)):
            size += len(item)
            pending += (item if isinstance(item, list) else item.values()) if size < enough else ()
    return min(MAX_WORK, LEAST_WORK + WORK_PER_VALUE * size)


def _written(path: list[str | int]) -> str:
    """A path, which is from the inside out, in the words of JSONPath."""
    return "$" + "".join(_part(part) for part in reversed(path))


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    shown = part if len(part) <= _SHOWN else f"{part[: _SHOWN - 1]}…"
    if _NAME.fullmatch(shown):
        return f".{shown}"
    escaped = shown.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{escaped}']"
