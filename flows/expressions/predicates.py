"""The tests of expressions: what stands after `is`, and in quotes after `select`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from flows.expressions.comparing import COMPARE
from flows.expressions.values import Missing, Work, arithmetic

Test = Callable[..., bool]


def _compared(sign: str) -> Test:
    return lambda work, value, other: COMPARE[sign](value, other, work)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _divides(work: Work, value: Any, by: Any) -> bool:
    return bool(arithmetic("%", value, by, work) == 0)


_COMPARISONS: Final = {
    "eq": ("eq", "equalto", "=="),
    "ne": ("ne", "!="),
    "lt": ("lt", "lessthan", "<"),
    "lteq": ("le", "<="),
    "gt": ("gt", "greaterthan", ">"),
    "gteq": ("ge", ">="),
    "in": ("in",),
}

LOOSE_TESTS: Final = frozenset({"defined", "undefined"})
"""The tests that take a missing value."""

TESTS: Final[Mapping[str, Test]] = {
    "defined": lambda work, value: not isinstance(value, Missing),
    "undefined": lambda work, value: isinstance(value, Missing),
    "none": lambda work, value: value is None,
    "string": lambda work, value: isinstance(value, str),
    "number": lambda work, value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda work, value: _is_integer(value),
    "float": lambda work, value: isinstance(value, float),
    "boolean": lambda work, value: isinstance(value, bool),
    "true": lambda work, value: value is True,
    "false": lambda work, value: value is False,
    "mapping": lambda work, value: isinstance(value, Mapping),
    "sequence": lambda work, value: isinstance(value, (list, tuple, str)),
    "iterable": lambda work, value: isinstance(value, (list, tuple, str, Mapping)),
    "odd": lambda work, value: not _divides(work, value, 2),
    "even": lambda work, value: _divides(work, value, 2),
    "divisibleby": _divides,
    **{name: _compared(sign) for sign, names in _COMPARISONS.items() for name in names},
}
