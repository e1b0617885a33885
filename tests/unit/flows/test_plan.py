"""The order of steps: one after the other, unless the workflow says otherwise."""

from __future__ import annotations

import pytest

from connectors.kit.description import Description
from flows.language.definition import Position
from flows.language.faults import DefinitionErrors
from flows.language.workflow import Workflow, compile_answer, compile_dedupe
from flows.language.yaml_source import declare

ACTIONS = {
    "log.message": Description("log.message"),
    "transform.template": Description("transform.template", unrendered=["template"]),
}


def workflow_of(*steps, **keys) -> Workflow:
    complete = [{"uses": "log.message"} | step for step in steps]
    return declare(
        Workflow,
        {"name": "orders", "steps": complete} | keys,
        positions={("steps", 0): Position(2), ("steps", 1): Position(5)},
    )


def compiled(workflow: Workflow) -> Workflow:
    workflow.compile(ACTIONS)
    return workflow


def order_of(*steps) -> dict[str, set[str]]:
    return {step.id: set(step.after) for step in compiled(workflow_of(*steps)).steps}


def the_faults(*steps, **keys) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        compiled(workflow_of(*steps, **keys))
    return [error.message for error in caught.value.errors]


def test_steps_run_one_after_the_other() -> None:
    assert order_of({"id": "a"}, {"id": "b"}, {"id": "c"}) == {"a": set(), "b": {"a"}, "c": {"b"}}


def test_a_step_with_needs_waits_for_those_only() -> None:
    order = order_of({"id": "a"}, {"id": "b", "needs": []}, {"id": "c"}, {"id": "d", "needs": ["a", "b"]})
    assert order == {"a": set(), "b": set(), "c": {"b"}, "d": {"a", "b"}}


@pytest.mark.parametrize(
    "refers",
    [
        {"with": {"text": "{{ steps.a.output }}"}},
        {"with": {"text": [{"deep": "x {{ steps['a'].output | default(1) }}"}]}},
        {"if": "steps.a.status == 'skipped'"},
    ],
)
def test_a_step_that_refers_to_another_depends_on_it_whatever_needs_says(refers) -> None:
    assert order_of({"id": "a"}, {"id": "b", "needs": []}, {"id": "c", "needs": ["b"]} | refers)["c"] == {"a", "b"}


def test_needs_may_name_a_step_that_stands_later() -> None:
    assert order_of({"id": "a", "needs": ["b"]}, {"id": "b", "needs": []}) == {"a": {"b"}, "b": set()}


def test_unknown_steps_are_faults() -> None:
    assert the_faults({"id": "fetch"}, {"id": "b", "needs": ["fecth"], "if": "steps.gone.output"}) == [
        "steps[1].if: unknown step 'gone'; known: b, fetch",
        "steps[1].needs: unknown step 'fecth'; did you mean 'fetch'?",
    ]
    assert the_faults({"id": "a"}, output="{{ steps.b.output }}") == ["output: unknown step 'b'; known: a"]


def test_steps_that_wait_for_each_other_are_a_fault() -> None:
    (fault,) = the_faults({"id": "a", "with": {"text": "{{ steps.b.output }}"}}, {"id": "b"})
    assert fault.startswith("steps[0]: ")
    assert "a waits for b waits for a" in fault or "b waits for a waits for b" in fault


def test_a_step_can_not_wait_for_itself() -> None:
    (fault,) = the_faults({"id": "a", "needs": ["a"]})
    assert "a waits for a" in fault


def test_two_steps_can_not_have_one_id() -> None:
    assert the_faults({"id": "a"}, {"id": "a"}) == ["steps[1].id: there is a step 'a' already"]


def test_every_faulty_expression_is_told_at_its_place() -> None:
    faults = the_faults(
        {"id": "a", "if": "event.body +", "with": {"text": "{{ evnt }}", "more": ["{{ x | nope }}", "{{ item }}"]}},
        vars={"v": "{{ steps.a.output }}"},
        output={"o": "{{ output }}"},
        respond={"when": "finished", "body": "{{ item }}"},
    )
    assert [fault.split(":")[0] for fault in faults] == [
        "vars.v",
        "steps[0].if",
        "steps[0].with.text",
        "steps[0].with.more[0]",
        "steps[0].with.more[1]",
        "output.o",
        "respond.body",
    ]


def test_a_compiled_step_renders_its_condition_and_arguments() -> None:
    workflow = workflow_of({"id": "a", "if": "event.body > 1", "with": {"text": "n={{ event.body }}"}})
    (step,) = compiled(workflow).steps
    assert step.wanted({"event": {"body": 2}}) is True
    assert step.wanted({"event": {"body": 1}}) is False
    assert step.render({"event": {"body": 2}}) == {"text": "n=2"}


def test_a_condition_may_be_plainly_true_or_false() -> None:
    never, always = compiled(workflow_of({"id": "a", "if": False}, {"id": "b"})).steps
    assert never.wanted({}) is False
    assert always.wanted({}) is True


def test_an_argument_that_is_not_rendered_is_left_alone_and_refers_to_nothing() -> None:
    template = {"id": "b", "uses": "transform.template", "needs": [], "with": {"template": "{{ steps.x }} {{ y }}"}}
    _, step = compiled(workflow_of({"id": "a"}, template)).steps
    assert step.render({}) == {"template": "{{ steps.x }} {{ y }}"}
    assert step.after == ()


def test_the_answer_sees_the_output() -> None:
    workflow = workflow_of(
        {"id": "a"}, respond={"when": "finished", "status": "{{ output.code }}", "headers": {"x": 1}}
    )
    answer = compile_answer(workflow.respond)
    scope = {"output": {"code": 201}}
    assert (answer.status.render(scope), answer.body.render(scope), answer.headers.render(scope)) == (
        201,
        {"code": 201},
        {"x": 1},
    )


def test_dedupe_is_compiled_over_the_event() -> None:
    hook = {"webhook": {"auth": "none", "dedupe": "{{ event.headers['x-id'] }}"}}
    with_it, without = workflow_of({"id": "a"}, triggers=[hook, {"webhook": {"auth": "none", "path": "b"}}]).triggers
    assert compile_dedupe(with_it).render({"event": {"headers": {"x-id": "7"}}}) == "7"
    assert compile_dedupe(without) is None
