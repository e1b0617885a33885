"""A place in a workflow while it is compiled: what expressions may refer to there, and where faults are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from flows.expressions import (
    Expression,
    compile_condition,
    compile_expression,
    compile_value,
    strings_in,
    unknown,
)
from flows.language.definition import Json, Path
from flows.language.faults import Faults
from foundation.errors import ExpressionError

DEDUPE_NAMES: Final = frozenset({"event"})
"""What a webhook's `dedupe` can refer to."""
VARS_NAMES: Final = frozenset({"event", "workflow", "execution", "now"})
STEP_NAMES: Final = VARS_NAMES | {"steps", "vars", "callbacks"}
"""What a step and the workflow's `output` can refer to."""
FAILURE_NAMES: Final = frozenset({"error"})
"""What `catch` and `on_failure` can refer to beyond that."""
ANSWER_NAMES: Final = STEP_NAMES | {"output"}
"""What `respond` can refer to; `output` is the workflow's."""


class ActionInfo(Protocol):
    """What is asked of an action; `connectors.kit.action.Action` has it."""

    @property
    def signature(self) -> inspect.Signature: ...
    @property
    def credential(self) -> Collection[Any]:
        """The types it takes; empty: none."""
        ...

    @property
    def credential_required(self) -> bool: ...
    @property
    def unrendered(self) -> Collection[str]:
        """The arguments that are handed over as they are written."""
        ...

    @property
    def urls(self) -> Collection[str]:
        """Those that are addresses."""
        ...


Actions = Mapping[str, ActionInfo]
"""All there are, by name: `connectors.kit.registry.registry()`."""


@dataclass(frozen=True)
class Place:
    """
    Attributes:
        names: what is in scope.
        steps: the ids of the steps that can be referred to.
        hidden: for each step of the workflow, why it can't be referred to where it can't.
        depth: how many blocks are around it, the workflow's own not counted.
        references: gathers the ids that expressions refer to; shared with the places inside.
        hosts: every `host:port` that the workflow's `vars` name literally.
        ids: gathers all ids of the workflow; shared by all its places.
    """

    faults: Faults
    actions: Actions
    path: Path = ()
    names: frozenset[str] = STEP_NAMES
    steps: frozenset[str] = frozenset()
    hidden: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    references: set[str] = field(default_factory=set)
    hosts: frozenset[str] = frozenset()
    ids: set[str] = field(default_factory=set)

    def at(self, *path: str | int, names: frozenset[str] | None = None) -> Place:
        """A place inside this one."""
        return replace(self, path=(*self.path, *path), names=names or self.names)

    def alone(self) -> Place:
        """The same place, which gathers its references by itself."""
        return replace(self, references=set())

    def seeing(self, steps: Collection[str]) -> Place:
        """The same place, where these steps can be referred to."""
        return replace(self, steps=frozenset(steps))

    def deeper(self) -> Place:
        return replace(self, depth=self.depth + 1)

    def fault(self, message: str) -> None:
        self.faults.add(self.path, message)

    def value(self, value: Json, *, verbatim: Collection[str] = (), urls: Collection[str] = ()) -> Expression:
        """Compiles every string in a value; each faulty one is told at its own place.

        Args:
            verbatim, urls: keys of the outermost mapping, as `compile_value` has them.
        """
        before = len(self.faults.found)
        for place, text in strings_in(value):
            if not (place and place[0] in verbatim):
                self.at(*place)._try(lambda text=text: compile_value(text, self.names))  # type: ignore[misc]
        if len(self.faults.found) > before:
            return _NOTHING
        return self._try(lambda: compile_value(value, self.names, verbatim=verbatim, urls=urls))  # its keys, too

    def condition(self, source: str | bool) -> Expression:
        return self._try(lambda: compile_condition(source, self.names))

    def expression(self, source: str) -> Expression:
        """Compiles a bare expression."""
        return self._try(lambda: compile_expression(source, self.names))

    def check_steps(self, ids: Collection[str]) -> None:
        """Those that are no steps one can refer to here are faults."""
        for reference in sorted(set(ids) - self.steps):
            self.fault(self.hidden.get(reference) or unknown("step", reference, sorted(self.steps)))

    def check_needs(self, ids: Collection[str], block: Sequence[str]) -> None:
        """Those that are no steps of the block are faults."""
        for needed in sorted(set(ids) - set(block)):
            if needed in self.hidden:
                self.fault(f"step {needed!r} is in another block; needs names steps of the same one")
            else:
                self.fault(unknown("step", needed, block))

    def claim(self, step_id: str) -> None:
        """No other step of the workflow may have this id."""
        if step_id in self.ids:
            self.fault(f"there is a step {step_id!r} already")
        self.ids.add(step_id)

    def _try(self, compile_it: Callable[[], Expression]) -> Expression:
        try:
            expression = compile_it()
        except ExpressionError as error:
            self.fault(str(error))
            return _NOTHING
        self.references.update(expression.references)
        return expression


_NOTHING: Final = compile_value(None)
"""Stands for what has a fault: a workflow that has one is never run."""
