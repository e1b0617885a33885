"""What is known of values before anything runs: never more than pydantic, who takes the arguments, will say."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter, ValidationError

from connectors.kit.description import _schema
from flows.expressions.inference import expression_shape, text_shape
from flows.expressions.schema_shapes import of_schema
from flows.expressions.shapes import ANYTHING, Shape, literal, mapping
from flows.language.definition import Declaration
from flows.language.faults import Faults
from flows.language.fitting import check_fit
from flows.language.place import Place

TYPES: list[Any] = [
    str, int, float, bool, Any, str | None, list[int], list[str], dict[str, str], dict[str, int], dict[str, Any],
    Literal["a", "b"], Literal["a", "b"] | None, list[dict[str, Any]], int | str, float | list[float], bool | None,
]  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.sampled_from(["", "a", "5", "5.5", "true"])
)
VALUES = st.recursive(
    SCALARS, lambda some: st.lists(some, max_size=2) | st.dictionaries(st.just("a"), some), max_leaves=4
)


def told(value: Any, wanted: Any) -> list[str]:
    faults = Faults(Declaration(name="w"))
    check_fit(Place(faults, {}), value, of_schema(_schema(wanted, "validation")))
    return [fault.message for fault in faults.found]


@given(VALUES, st.sampled_from(TYPES))
def test_what_an_action_takes_is_no_fault(value: Any, wanted: Any) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(wanted, config=ConfigDict(coerce_numbers_to_str=True))
    try:
        adapter.validate_python(value)
    except ValidationError:
        return
    assert told(value, wanted) == []


@pytest.mark.parametrize(
    ("value", "wanted", "fault"),
    [
        ([1], str, "expected a string, got a list"),
        ("many", int, "expected a whole number, got 'many'"),
        (1.5, int, "expected a whole number, got 1.5"),
        (None, str, "expected a string, got null"),
        ("c", Literal["a", "b"] | None, "expected 'a', 'b' or null, got 'c'"),
        (1, Literal["a", "b"], "expected 'a' or 'b', got 1"),
        ({"a": "x"}, dict[str, int], "a: expected a whole number, got 'x'"),
        ({}, list[int] | None, "expected a list or null, got a mapping"),
    ],
)
def test_what_no_action_takes_is_told(value: Any, wanted: Any, fault: str) -> None:
    assert [message.removeprefix(": ") for message in told(value, wanted)] == [fault]


SCOPE = {
    "vars": mapping({"shop": literal("Acme"), "rows": literal([{"sku": "a"}]), "n": literal(3)}),
    "event": ANYTHING,
    "status": of_schema({"enum": ["succeeded", "skipped"]}),
}


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("vars.n + 1", "a number"),
        ("vars.shop ~ vars.n", "a string"),
        ("vars.rows[0].sku", "'a'"),
        ("vars.rows | first", "a mapping"),
        ("vars.rows | map(attribute='sku') | list", "a list"),
        ("vars.rows | sort(attribute='sku')", "a list"),
        ("vars.shop.upper()", "a string"),
        ("vars.rows | length", "a whole number"),
        ("not event.x", "a boolean"),
        ("'x' if event.y else 'z'", "'x' or 'z'"),
        ("-3", "-3"),
        ("{'a': 1}", "a mapping"),
        ("vars.gone | default(5)", str(ANYTHING)),
        ("event.anything.at.all", str(ANYTHING)),
        ("item", str(ANYTHING)),
        ("event.x | int('none')", "a string or a number"),
    ],
)
def test_what_an_expression_gives(source: str, shape: str) -> None:
    found, faults = expression_shape(source, SCOPE)
    assert (str(found), faults) == (shape, [])


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("vars.shopp", "vars has no 'shopp'; did you mean 'shop'?"),
        ("vars.rows[0].sk", "vars.rows[0] has no 'sk'; did you mean 'sku'?"),
        ("(vars.rows | first).nothing", "(vars.rows | first) has no 'nothing'; it has sku"),
        ("vars.n.digits", "vars.n is a whole number, which has no 'digits'"),
        ("status == 'skiped'", "status is never 'skiped'; did you mean 'skipped'?"),
        ("'other' != status", "status is never 'other'; it is 'skipped' or 'succeeded'"),
        ("event.x and [vars.shopp]", "vars has no 'shopp'; did you mean 'shop'?"),
        ("{'a': vars.shopp}.a", "vars has no 'shopp'; did you mean 'shop'?"),
        ("event.x | replace('a', vars.shopp)", "vars has no 'shopp'; did you mean 'shop'?"),
    ],
)
def test_what_can_not_be_is_told(source: str, fault: str) -> None:
    assert expression_shape(source, SCOPE)[1] == [fault]


@pytest.mark.parametrize(
    "source",
    [
        "vars.shopp | default('x')",
        "vars.shopp is defined",
        "vars.shopp is defined and vars.shopp.name",
        "vars.rows[7]",
        "vars['sh' ~ 'op']",
        "event.",
    ],
)
def test_what_somebody_cares_for_or_only_the_run_can_tell_is_no_fault(source: str) -> None:
    assert expression_shape(source, SCOPE)[1] == []


def test_a_text_is_what_its_one_expression_gives_or_else_a_string() -> None:
    assert text_shape("{{ vars.n }}", SCOPE) == (literal(3), [])
    assert text_shape("no. {{ vars.n }}", SCOPE) == (Shape(frozenset({"string"})), [])


@pytest.mark.parametrize(
    "schema", [{"type": 3}, {"type": ["x"]}, {"enum": 5}, {"$ref": 7}, {"required": [[]]}, {"properties": []}, 3, None]
)
def test_a_schema_that_is_none_says_nothing(schema: Any) -> None:
    assert of_schema(schema).kinds == ANYTHING.kinds
