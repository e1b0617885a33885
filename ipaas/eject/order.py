"""Which steps of a block come one after the other, and which side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flows.language.step import Step


@dataclass(frozen=True)
class InTurn:
    parts: Sequence[Order]


@dataclass(frozen=True)
class SideBySide:
    parts: Sequence[Order]


Order: TypeAlias = Step | InTurn | SideBySide


class Tangled(Exception):
    """The steps wait for each other in a way that is no nesting of the two."""


def order_of(steps: Sequence[Step]) -> Order:
    """Raises Tangled."""
    before: dict[str, set[str]] = {}
    for step in _sorted(steps):
        before[step.id] = set(step.after).union(*(before[one] for one in step.after))
    return _split(list(steps), before)


def _sorted(steps: Sequence[Step]) -> Iterator[Step]:
    left, done = list(steps), set[str]()
    while left:
        step = next(step for step in left if done.issuperset(step.after))
        left.remove(step)
        done.add(step.id)
        yield step


def _split(steps: list[Step], before: Mapping[str, set[str]]) -> Order:
    if len(steps) == 1:
        return steps[0]

    def in_turn(one: Step, other: Step) -> bool:
        return one.id in before[other.id] or other.id in before[one.id]

    branches = _components(steps, in_turn)
    if len(branches) > 1:
        return SideBySide([_split(part, before) for part in branches])
    stages = _components(steps, lambda one, other: not in_turn(one, other))
    if len(stages) == 1:
        raise Tangled
    stages.sort(key=lambda stage: len(before[stage[0].id]))
    return InTurn([_split(part, before) for part in stages])


def _components(steps: Collection[Step], joined: Callable[[Step, Step], bool]) -> list[list[Step]]:
    left, found = list(steps), []
    while left:
        part = [left.pop(0)]
        for step in part:
            near = [other for other in left if joined(step, other)]
            left = [other for other in left if other not in near]
            part += near
        found.append([step for step in steps if step in part])
    return found
