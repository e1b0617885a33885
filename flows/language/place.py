"""A place in a workflow while it is compiled: what expressions may refer to there, and where faults are told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.kit.description import Description
from flows.expressions import (
    Expression,
    compile_condition,
    compile_expression,
    compile_value,
    strings_in,
    unknown,
)
from flows.expressions.inference import expression_shape, text_shape
from flows.expressions.shapes import ANYTHING, INTEGER, STRING, Shape, list_of, literal, mapping, one_of, union
from flows.language.definition import Json, Path
from flows.language.faults import Faults
from foundation.errors import ConfigurationError, ExpressionError

EVENT_NAMES: Final = frozenset({"event"})
"""What a webhook's `dedupe` and `when` can refer to."""
POLL_NAMES: Final = frozenset({"cursor", "now"})
"""What the arguments of a poll's action can refer to."""
OUTPUT_NAMES: Final = frozenset({"output"})
"""What a poll's `items` and `cursor` can refer to: its action's output."""
ITEM_NAMES: Final = frozenset({"item"})
"""What a poll's `key` can refer to."""
VARS_NAMES: Final = frozenset({"event", "workflow", "execution", "now"})
STEP_NAMES: Final = VARS_NAMES | {"steps", "vars", "callbacks"}
"""What a step and the workflow's `output` can refer to."""
FAILURE_NAMES: Final = frozenset({"error"})
"""What `catch` and `on_failure` can refer to beyond that."""
ANSWER_NAMES: Final = STEP_NAMES | {"output"}
"""What `respond` can refer to; `output` is the workflow's."""

Actions = Mapping[str, Description]
"""All there are, by name: `connectors.kit.descriptions.DESCRIPTIONS`."""


@dataclass(frozen=True)
class Place:
    """
    Attributes:
        names: what is in scope.
        steps: the ids of the steps that can be referred to.
        hidden: for each step of the workflow, why it can't be referred to where it can't.
        depth: how many blocks are around it, the workflow's own not counted.
        references: gathers the ids that expressions refer to, and where first; shared with the places inside.
        hosts: every `host:port` that the workflow's `vars` name literally.
        shapes: what is known of the names in scope.
        ids: gathers all ids of the workflow; shared by all its places.
        outputs: gathers what `steps.ID` is known to be of each step; shared, too.
    """

    faults: Faults
    actions: Actions
    path: Path = ()
    names: frozenset[str] = STEP_NAMES
    steps: frozenset[str] = frozenset()
    hidden: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    references: dict[str, Path] = field(default_factory=dict)
    hosts: frozenset[str] = frozenset()
    shapes: Mapping[str, Shape] = field(default_factory=lambda: GLOBAL_SHAPES)
    ids: set[str] = field(default_factory=set)
    outputs: dict[str, Shape] = field(default_factory=dict)

    def at(self, *path: str | int, names: frozenset[str] | None = None) -> Place:
        """A place inside this one."""
        return replace(self, path=(*self.path, *path), names=names or self.names)

    def alone(self) -> Place:
        """The same place, which gathers its references by itself."""
        return replace(self, references={})

    def seeing(self, steps: Collection[str]) -> Place:
        """The same place, where these steps can be referred to."""
        return replace(self, steps=frozenset(steps))

    def deeper(self) -> Place:
        return replace(self, depth=self.depth + 1)

    def action(self, name: str) -> Description | None:
        """The action; None if there is none, or what it is made of can't be read: `Uses.check` tells why."""
        try:
            return self.actions.get(name)
        except ConfigurationError:
            return None

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

    def check_steps(self) -> None:
        """What was referred to and is no step that can be referred to here is a fault, at its own place."""
        for reference in sorted(one for one in self.references if one not in self.steps):
            fault = self.hidden.get(reference) or unknown("step", reference, sorted(self.steps))
            self.faults.add(self.references[reference], fault)

    def check_needs(self, ids: Collection[str], block: Collection[str]) -> None:
        """Those that are no steps of the block are faults."""
        for needed in sorted({one for one in ids if one not in block}):
            if needed in self.hidden:
                self.fault(f"step {needed!r} is in another block; needs names steps of the same one")
            else:
                self.fault(unknown("step", needed, block))

    def claim(self, step_id: str) -> None:
        """No other step of the workflow may have this id."""
        if step_id in self.ids:
            self.fault(f"there is a step {step_id!r} already")
        self.ids.add(step_id)

    def shape(self, value: Json) -> Shape:
        """What a value with expressions is; tells what in them can't be, each at its own place."""
        if isinstance(value, str):
            return self._told(text_shape(value, self._scope)) if "{{" in value else STRING
        if isinstance(value, Mapping):
            return mapping({key: self.at(key).shape(item) for key, item in value.items()})
        if isinstance(value, (list, tuple)):
            return list_of(union(self.at(index).shape(item) for index, item in enumerate(value)))
        return replace(literal(value), values=None)  # its author may write another tomorrow

    def expression_shape(self, source: Json) -> Shape:
        """The same of a bare expression."""
        return self._told(expression_shape(source, self._scope)) if isinstance(source, str) else self.shape(source)

    def knowing(self, shapes: Mapping[str, Shape]) -> Place:
        """The same place, where more is known of some names."""
        return replace(self, shapes={**self.shapes, **shapes})

    def silent(self) -> Place:
        """The same place, where faults are told to nobody."""
        return replace(self, faults=self.faults.unheard())

    def output_of(self, block: Sequence[str]) -> Shape:
        """What a block gives whose steps these are: its last one's output."""
        return self.outputs[block[-1]].key("output") if block and block[-1] in self.outputs else ANYTHING

    @property
    def _scope(self) -> Mapping[str, Shape]:
        return {**self.shapes, "steps": mapping(self.outputs, closed=False)}

    def _told(self, found: tuple[Shape, Sequence[str]]) -> Shape:
        shape, faults = found
        for fault in faults:
            self.fault(fault)
        return shape

    def _try(self, compile_it: Callable[[], Expression]) -> Expression:
        try:
            expression = compile_it()
        except ExpressionError as error:
            self.fault(str(error))
            return _NOTHING
        for reference in expression.references:
            self.references.setdefault(reference, self.path)
        return expression


def _known(keys: Sequence[str]) -> Shape:
    return mapping(dict.fromkeys(keys, ANYTHING))


STATUSES: Final = one_of("accepted", "running", "waiting", "succeeded", "failed", "timed_out", "cancelled", "skipped")
ERROR: Final = _known(("message", "code", "step", "status"))
EVENT_KEYS: Final = ("id", "body", "headers", "query", "method", "path", "received_at", "batch")
GLOBAL_SHAPES: Final[Mapping[str, Shape]] = {
    "event": _known(EVENT_KEYS),
    "workflow": mapping({"name": STRING}),
    "execution": mapping({"id": STRING}),
    "error": ERROR,
    "index": INTEGER,
}
"""What is known of names wherever they are in scope."""


def step_shape(output: Shape) -> Shape:
    """What `steps.ID` is of a step with this output."""
    return mapping({"output": output, "status": STATUSES, "error": ANYTHING})


_NOTHING: Final = compile_value(None)
"""Stands for what has a fault: a workflow that has one is never run."""
