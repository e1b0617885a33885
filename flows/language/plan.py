"""A workflow made ready to run: every expression compiled, every step's dependencies known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.expressions import Expression, compile_condition, compile_value
from flows.language.definition import Respond, Step, Webhook, Workflow
from flows.language.order import (
    ANSWER_NAMES,
    DEDUPE_NAMES,
    STEP_NAMES,
    VARS_NAMES,
    RendersArguments,
    check_answer,
    check_expressions,
    check_order,
)
from flows.language.yaml_source import DefinitionErrors, Faults


@dataclass(frozen=True)
class CompiledStep:
    """A step, ready to run.

    Attributes:
        condition: renders to true or false; None when it has no `if`.
        arguments: renders to the action's arguments, but the credential.
        depends_on: the ids of the steps that must have ended (or been skipped) before.
    """

    step: Step
    condition: Expression | None
    arguments: Expression
    depends_on: frozenset[str]


@dataclass(frozen=True)
class CompiledWorkflow:
    """A workflow, ready to run. Made once per version, shared by all its executions.

    Attributes:
        vars: renders within `VARS_NAMES`.
        steps: in the order they are written; each within `STEP_NAMES`.
        output: within `STEP_NAMES`.
    """

    workflow: Workflow
    vars: Expression
    steps: tuple[CompiledStep, ...]
    output: Expression


@dataclass(frozen=True)
class CompiledAnswer:
    """A declaration's `respond`, each part rendering within `ANSWER_NAMES`."""

    status: Expression
    body: Expression
    headers: Expression


def compile_workflow(workflow: Workflow, actions: Mapping[str, RendersArguments]) -> CompiledWorkflow:
    """Compiles all of it, `respond` excepted.

    Args:
        actions: by name; a step whose action is unknown has all its arguments rendered.

    Raises:
        DefinitionErrors: faulty expressions, unknown steps, steps that wait for each other; each with its line.
    """
    faults, ids = Faults(workflow), [step.id for step in workflow.steps]
    check_expressions(faults, ("vars",), workflow.vars, VARS_NAMES)
    depends_on = check_order(faults, workflow, actions)
    check_expressions(faults, ("output",), workflow.output, STEP_NAMES, ids)
    check_answer(faults, workflow, ids)
    if faults.found:
        raise DefinitionErrors(faults.found)
    return CompiledWorkflow(
        workflow,
        compile_value(workflow.vars, VARS_NAMES),
        tuple(_compiled_step(step, frozenset(depends_on[step.id]), actions) for step in workflow.steps),
        compile_value(workflow.output, STEP_NAMES),
    )


def _compiled_step(step: Step, depends_on: frozenset[str], actions: Mapping[str, RendersArguments]) -> CompiledStep:
    action = actions.get(step.uses)
    return CompiledStep(
        step,
        None if step.if_ is None else compile_condition(step.if_, STEP_NAMES),
        compile_value(step.with_, STEP_NAMES, verbatim=action.unrendered if action else ()),
        depends_on,
    )


def compile_answer(respond: Respond) -> CompiledAnswer:
    """Compiles what the sender gets.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return CompiledAnswer(
        *(compile_value(part, ANSWER_NAMES) for part in (respond.status, respond.body, respond.headers))
    )


def compile_dedupe(webhook: Webhook) -> Expression | None:
    """The webhook's `dedupe`, which renders within `DEDUPE_NAMES`.

    Raises:
        ExpressionError: it is faulty; check first.
    """
    return None if webhook.dedupe is None else compile_value(webhook.dedupe, DEDUPE_NAMES)
