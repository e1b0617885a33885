"""Comparing and searching, paid for by the size of what is compared."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from flows.expressions.values import Refused, Work, describe, weigh

Compare = Callable[[Any, Any, Work], bool]

_PAIR: Final = 10
_READ: Final = 64
"""Characters that are compared for one unit."""


def equal(left: Any, right: Any, work: Work) -> bool:
    """Whether they are equal, paid for up to the first difference."""
    if left is right:
        return True
    if isinstance(left, str) and isinstance(right, str):
        work.spend(min(len(left), len(right)) // _READ + 1)
        return bool(left == right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            return False
        work.spend(_PAIR + len(left))
        for one, other in zip(left, right, strict=True):
            if one is not other:
                work.spend(_PAIR)
                if not equal(one, other, work):
                    return False
        return True
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        if len(left) != len(right):
            return False
        for key, one in left.items():
            work.spend(_PAIR + len(key) // _READ)
            if key not in right or not equal(one, right[key], work):
                return False
        return True
    return bool(left == right)


def contains(left: Any, right: Any, work: Work) -> bool:
    """Whether `left` is in `right`: a text in a text, a key in a mapping, an item in a list."""
    if isinstance(right, str):
        if not isinstance(left, str):
            raise Refused(f"only a string can be in a string, not {describe(left)}")
        work.spend(search_units(right, left))
        return left in right
    if isinstance(right, Mapping):
        work.spend(len(left) // _READ if isinstance(left, str) else 1)
        return isinstance(left, str) and left in right
    if not isinstance(right, (list, tuple)):
        raise Refused(f"in needs a string, a list or a mapping, not {describe(right)}")
    if isinstance(left, (list, tuple, Mapping)):
        return any(_is_item(left, item, work) for item in right)
    work.spend(len(right) * (1 + (len(left) // _READ if isinstance(left, str) else 0)))
    return left in right


def _is_item(left: Any, item: Any, work: Work) -> bool:
    work.spend(_PAIR)
    return equal(left, item, work)


def search_units(hay: str, needle: str) -> int:
    """What finding `needle` takes at worst: CPython looks at each place one by one in short texts, at most twice at
    each character in long ones.
    """
    here, there = len(hay), len(needle)
    if there > here:
        return 1
    if here < 2_500:
        tries = there
    elif here < 30_000:
        tries = min(there, 100)
    else:
        tries = min(there, 6)
    return 1 + here * tries // 16 + (here // 4 if there > 5 and here >= 2_500 else 0)


def ordered(compare: Callable[[Any, Any], Any]) -> Compare:
    def compared(left: Any, right: Any, work: Work) -> bool:
        work.spend(weigh_key(left, work))
        try:
            return bool(compare(left, right))
        except TypeError:
            raise Refused(f"can't compare {describe(left)} with {describe(right)}") from None

    return compared


def weigh_key(key: Any, work: Work) -> int:
    """Units of comparing it once with another, by size."""
    if isinstance(key, (list, tuple)):
        return weigh(key, work)
    return 1 + len(key) // _READ if isinstance(key, str) else 1


COMPARE: Final[Mapping[str, Compare]] = {
    "eq": equal,
    "ne": lambda left, right, work: not equal(left, right, work),
    "lt": ordered(operator.lt),
    "lteq": ordered(operator.le),
    "gt": ordered(operator.gt),
    "gteq": ordered(operator.ge),
    "in": contains,
    "notin": lambda left, right, work: not contains(left, right, work),
}
