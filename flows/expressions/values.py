"""What expressions work on: JSON values and dates, looked up by key only, within bounds.

No Python attribute of any value is ever read: a lookup is a key of a mapping, an index of a list or a character of a
string. Errors name paths and types, never values, which may be secret.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

Json = Any

MAX_TEXT: Final = 1_048_576
"""Characters of any string that an expression makes."""
MAX_WORK: Final = 5_000_000
"""Units of work of one rendering: about one per operation, list item or character made."""
SMALLEST_INTEGER: Final = -(2**63)
LARGEST_INTEGER: Final = 2**64 - 1
"""What 64 bits hold: larger numbers are not portable JSON."""


class Refused(Exception):
    """An operation that fails or is not allowed. The text says what and why."""


class Work:
    """What one rendering may still do."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def spend(self, units: int) -> None:
        self.left -= units
        if self.left < 0:
            raise Refused("the expression takes too much work")

    def text(self, made: str) -> str:
        """`made`, paid for."""
        if len(made) > MAX_TEXT:
            raise Refused(f"the result is longer than {MAX_TEXT} characters")
        self.spend(len(made) // 16 + 1)
        return made


class Missing:
    """The value of a path that leads nowhere. `default` and `is defined` take it; all else raises its problem."""

    __slots__ = ("problem",)

    def __init__(self, problem: str) -> None:
        self.problem = problem


class Placeholder(str):
    """What a dry run has in place of a result, because nothing was sent: `<notify.output.ts>`.

    Whatever is looked up in one or made of one is one again, and it compares as true with anything, so that the steps
    behind a condition are shown too. Python workflows work with it as well, hence the operators.
    """

    __slots__ = ()

    def _part(self, key: Any) -> Placeholder:
        name = str.__str__(self)
        return self if isinstance(key, slice) else Placeholder(f"{name.removesuffix('>')}.{key}>")

    def _compared(self, other: object) -> bool:
        return True

    def _same(self, *others: object) -> Placeholder:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter([self._part(0)])

    def get(self, key: Any, default: object = None) -> Placeholder:
        return self._part(key)

    __getitem__ = _part  # not a string's characters
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _compared
    __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __neg__ = _same
    __hash__ = str.__hash__

    def __add__(self, other: object) -> str:
        return str.__add__(self, other) if isinstance(other, str) else self

    def __radd__(self, other: object) -> str:
        return str.__add__(other, self) if isinstance(other, str) else self


def present(value: Any) -> Any:
    """`value`, unless it is missing.

    Raises:
        Refused: naming the first missing part of the path.
    """
    if value.__class__ is Missing:
        raise Refused(value.problem)
    return value


def describe(value: Any) -> str:
    """The value's type in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case datetime():
            return "a time"
    return f"a {type(value).__name__}, which is not JSON"


DATE_FIELDS: Final = frozenset({"year", "month", "day", "hour", "minute", "second", "microsecond"})


def lookup(base: Any, key: Any, path: str, base_path: str) -> Any:
    """`base[key]`, or what is `Missing`. `path` and `base_path` are how the author wrote both."""
    kind = base.__class__
    if kind is Missing:
        return base
    if kind is dict or isinstance(base, Mapping):
        if isinstance(key, str):
            if key in base:
                return base[key]
            return Missing(f"{path} is missing; {base_path} {_keys(base)}")
        raise Refused(f"{base_path} is a mapping; its keys are strings, not {describe(key)}")
    if kind is Placeholder:
        return base[key]
    if isinstance(base, (list, tuple, str)):
        if isinstance(key, int) and not isinstance(key, bool):
            if -len(base) <= key < len(base):
                return base[key]
            return Missing(f"{path} is missing; {base_path} is {describe(base)} of length {len(base)}")
    elif isinstance(base, datetime) and isinstance(key, str) and key in DATE_FIELDS:
        return getattr(base, key)
    return Missing(f"{path} is missing; {base_path} is {describe(base)}")


def _keys(mapping: Mapping[Any, Any]) -> str:
    if not mapping:
        return "is empty"
    names = sorted(str(key)[:60] for key in mapping)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"has: {', '.join(names[:20])}{more}"


def plain(value: Any, work: Work) -> Json:
    """A copy of `value` made of JSON types only; a time becomes RFC 3339 text.

    Raises:
        Refused: part of it is missing or has no form in JSON.
    """
    work.spend(1)
    match present(value):
        case None | bool():
            return value
        case str():
            return value if type(value) is str else str(value)
        case int():
            return value if type(value) is int else int(value)
        case float():
            return finite(value)
        case dict() | Mapping():
            return {_key(key): plain(item, work) for key, item in value.items()}
        case list() | tuple():
            return [plain(item, work) for item in value]
        case datetime():
            return rfc3339(value)
    raise Refused(f"the result holds {describe(value)}")


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise Refused(f"a mapping's keys are strings, not {describe(key)}")
    return key


def text(value: Any, work: Work) -> str:
    """The value within a text: strings as they are, everything else as JSON writes it (`true`, `null`, `[1, 2]`)."""
    if type(value) is str:
        return work.text(value)
    made = plain(value, work)
    return work.text(made if isinstance(made, str) else json.dumps(made, ensure_ascii=False))


def rfc3339(moment: datetime) -> str:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    written = moment.isoformat()
    return written.removesuffix("+00:00") + "Z" if written.endswith("+00:00") else written


def finite(number: float) -> float:
    if not math.isfinite(number):
        raise Refused("the result is not a finite number")
    return number


def number(value: Any, what: str) -> int | float:
    """`value` if it is a number; a boolean is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(f"{what} needs a number, not {describe(value)}")
    return value


def within_bounds(value: int | float) -> int | float:
    if isinstance(value, float):
        return finite(value)
    if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise Refused("the result is an integer of more than 64 bits")
    return value


_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


def arithmetic(sign: str, left: Any, right: Any, work: Work) -> Any:
    """Numbers by any sign; strings and lists only by `+`."""
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        return work.text(left + right)
    if left.__class__ is Placeholder or right.__class__ is Placeholder:
        return left if left.__class__ is Placeholder else right
    if sign == "+":
        if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            work.spend(len(left) + len(right))
            return [*left, *right]
        if isinstance(left, str) or isinstance(right, str):
            raise Refused(f"+ can't add {describe(left)} and {describe(right)}; ~ joins them as text")
    within_bounds(number(left, sign)), within_bounds(number(right, sign))
    if right == 0 and sign in ("/", "//", "%"):
        raise Refused("division by zero")
    try:
        return within_bounds(_ARITHMETIC[sign](left, right))
    except OverflowError:
        raise Refused("the result is not a finite number") from None


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right)


def _contains(left: Any, right: Any) -> bool:
    if isinstance(right, str) and not isinstance(left, str):
        raise Refused(f"only a string can be in a string, not {describe(left)}")
    if not isinstance(right, (str, list, tuple, Mapping)):
        raise Refused(f"in needs a string, a list or a mapping, not {describe(right)}")
    if isinstance(right, Mapping):
        return isinstance(left, str) and left in right
    return left in right


def _ordered(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        try:
            return bool(compare(left, right))
        except TypeError:
            raise Refused(f"can't compare {describe(left)} with {describe(right)}") from None

    return ordered


COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": _equal,
    "ne": lambda left, right: not _equal(left, right),
    "lt": _ordered(operator.lt),
    "lteq": _ordered(operator.le),
    "gt": _ordered(operator.gt),
    "gteq": _ordered(operator.ge),
    "in": _contains,
    "notin": lambda left, right: not _contains(left, right),
}


def fail(problem: str) -> NoReturn:
    raise Refused(problem)
