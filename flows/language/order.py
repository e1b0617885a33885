"""Which steps wait for which, and what expressions may refer to in each place.

Steps run one after the other. `needs` replaces that: the step waits for those only. A reference to `steps.X` makes a
step wait for X whatever `needs` says.
"""

from __future__ import annotations

import graphlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

from flows.expressions import Expression, compile_condition, compile_value, strings_in, unknown
from flows.language.definition import Declaration, Json, Path, Step, Workflow
from flows.language.yaml_source import Faults
from foundation.errors import ExpressionError

DEDUPE_NAMES: Final = frozenset({"event"})
"""What a webhook's `dedupe` can refer to."""
VARS_NAMES: Final = frozenset({"event", "workflow", "execution", "now"})
STEP_NAMES: Final = VARS_NAMES | {"steps", "vars"}
"""What a step and the workflow's `output` can refer to."""
ANSWER_NAMES: Final = STEP_NAMES | {"output"}
"""What `respond` can refer to; `output` is the workflow's."""


class RendersArguments(Protocol):
    """What is asked of an action here."""

    @property
    def unrendered(self) -> Collection[str]:
        """The arguments that are handed over as they are written."""
        ...


def check_order(faults: Faults, workflow: Workflow, actions: Mapping[str, RendersArguments]) -> dict[str, set[str]]:
    """Notes every fault of the steps' expressions and order; the dependencies, as far as they are known."""
    waits: dict[str, set[str]] = {}
    known = [step.id for step in workflow.steps]
    for index, step in enumerate(workflow.steps):
        path: Path = ("steps", index)
        refers = _references(faults, path, step, actions)
        _check_steps(faults, path, refers, known)
        _check_steps(faults, (*path, "needs"), step.needs or (), known)
        if step.id in waits:
            faults.add((*path, "id"), f"there is a step {step.id!r} already")
        before = known[index - 1 : index] if step.needs is None and index else step.needs or ()
        waits.setdefault(step.id, set()).update((refers | set(before)) & set(known))
    if len(waits) == len(known):
        _check_circles(faults, waits, known)
    return waits


def check_expressions(
    faults: Faults, path: Path, value: Json, names: Collection[str], steps: Sequence[str] = ()
) -> None:
    """Notes every faulty expression in the value at `path`, and references to steps that are not among `steps`."""
    _check_steps(faults, path, _compiled(faults, path, value, names), steps)


def check_answer(faults: Faults, declaration: Declaration, steps: Sequence[str]) -> None:
    """Notes every faulty expression in `respond`."""
    for key in ("status", "body", "headers"):
        check_expressions(faults, ("respond", key), getattr(declaration.respond, key), ANSWER_NAMES, steps)


def _references(faults: Faults, path: Path, step: Step, actions: Mapping[str, RendersArguments]) -> frozenset[str]:
    action, condition = actions.get(step.uses), step.if_
    verbatim = action.unrendered if action else ()
    found = frozenset[str]()
    if condition is not None:
        found |= _try(faults, (*path, "if"), lambda: compile_condition(condition, STEP_NAMES))
    for name, value in step.with_.items():
        if name not in verbatim:
            found |= _compiled(faults, (*path, "with", name), value, STEP_NAMES)
    return found


def _compiled(faults: Faults, path: Path, value: Json, names: Collection[str]) -> frozenset[str]:
    """The steps that a value refers to; each of its faulty strings is noted at its own line."""
    before, found = len(faults.found), frozenset[str]()
    for place, text in strings_in(value):
        found |= _try(faults, (*path, *place), lambda text=text: compile_value(text, names))  # type: ignore[misc]
    if len(faults.found) == before:  # what is left are faults of its keys
        _try(faults, path, lambda: compile_value(value, names))
    return found


def _try(faults: Faults, path: Path, compile_it: Callable[[], Expression]) -> frozenset[str]:
    try:
        return compile_it().references
    except ExpressionError as error:
        faults.add(path, str(error))
        return frozenset()


def _check_steps(faults: Faults, path: Path, references: Collection[str], known: Sequence[str]) -> None:
    for reference in sorted(set(references) - set(known)):
        faults.add(path, unknown("step", reference, known))


def _check_circles(faults: Faults, waits: Mapping[str, set[str]], known: Sequence[str]) -> None:
    try:
        graphlib.TopologicalSorter(waits).prepare()
    except graphlib.CycleError as error:
        circle: list[str] = error.args[1][::-1]
        faults.add(
            ("steps", min(known.index(step) for step in circle)),
            f"{' waits for '.join(circle)}: a step waits for those in its needs, or else for the one before it, "
            "and for every step that it refers to",
        )
