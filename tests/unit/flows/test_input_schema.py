"""A workflow's `input`: what it refuses, that it agrees with jsonschema, and that no body makes it slow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flows.language.input_schema import InputSchema, schema_faults
from foundation.errors import DefinitionError


def errors(schema, body):
    return InputSchema(schema).errors(body)


def agrees(schema, body) -> bool:
    """Whether it fits; both judges must say the same."""
    ours, theirs = not errors(schema, body), Draft202012Validator(schema).is_valid(body)
    assert ours is theirs, (schema, body)
    return ours


TREE = {
    "$defs": {"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}},
    "$ref": "#/$defs/tree",
}


@pytest.mark.parametrize(
    ("schema", "fitting", "unfitting"),
    [
        ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None]),
        ({"type": ["number", "null"]}, [1, 1.5, None], [True, "", []]),
        (
            {"enum": [1, "a", None, [1, {"a": 2}]]},
            [1, 1.0, "a", None, [1.0, {"a": 2.0}]],
            [True, "b", [1], [{"a": 2}, 1]],
        ),
        ({"const": False}, [False], [0, None, ""]),
        ({"const": 0}, [0, 0.0, -0.0], [False]),
        ({"const": {"a": [True]}}, [{"a": [True]}], [{"a": [1]}, {"a": []}]),
        ({"multipleOf": 0.1}, [0.2, 5, "x"], [0.25]),
        ({"multipleOf": 3}, [9, 9.0], [10, 1.5]),
        ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9, "x"], [0, 3]),
        ({"exclusiveMinimum": 1, "maximum": 3}, [1.1, 3], [1, 3.5]),
        ({"minLength": 2, "maxLength": 3}, ["ab", "äöü", 1], ["a", "abcd"]),
        ({"pattern": "b+"}, ["abbc", 3], ["ac", ""]),
        ({"pattern": "^b$"}, ["b"], ["ab", "bc"]),
        ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, [["a"], {}], [[], [1], ["a", "b", "c"]]),
        ({"prefixItems": [{"type": "string"}, True], "items": False}, [["a"], ["a", 1]], [[1], ["a", 1, 1]]),
        ({"contains": {"const": 1}}, [[0, 1], {}], [[], [0]]),
        ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1, 1], [1, 1, 1]], [[1], [1] * 4]),
        ({"contains": {"const": 1}, "minContains": 0}, [[], [0]], []),
        (
            {"uniqueItems": True},
            [[1, True, "1", None, [1], {"a": 1}], [[1], [True]]],
            [[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}]],
        ),
        ({"uniqueItems": False}, [[1, 1]], []),
        (
            {"required": ["a"], "minProperties": 1, "maxProperties": 2},
            [{"a": 1}, []],
            [{}, {"b": 1}, {"a": 1, "b": 1, "c": 1}],
        ),
        ({"properties": {"a": {"type": "string"}, "b": False}}, [{"a": ""}, {"c": 1}], [{"a": 1}, {"b": 1}]),
        (
            {
                "properties": {"a": True},
                "patternProperties": {"^x-": {"type": "integer"}},
                "additionalProperties": False,
            },
            [{"a": 1, "x-b": 1}],
            [{"x-b": "1"}, {"b": 1}],
        ),
        ({"additionalProperties": {"type": "integer"}}, [{"a": 1}], [{"a": "1"}]),
        ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
        ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 1}, {"b": 1}], [{"a": 1}]),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"a": 1, "b": 1}, {"c": 1}], [{"a": 1}]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3]),
        ({"anyOf": [{"minimum": 3}, {"maximum": 1}]}, [0, 4], [2]),
        ({"oneOf": [{"minimum": 1}, {"maximum": 2}]}, [0, 3], [1.5]),
        ({"not": {"type": "string"}}, [1], ["a"]),
        (
            {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
            [{"a": 1, "b": 1}, {"c": 1}],
            [{"a": 1}, {}],
        ),
        (TREE, [{"kids": [{"kids": []}, {}]}], [{"kids": [{"kids": [1]}]}]),
        ({"$ref": "#/definitions/a", "definitions": {"a": {"type": "string"}}}, ["x"], [1]),
        ({"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "string"}}}, ["x"], [1]),
        (
            {
                "$id": "https://a.example/root",
                "$ref": "item",
                "$defs": {"a": {"$id": "item", "$ref": "#/$defs/b", "$defs": {"b": {"type": "string"}}}},
            },
            ["x"],
            [1],
        ),
        ({"$dynamicRef": "#node", "$defs": {"a": {"$dynamicAnchor": "node", "type": "string"}}}, ["x"], [1]),
        ({"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False}, [{"a": 1}], [{"a": 1, "b": 1}]),
        (
            {
                "anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"patternProperties": {"^b": True}}],
                "unevaluatedProperties": {"type": "string"},
            },
            [{"a": 1}, {"bc": 1}, {"c": "x"}],
            [{"a": 2}, {"c": 1}],
        ),
        (
            {"if": {"required": ["a"]}, "then": {"properties": {"a": True, "b": True}}, "unevaluatedProperties": False},
            [{"a": 1, "b": 1}],
            [{"b": 1}],
        ),
        (
            {"allOf": [{"prefixItems": [True]}], "contains": {"const": 1}, "unevaluatedItems": False},
            [[0, 1], [1]],
            [[0, 1, 2]],
        ),
        ({"format": "email"}, ["not one"], []),
        (True, [1, None], []),
        (False, [], [1, None]),
        ({}, [1, None], []),
    ],
)
def test_each_keyword_means_what_json_schema_says(schema, fitting, unfitting) -> None:
    assert [body for body in fitting if not agrees(schema, body)] == []
    assert [body for body in unfitting if agrees(schema, body)] == []


def test_each_error_has_its_path_and_says_what_is_wrong_without_the_value() -> None:
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"lines": {"items": {"properties": {"no": {"type": "integer"}, "a b": {"maximum": 3}}}}},
        "additionalProperties": False,
    }
    body = {"lines": [{"no": 1}, {"no": "s3cret", "a b": 4}], "it's": 1, "x" * 500: 2}
    found = errors(schema, body)
    assert [error["path"] for error in found] == ["$.lines[1].no", "$.lines[1]['a b']", "$", "$"]
    assert [error["message"] for error in found[:2]] == [
        'the value is not of type "integer"',
        "the value is greater than the maximum of 3",
    ]
    assert "'it's'" in found[2]["message"]
    assert found[3]["message"] == '"id" is a required property'
    assert max(len(error["message"]) for error in found) <= 300


def test_no_more_errors_than_are_wanted() -> None:
    schema = InputSchema({"items": {"type": "string"}})
    assert len(schema.errors([1] * 100)) == 20
    assert [error["path"] for error in schema.errors([1] * 100, most=2)] == ["$[0]", "$[1]"]


# Agreement

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, -0.0, 2.5]) | st.text("ab1", max_size=3)
)
bodies = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
names = st.text("ab", max_size=2)
patterns = st.sampled_from(["a", "^a", "b$", "^[ab]+$", "a|b", "[^a]", "^(ab)*$", ".", "^.{2,}$", "1?a"])
small = st.integers(0, 3)


def schemas_of(inner):
    several = st.lists(inner, min_size=1, max_size=3)
    by_name = st.dictionaries(names, inner, max_size=3)
    keywords = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(bodies, min_size=1, max_size=3),
        "const": bodies,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "maximum": small,
        "minimum": small,
        "exclusiveMaximum": small,
        "exclusiveMinimum": small,
        "maxLength": small,
        "minLength": small,
        "pattern": patterns,
        "maxItems": small,
        "minItems": small,
        "prefixItems": several,
        "items": inner,
        "contains": inner,
        "minContains": small,
        "maxContains": small,
        "uniqueItems": st.booleans(),
        "maxProperties": small,
        "minProperties": small,
        "required": st.lists(names, max_size=2, unique=True),
        "properties": by_name,
        "patternProperties": st.dictionaries(patterns, inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "dependentRequired": st.dictionaries(names, st.lists(names, max_size=2, unique=True), max_size=2),
        "dependentSchemas": by_name,
        "allOf": several,
        "anyOf": several,
        "oneOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "unevaluatedItems": st.just(False),
        "unevaluatedProperties": inner,
    }
    return st.booleans() | st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: keywords[keyword] for keyword in chosen})
    )


schemas = st.recursive(st.booleans() | types.map(lambda name: {"type": name}), schemas_of, max_leaves=8)


@settings(max_examples=400, deadline=None)
@given(schemas, st.lists(bodies, min_size=1, max_size=4))
def test_it_agrees_with_jsonschema_on_random_schemas_and_bodies(schema, several) -> None:
    for body in several:
        agrees(schema, body)


@settings(max_examples=200, deadline=None)
@given(st.lists(bodies, max_size=6))
def test_it_agrees_on_what_is_unique(items) -> None:
    agrees({"uniqueItems": True}, items)


@settings(max_examples=200, deadline=None)
@given(bodies, bodies)
def test_it_agrees_on_what_is_equal(one, other) -> None:
    agrees({"const": one}, other)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^\d{2}$", ["12"], ["123", "1a"]),
        (r"^\w+$", ["aZ_9"], ["-"]),
        (r"^[\s\S]*$", ["a\n\u2028"], []),
        (r"^\u00e4\x41\cJ$", ["äA\n"], ["a"]),
        (r"\bfoo\b", ["a foo b"], ["food"]),
        (r"^\p{Lu}$", ["Ä"], ["ä"]),
        (r"^\/\.\-$", ["/.-"], ["/a-"]),
        ("^(?:a|b)(?<name>c)$", ["ac"], ["c"]),
        ("^.{1,1000}$", ["x" * 1000], ["x" * 1001, ""]),
        ("", ["", "a"], []),
    ],
)
def test_patterns_are_those_of_ecma_262(pattern, matching, other) -> None:
    schema = InputSchema({"pattern": pattern})
    assert [text for text in matching if schema.errors(text)] == []
    assert [text for text in other if not schema.errors(text)] == []


@pytest.mark.parametrize("pattern", ["a(?=b)", "(?<!a)b", r"(a)\1", "a(b", "[a", "*a", "(?>a)", "((a{90}){90}){90}"])
def test_patterns_that_can_not_be_used_are_refused(pattern) -> None:
    ((path, message),) = schema_faults({"properties": {"a": {"pattern": pattern}}})
    assert path == ("properties", "a", "pattern")
    assert "can't be used" in message
    with pytest.raises(DefinitionError, match=r"^input\.properties\.a\.pattern: "):
        InputSchema({"properties": {"a": {"pattern": pattern}}})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"$ref": "#/$defs/gone"}, ("$ref",)),
        ({"items": {"$ref": "http://127.0.0.1:9/schema.json"}}, ("items", "$ref")),
    ],
)
def test_schemas_that_can_not_be_used_are_refused_where_they_are_wrong(schema, path) -> None:
    ((where, _),) = schema_faults(schema)
    assert where == path


def test_a_schema_may_lead_back_to_itself_below() -> None:
    assert schema_faults(TREE) == []


# What a body may do


def test_half_of_a_surrogate_pair_is_a_character_like_any_other() -> None:
    assert errors({"maxLength": 2}, "a\ud800") == []
    assert errors({"items": {"maxLength": 1}}, ["a\ud800"])[0]["path"] == "$[0]"


def test_of_a_large_body_the_first_fault_is_told() -> None:
    assert [error["path"] for error in errors({"items": {"type": "string"}}, ["x"] * 5_000 + [1] * 5_000)] == [
        "$[5000]"
    ]


def test_what_nests_too_deeply_is_refused() -> None:
    body: list = []
    for _ in range(5_000):
        body = [body]
    (error,) = errors({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, body)
    assert error["message"] == "the body is nested more than 150 levels deep"


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"uniqueItems": True}, list(range(9_000))),  # 43 KB
        ({"uniqueItems": True}, [{"a": [n]} for n in range(5_000)]),
        ({"uniqueItems": True}, [n * (2**61 - 1) for n in range(5_000)]),  # equal hashes in Python
        ({"pattern": "^(a+)+$"}, "a" * 100_000),  # exponential where it is matched by going back
    ],
)
def test_bodies_that_stall_others_fit(schema, body) -> None:
    assert errors(schema, body) == []
    assert len(json.dumps(body)) > 43_000
