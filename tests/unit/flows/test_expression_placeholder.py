"""What stands in a dry run for results that nobody was asked for: expressions on it work, and say whose it is."""

from __future__ import annotations

import json

import pytest

from flows.expressions import Placeholder, compile_condition, compile_value

SCOPE = {"steps": {"ask": {"output": Placeholder("<ask.output>")}}}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ steps.ask.output }}", "<ask.output>"),
        ("{{ steps.ask.output.body.items[0]['a b'] }}", "<ask.output.body.items.0.a b>"),
        ("id {{ steps.ask.output.id }}!", "id <ask.output.id>!"),
        ("{{ 'no. ' + steps.ask.output.id }}", "no. <ask.output.id>"),
        ("{{ steps.ask.output.a * 2 + 1 }}", "<ask.output.a>"),
        ("{{ 7 - steps.ask.output.a }}", "<ask.output.a>"),
        ("{{ steps.ask.output.names | map(attribute='x') | join(', ') }}", "<ask.output.names>"),
        ("{{ steps.ask.output.a | default('none') }}", "<ask.output.a>"),
        ({"a": ["{{ steps.ask.output.b }}"]}, {"a": ["<ask.output.b>"]}),
    ],
)
def test_every_part_of_one_is_one_and_names_itself(template, expected):
    rendered = compile_value(template).render(SCOPE)
    assert json.loads(json.dumps(rendered)) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "steps.ask.output.a > 3",
        "steps.ask.output.a < 3",
        "3 <= steps.ask.output.a",
        "steps.ask.output.s == 'paid'",
        "steps.ask.output.ok",
    ],
)
def test_conditions_on_one_hold(condition):
    assert compile_condition(condition).render(SCOPE)


def test_python_code_can_work_with_one():
    posted = Placeholder("<posted>")
    assert str(posted["ts"]) == "<posted.ts>"
    assert f"{posted.get('a', 1)}" == "<posted.a>"
    assert [str(item) for item in posted["items"]] == ["<posted.items.0>"]
    assert posted["n"] - 1 < 0
    assert str("no. " + posted["n"]) == "no. <posted.n>"
