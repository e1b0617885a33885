"""A block: a list of steps, which of them waits for which, and what each of them sees.

Steps run one after the other. `needs` replaces that: the step waits for those only. A reference to `steps.X` makes a
step wait for X whatever `needs` says; a reference from inside one of its blocks does, too. A step sees what ended
before it, in its own block and in the blocks around it.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from flows.language.place import Place, step_shape
from flows.language.step import Step, seen_of

DEEPEST: Final = 20
"""How many blocks may stand inside each other, the workflow's own not counted."""


def compile_block(steps: Sequence[Step], place: Place) -> frozenset[str]:
    """Compiles the steps and tells each what it waits for; what is wrong is told to `place`.

    Returns:
        The steps around the block that its steps refer to.
    """
    waits: dict[str, set[str]] = {}
    known = [step.id for step in steps]
    owners = {one: step.id for step in steps for one in seen_of([step])}
    positions = {step_id: index for index, step_id in enumerate(known)}
    visible, refer_out = frozenset(place.steps | owners.keys()), set[str]()
    for index, step in enumerate(steps):
        step._inside = tuple(one for one in seen_of([step]) if one != step.id)
        here = place.at(index).alone().seeing(visible - set(step.inside) if step.inside else visible)
        step.compile(here)
        here.check_steps()
        refers = {one for one in here.references if one in here.steps} | _compile_inside(step, here)
        here.at("needs").check_needs(step.needs or (), positions)
        here.at("id").claim(step.id)
        before = known[index - 1 : index] if step.needs is None and index else step.needs or ()
        waits_for = {owners[one] for one in refers if one in owners} | set(before)
        waits.setdefault(step.id, set()).update(one for one in waits_for if one in positions)
        step._after = tuple(sorted(waits[step.id], key=positions.__getitem__))
        refer_out |= refers & place.steps
    if len(waits) == len(known):
        _check_circles(place, waits, known)
    return frozenset(refer_out)


def _compile_inside(step: Step, here: Place) -> frozenset[str]:
    """Compiles the step's blocks; what they refer to outside of the step."""
    refers: frozenset[str] = frozenset()
    for inner in step.inner():
        inside = here.at(*inner.at, names=here.names | inner.names).deeper()
        if inside.depth > DEEPEST:
            inside.fault(f"nested deeper than {DEEPEST} blocks")
            return refers
        earlier = {one for block in inner.earlier for one in seen_of(block)}
        refers |= compile_block(inner.steps, inside.seeing((here.steps - {step.id}) | earlier))
    return refers & here.steps


def check_block(steps: Sequence[Step], place: Place) -> None:
    """Tells `place` what of each compiled step, however deep, can be known to fail or never to run."""
    for index, step in enumerate(steps):
        here = place.at(index)
        step.check(here)
        for inner in step.inner():
            check_block(inner.steps, here.at(*inner.at).knowing(step.known_inside(here)))
        place.outputs[step.id] = step_shape(step.gives(here))
    _check_reached(place, steps)


def hidden_steps(steps: Sequence[Step], loop: str | None = None) -> Iterator[tuple[str, str]]:
    """Every step's id, with what is told to those who refer to it where it is not seen."""
    for step in steps:
        if loop is None:
            reason = "a step sees what ended before it, in its own block and in the blocks around it"
        else:
            reason = f"it runs inside the loop {loop!r}, whose steps are seen only there; steps.{loop}.output is"
        yield step.id, f"step {step.id!r} is not seen here: {reason}"
        for inner in step.inner():
            yield from hidden_steps(inner.steps, loop if inner.seen or loop else step.id)


def _check_circles(place: Place, waits: Mapping[str, set[str]], known: Sequence[str]) -> None:
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1][::-1]
        place.at(min(known.index(step) for step in circle)).fault(
            f"{' waits for '.join(circle)}: a step waits for those in its needs, or else for the one before it, "
            "and for every step that it refers to"
        )


def _check_reached(place: Place, steps: Sequence[Step]) -> None:
    ends = {step.id for step in steps if step.always_ends_block}
    for index, step in enumerate(steps):
        for before in step.after:
            if before in ends:
                place.at(index).fault(f"never runs: {before!r}, which it waits for, ends its block always")
