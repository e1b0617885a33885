"""Whose turn it is among several queues: the first of each, then the second of each, and so on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, zip_longest
from typing import TypeVar

T = TypeVar("T")


def in_turn(queues: Iterable[Sequence[T]], limit: int) -> list[T]:
    """The first `limit` of all queues; each queue keeps its order."""
    rounds = zip_longest(*queues)
    return list(islice((one for each in rounds for one in each if one is not None), limit))
