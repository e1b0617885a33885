"""A workflow made of steps: what a YAML file says, and the same made ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, PrivateAttr

from flows.expressions import Expression, compile_value, literal_hosts
from flows.language.block import check_block, compile_block
from flows.language.definition import Declaration, Json, Respond, Webhook
from flows.language.faults import DefinitionErrors, Faults
from flows.language.place import ANSWER_NAMES, DEDUPE_NAMES, VARS_NAMES, Actions, Place
from flows.language.uses import Uses
from foundation.errors import DefinitionError


class Workflow(Declaration):
    """A workflow made of steps. Compiled once per version, shared by all its executions."""

    vars: Mapping[str, Json] = {}
    steps: tuple[Uses, ...] = Field(min_length=1)
    output: Json = None

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
        place = Place(faults, actions, steps=[step.id for step in self.steps], hosts=literal_hosts(self.vars))
        self._vars = place.at("vars", names=VARS_NAMES).value(self.vars)
        compile_block(self.steps, place.at("steps"))
        self._output = _value(place.at("output").alone(), self.output)
        check_answer(place, self)
        if faults.found:
            raise DefinitionErrors(faults.found)

    def check(self, actions: Actions) -> list[DefinitionError]:
        """What is wrong with its steps beyond their expressions and their order."""
        faults = Faults(self)
        check_block(self.steps, Place(faults, actions, ("steps",)))
        return faults.found

    @property
    def rendered_vars(self) -> Expression:
        """Renders within `VARS_NAMES`."""
        return self._vars

    @property
    def rendered_output(self) -> Expression:
        """Renders within `STEP_NAMES`."""
        return self._output


@dataclass(frozen=True)
class Answer:
    """A declaration's `respond`, each part rendering within `ANSWER_NAMES`."""

    status: Expression
    body: Expression
    headers: Expression


def check_answer(place: Place, declaration: Declaration) -> None:
    """Tells `place` every faulty expression in `respond`."""
    for key in ("status", "body", "headers"):
        _value(place.at("respond", key, names=ANSWER_NAMES).alone(), getattr(declaration.respond, key))


def _value(place: Place, value: Json) -> Expression:
    expression = place.value(value)
    place.check_steps(place.references)
    return expression


def compile_answer(respond: Respond) -> Answer:
    """Compiles what the sender gets.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return Answer(*(compile_value(part, ANSWER_NAMES) for part in (respond.status, respond.body, respond.headers)))


def compile_dedupe(webhook: Webhook) -> Expression | None:
    """The webhook's `dedupe`, which renders within `DEDUPE_NAMES`.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return None if webhook.dedupe is None else compile_value(webhook.dedupe, DEDUPE_NAMES)
