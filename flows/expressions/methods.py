"""The methods that expressions may call, of strings and of times: the only calls there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from flows.expressions.filters import FILTERS, strftime
from flows.expressions.texts import Filter, string, strip
from flows.expressions.values import Refused, Work, describe


def _string_method(filter_: Filter) -> Callable[..., Any]:
    return lambda work, value, *arguments: filter_(work, value, *arguments)


def _affix(found: Callable[[str, str], bool], name: str) -> Callable[..., Any]:
    return lambda work, value, affix: found(value, string(affix, name))


METHODS: Final[Mapping[type, Mapping[str, Callable[..., Any]]]] = {
    str: {
        **{
            name: _string_method(FILTERS[name])
            for name in ("upper", "lower", "title", "capitalize", "split", "replace")
        },
        "strip": strip(str.strip, "strip"),
        "lstrip": strip(str.lstrip, "lstrip"),
        "rstrip": strip(str.rstrip, "rstrip"),
        "startswith": _affix(str.startswith, "startswith"),
        "endswith": _affix(str.endswith, "endswith"),
    },
    datetime: {
        "isoformat": lambda work, value: value.isoformat(),
        "strftime": strftime,
        "timestamp": lambda work, value: value.timestamp(),
        "weekday": lambda work, value: value.weekday(),
    },
}
"""By type and name: the only calls there are. None of them reads an attribute of the value."""
METHOD_NAMES: Final = frozenset(name for methods in METHODS.values() for name in methods)


def call_method(work: Work, value: Any, name: str, arguments: list[Any], path: str) -> Any:
    for kind, methods in METHODS.items():
        if isinstance(value, kind) and name in methods:
            return methods[name](work, value, *arguments)
    raise Refused(
        f"{path}() can't be called: it is a method of {'a string' if name in METHODS[str] else 'a time'}, "
        f"not of {describe(value)}"
    )
