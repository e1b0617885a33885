"""What expressions work on: JSON values and dates, looked up by key only, within bounds.

No Python attribute of any value is ever read: a lookup is a key of a mapping, an index of a list or a character of a
string. Errors name paths and types, never values, which may be secret.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, NoReturn

Json = Any

MAX_TEXT: Final = 1_048_576
"""Characters of any string that an expression makes."""
MAX_WORK: Final = 3_000_000
"""Units of work of one rendering.

Rendering holds a worker's event loop, and only this bound ends it. Each operation pays for the size of what it reads
and makes, before it does it, so that no expression takes longer than 0.3 s, whatever the data is. Measured with about a
hundred hostile expressions on bodies of 1 MiB and outputs of 10 MiB, in processor time under CPython 3.11 on two cores
that eight other jobs kept busy: 10 to 70 ns a unit, 0.21 s for the worst. `plain` hands on about 8 MiB of usual JSON.
"""
SMALLEST_INTEGER: Final = -(2**63)
LARGEST_INTEGER: Final = 2**64 - 1
"""What 64 bits hold: larger numbers are not portable JSON."""


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


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
    """The value of a path that leads nowhere. `default` and `is defined` take it; all else raises its problem.

    Args:
        problem: put into words only when it is raised, because naming the keys there are takes long.
    """

    __slots__ = ("problem",)

    def __init__(self, problem: Callable[[], str]) -> None:
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


class SafeUrl(str):
    """A text that `safe_url` lets into an address as it is. Anywhere else it is only its text."""

    __slots__ = ()


class Encoded(str):
    """A text that is percent-encoded, which an address does not do again. Anywhere else it is only its text."""

    __slots__ = ()


def present(value: Any) -> Any:
    """`value`, unless it is missing.

    Raises:
        Refused: naming the first missing part of the path.
    """
    if value.__class__ is Missing:
        raise Refused(value.problem())
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


_NO_MAPPINGS: Final = frozenset({list, str, int, float, bool, type(None)})
"""Told apart at once: asking whether something is a `Mapping` takes longer than all else."""
DATE_FIELDS: Final = frozenset({"year", "month", "day", "hour", "minute", "second", "microsecond"})


def lookup(base: Any, key: Any, path: str, base_path: str) -> Any:
    """`base[key]`, or what is `Missing`. `path` and `base_path` are how the author wrote both."""
    kind = base.__class__
    if kind is Missing:
        return base
    if kind is dict or (kind not in _NO_MAPPINGS and isinstance(base, Mapping)):
        if isinstance(key, str):
            if key in base:
                return base[key]
            return Missing(lambda: f"{path} is missing; {base_path} {_keys(base)}")
        raise Refused(f"{base_path} is a mapping; its keys are strings, not {describe(key)}")
    if kind is Placeholder:
        return base[key]
    if kind is list or isinstance(base, (list, tuple, str)):
        if isinstance(key, int) and not isinstance(key, bool):
            if -len(base) <= key < len(base):
                return base[key]
            return Missing(lambda: f"{path} is missing; {base_path} is {describe(base)} of length {len(base)}")
    elif isinstance(base, datetime) and isinstance(key, str) and key in DATE_FIELDS:
        return getattr(base, key)
    return Missing(lambda: f"{path} is missing; {base_path} is {describe(base)}")


def _keys(mapping: Mapping[Any, Any]) -> str:
    if not mapping:
        return "is empty"
    names = sorted(str(key)[:60] for key in islice(mapping, 1000))
    more = f" and {len(mapping) - 20} more" if len(mapping) > 20 else ""
    return f"has: {', '.join(names[:20])}{more}"


_EACH: Final = 2
_CONTAINER: Final = 10
_LONG: Final = 16
"""Characters, or bits of an integer beyond 64, that are handed on for one unit."""


def plain(value: Any, work: Work) -> Json:
    """A copy of `value` made of JSON types only; a time becomes RFC 3339 text.

    Strings are not copied, yet paid for: who gets the copy writes each of them out.

    Raises:
        Refused: part of it is missing or has no form in JSON.
    """
    kind = value.__class__
    if kind is list or kind is tuple:
        return _plain_list(value, work)
    if kind is dict:
        return _plain_mapping(value, work)
    work.spend(_EACH)
    match present(value):
        case None | bool():
            return value
        case str():
            work.spend(len(value) // _LONG)
            return value if kind is str else str(value)
        case int():
            work.spend(_beyond(value) // _LONG)
            return value if kind is int else int(value)
        case float():
            return finite(value)
        case Mapping():
            return _plain_mapping(value, work)
        case list() | tuple():
            return _plain_list(value, work)
        case datetime():
            work.spend(_CONTAINER)
            return rfc3339(value)
    raise Refused(f"the result holds {describe(value)}")


# The loop stands twice: a call for each item, or a list for each mapping, would cost half as much again.
def _plain_list(items: Sequence[Any], work: Work) -> list[Json]:
    work.spend(_CONTAINER + _EACH * len(items))
    long, made = 0, []
    for item in items:
        kind = item.__class__
        if kind is str:
            long += len(item)
        elif kind is int:
            if not SMALLEST_INTEGER <= item <= LARGEST_INTEGER:
                long += item.bit_length()
        elif item is not None and kind is not bool:
            item = plain(item, work)
        made.append(item)
    work.spend(long // _LONG)
    return made


def _plain_mapping(mapping: Mapping[Any, Any], work: Work) -> dict[str, Json]:
    work.spend(_CONTAINER + _EACH * len(mapping))
    long, made = 0, {}
    for key, item in mapping.items():
        kind = item.__class__
        if kind is str:
            long += len(item)
        elif kind is int:
            if not SMALLEST_INTEGER <= item <= LARGEST_INTEGER:
                long += item.bit_length()
        elif item is not None and kind is not bool:
            item = plain(item, work)
        long += len(key if key.__class__ is str else _key(key))
        made[key] = item
    work.spend(long // _LONG)
    return made


def _beyond(number: int) -> int:
    """The bits of an integer that is too long for 64."""
    return 0 if SMALLEST_INTEGER <= number <= LARGEST_INTEGER else number.bit_length()


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise Refused(f"a mapping's keys are strings, not {describe(key)}")
    return key


def weigh(value: Any, work: Work) -> int:
    """How much there is in `value`: its values, and the characters of its texts and long numbers. Each is paid for.

    It is what comparing it takes at most, and no more than the characters that JSON needs for it.
    """
    weight, floats, pending = 0, 0, [value]
    while pending:
        item = pending.pop()
        kind = item.__class__
        weight += 1
        if isinstance(item, str):
            weight += len(item)
        elif kind is int:
            weight += _beyond(item) // 4
        elif kind is float:
            floats += 1
        elif kind is list or kind is tuple:
            work.spend(_CONTAINER + _EACH * len(item))
            pending += item
        elif kind is dict:
            work.spend(_CONTAINER + 2 * _EACH * len(item))
            pending += item
            pending += item.values()
        elif isinstance(item, Mapping):
            pending.append(dict(item))
    work.spend(_EACH + weight // 64 + 10 * floats)  # writing one takes long
    return weight


def text(value: Any, work: Work) -> str:
    """The value within a text: strings as they are, everything else as JSON writes it (`true`, `null`, `[1, 2]`)."""
    if type(value) is str:
        return work.text(value)
    if type(value) is int:
        work.spend(_EACH + _beyond(value) // _LONG)
        return work.text(str(value))
    made = plain(value, work)
    return work.text(made) if isinstance(made, str) else json_text(made, work)


def json_text(made: Json, work: Work, encoder: json.JSONEncoder = _ENCODER) -> str:
    """What `plain` made, in JSON. Its least length is known before any of it is written."""
    weight = weigh(made, work)
    if weight > MAX_TEXT:
        raise Refused(f"the result is longer than {MAX_TEXT} characters")
    work.spend(weight // 2)
    return work.text(encoder.encode(made))


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


def fail(problem: str) -> NoReturn:
    raise Refused(problem)
