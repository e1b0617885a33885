"""A workflow made of steps: what a YAML file says, and the same made ready to run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import Field, PrivateAttr

from flows.expressions import Expression, compile_condition, compile_value, literal_hosts
from flows.expressions.schema_shapes import of_schema
from flows.expressions.shapes import ANYTHING, Shape, mapping
from flows.language.block import check_block, compile_block, hidden_steps
from flows.language.definition import Declaration, Json, Path, Respond, Webhook
from flows.language.faults import DefinitionErrors, Enough, Faults
from flows.language.graph import Graph, graph_of_workflow
from flows.language.in_clear import check_in_clear
from flows.language.kinds import Block
from flows.language.place import (
    ANSWER_NAMES,
    EVENT_KEYS,
    EVENT_NAMES,
    FAILURE_NAMES,
    STEP_NAMES,
    VARS_NAMES,
    Actions,
    Place,
)
from flows.language.step import Step, by_id, every_step, placed_steps, seen_of
from foundation.errors import DefinitionError


class Workflow(Declaration):
    """A workflow made of steps. Compiled once per version, shared by all its executions.

    Attributes:
        on_failure: what runs when the execution failed, with `error` in scope.
    """

    vars: Mapping[str, Json] = {}
    steps: Block = Field(min_length=1)
    output: Json = None
    on_failure: Block = ()

    _vars: Expression = PrivateAttr()
    _output: Expression = PrivateAttr()

    def compile(self, actions: Actions) -> None:
        """Compiles every expression, those of `respond` excepted, and works out the steps' order.

        Args:
            actions: by name; a step whose action is unknown has all its arguments rendered.

        Raises:
            DefinitionErrors: faulty expressions, unknown steps, steps that wait for each other; each with its line.
        """
        faults = Faults(self)
        with suppress(Enough):
            self._compile(faults, actions)
        if faults.found:
            raise DefinitionErrors(faults.found)

    def _compile(self, faults: Faults, actions: Actions) -> None:
        place = Place(
            faults, actions, hidden=dict(hidden_steps([*self.steps, *self.on_failure])), hosts=literal_hosts(self.vars)
        )
        self._vars = place.at("vars", names=VARS_NAMES).value(self.vars)
        compile_block(self.steps, place.at("steps"))
        place = place.seeing(set(seen_of(self.steps)))
        compile_block(self.on_failure, place.at("on_failure", names=STEP_NAMES | FAILURE_NAMES))
        self._output = _value(place.at("output").alone(), self.output)
        check_answer(place, self)

    def check(self, actions: Actions) -> list[DefinitionError]:
        """What can be known to fail in it, beyond faulty expressions and the steps' order."""
        faults = Faults(self)
        with suppress(Enough):
            self._check(faults, actions)
        return faults.found

    def _check(self, faults: Faults, actions: Actions) -> None:
        place = Place(faults, actions).knowing(self._known())
        place = place.knowing({"vars": place.at("vars").shape(self.vars)})
        check_block(self.steps, place.at("steps"))
        check_block(self.on_failure, place.at("on_failure"))
        output = place.at("output").shape(self.output)
        check_answer_shapes(place.knowing({"output": output}), self)
        check_in_clear(place, self)

    def _known(self) -> Mapping[str, Shape]:
        body = ANYTHING if self.input is None else of_schema(self.input)
        return {"event": mapping(dict.fromkeys(EVENT_KEYS, ANYTHING) | {"body": body})}

    def every_step(self) -> Iterator[Step]:
        """All its steps, however deep, those of `on_failure` last."""
        return every_step([*self.steps, *self.on_failure])

    def graph(self) -> Graph:
        """It as a picture's data. It is compiled already."""
        return graph_of_workflow(self)

    def placed_steps(self) -> Iterator[tuple[Path, Step]]:
        """The same, each with where it is written."""
        yield from placed_steps(self.steps, ("steps",))
        yield from placed_steps(self.on_failure, ("on_failure",))

    def as_data(self) -> dict[str, Json]:
        """What it says, defaults left out, each block as its steps' data by their ids."""
        data: dict[str, Json] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        blocks = {"steps": self.steps, "on_failure": self.on_failure}
        return data | {key: by_id(steps) for key, steps in blocks.items() if steps}

    @property
    def rendered_vars(self) -> Expression:
        """Renders within `VARS_NAMES`."""
        return self._vars

    @property
    def rendered_output(self) -> Expression:
        """Renders within `STEP_NAMES`."""
        return self._output


@dataclass(frozen=True)
class CompiledResponse:
    """A declaration's `respond`, each part rendering within `ANSWER_NAMES`."""

    status: Expression
    body: Expression
    headers: Expression


def check_answer(place: Place, declaration: Declaration) -> None:
    """Tells `place` every faulty expression in `respond`."""
    for key in ("status", "body", "headers"):
        _value(place.at("respond", key, names=ANSWER_NAMES).alone(), getattr(declaration.respond, key))


def check_answer_shapes(place: Place, declaration: Declaration) -> None:
    """Tells `place` what in `respond` can't be."""
    for key in ("status", "body", "headers"):
        place.at("respond", key).shape(getattr(declaration.respond, key))


def _value(place: Place, value: Json) -> Expression:
    expression = place.value(value)
    place.check_steps()
    return expression


def compile_answer(respond: Respond) -> CompiledResponse:
    """Compiles what the sender gets.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return CompiledResponse(
        *(compile_value(part, ANSWER_NAMES) for part in (respond.status, respond.body, respond.headers))
    )


def compile_dedupe(webhook: Webhook) -> Expression | None:
    """The webhook's `dedupe`, which renders within `EVENT_NAMES`.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return None if webhook.dedupe is None else compile_value(webhook.dedupe, EVENT_NAMES)


def compile_when(webhook: Webhook) -> Expression | None:
    """The webhook's `when`, likewise."""
    return None if webhook.when is None else compile_condition(webhook.when, EVENT_NAMES)
