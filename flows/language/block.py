"""A block: a list of steps, and which of them waits for which.

Steps run one after the other. `needs` replaces that: the step waits for those only. A reference to `steps.X` makes a
step wait for X whatever `needs` says.
"""

from __future__ import annotations

import graphlib
from collections.abc import Mapping, Sequence

from flows.language.place import Place
from flows.language.step import Step


def compile_block(steps: Sequence[Step], place: Place) -> None:
    """Compiles the steps and tells each what it waits for; what is wrong is told to `place`."""
    waits: dict[str, set[str]] = {}
    known = [step.id for step in steps]
    for index, step in enumerate(steps):
        here = place.at(index).alone()
        step.compile(here)
        refers = here.references
        here.check_steps(refers)
        here.at("needs").check_steps(step.needs or ())
        if step.id in waits:
            here.at("id").fault(f"there is a step {step.id!r} already")
        before = known[index - 1 : index] if step.needs is None and index else step.needs or ()
        waits.setdefault(step.id, set()).update((refers | set(before)) & set(known))
        step._after = tuple(one for one in known if one in waits[step.id])
    if len(waits) == len(known):
        _check_circles(place, waits, known)


def check_block(steps: Sequence[Step], place: Place) -> None:
    """Tells `place` what is wrong with each step beyond its expressions and its order."""
    for index, step in enumerate(steps):
        step.check(place.at(index))


def _check_circles(place: Place, waits: Mapping[str, set[str]], known: Sequence[str]) -> None:
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1][::-1]
        place.at(min(known.index(step) for step in circle)).fault(
            f"{' waits for '.join(circle)}: a step waits for those in its needs, or else for the one before it, "
            "and for every step that it refers to"
        )
