"""A workflow's `input`: what it refuses, that it agrees with jsonschema, and that no body makes it slow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from flows.language import input_schema
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
        ({"multipleOf": 3}, [9, 9.0, 10**400 * 3], [10, 1.5]),
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
    assert errors(schema, body) == [
        {"path": "$", "message": "'id' is a required property"},
        {"path": "$.lines[1].no", "message": "a string is not of type 'integer'"},
        {"path": "$.lines[1]['a b']", "message": "is greater than 3"},
        {"path": "$['it\\'s']", "message": "is a property that is not allowed here"},
        {"path": f"$['{'x' * 59}…']", "message": "is a property that is not allowed here"},
    ]


def test_numbers_too_large_for_a_float_can_be_multiples_too() -> None:
    assert errors({"multipleOf": 0.5}, 10**400) == []
    assert errors({"multipleOf": 0.75}, 10**400) == [{"path": "$", "message": "is not a multiple of 0.75"}]


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
        (r"^\d{2}$", ["12"], ["123", "1a", "١٢"]),
        (r"^\w+$", ["aZ_9"], ["é", "-"]),
        (r"^\s$", ["\v", "\ufeff", "\u00a0", "\u2028", "\n"], ["a", "\u200b"]),
        (r"^\S$", ["a", "é"], ["\u3000", "\t"]),
        (r"^[\s\S]*$", ["a\n\u2028"], []),
        (r"^[^\s]$", ["a"], ["\u2003"]),
        (r"^[\s-x]$", ["-", "x", " "], ["a"]),
        ("^.$", ["a", "\N{GRINNING FACE}"], ["\n", "\r", "\u2028"]),
        ("^a$", ["a"], ["a\n"]),
        (r"^\u00e4\x41\cJ\0$", ["äA\n\0"], ["a"]),
        (r"^\ud83d\ude00\u{1f600}$", ["\N{GRINNING FACE}" * 2], []),
        (r"^[\u0041-\x5a]$", ["A", "Z"], ["a", "-"]),
        ("^[^]$", ["\n"], ["ab"]),
        ("[]", [], ["", "a"]),
        ("^[[:alpha:]]$", [":]", "a]"], ["b"]),
        (r"^[\b\-\]]$", ["\x08", "-", "]"], ["b"]),
        (r"\bfoo\b", ["a foo b"], ["food"]),
        (r"^\p{Lu}\p{Letter}\p{Script=Greek}$", ["Ääα"], ["aäα", "Ääb"]),
        (r"^\/\.\-$", ["/.-"], ["/a-"]),
        ("^a{$", ["a{"], ["a"]),
        (r"^(?:a|b)(?<name>c)(?P<other>d)$", ["acd"], ["cd"]),
        (r"(?i)^a\Z", ["A"], ["b"]),
        ("^.{1,1000}$", ["x" * 1000], ["x" * 1001, ""]),
        ("a+?b*?c??", ["a"], ["b"]),
        ("", ["", "a"], []),
        ("^.$", ["\ud800"], []),
    ],
)
def test_patterns_are_those_of_ecma_262(pattern, matching, other) -> None:
    schema = InputSchema({"pattern": pattern})
    assert [text for text in matching if schema.errors(text)] == []
    assert [text for text in other if not schema.errors(text)] == []


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a(?=b)", "lookahead and lookbehind can't be matched in linear time"),
        ("(?<!a)b", "lookahead and lookbehind can't be matched in linear time"),
        (r"(a)\1", "backreferences can't be matched in linear time"),
        (r"(?<n>a)\k<n>", "backreferences can't be matched in linear time"),
        ("a{1001}", "invalid repetition size"),
        ("(?>a)", "is not known here"),
        (r"\e", r"unknown escape \e"),
        (r"\p{Nonsense}", "invalid character class range"),
        (r"\ud800", "is no character"),
        ("a(b", r"a ( is not closed"),
        ("a)b", r"a ) closes nothing"),
        ("[a", "a [ is not closed"),
        ("*a", "* repeats nothing"),
        ("a++", "+ repeats nothing"),
        ("a{2}{3}", "{ repeats nothing"),
        ("a{,2}", "write {0,…}"),
        ("\\", "escapes nothing"),
        ("a" * 2001, "at most 2000 characters"),
    ],
)
def test_patterns_that_can_not_be_used_are_refused(pattern, problem) -> None:
    ((path, message),) = schema_faults({"properties": {"a": {"pattern": pattern}}})
    assert path == ("properties", "a", "pattern")
    assert message.startswith("this pattern can't be used: ")
    assert problem in message
    with pytest.raises(DefinitionError, match=r"^input\.properties\.a\.pattern: "):
        InputSchema({"properties": {"a": {"pattern": pattern}}})


@pytest.mark.parametrize(
    ("schema", "path", "problem"),
    [
        (
            {"patternProperties": {"(?=a)": True}, "additionalProperties": False},
            ("patternProperties", "(?=a)"),
            "lookahead",
        ),
        ({"$defs": {"a": {"pattern": "(?=a)"}}}, ("$defs", "a", "pattern"), "lookahead"),
        ({"$ref": "#/$defs/gone"}, ("$ref",), "is not found in this schema"),
        ({"items": {"$ref": "#/title"}, "title": "x"}, ("items", "$ref"), "leads to something that is no schema"),
        ({"$ref": "#"}, ("$ref",), "leads back to itself"),
        (
            {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"anyOf": [{"$ref": "#/allOf/0"}]}}},
            None,
            "leads back to itself",
        ),
        (
            {"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a"}, "b": {"$id": "b"}}},
            ("$defs", "b", "$id"),
            "$dynamicRef",
        ),
    ],
)
def test_schemas_that_can_not_be_used_are_refused(schema, path, problem) -> None:
    ((where, message),) = schema_faults(schema)
    assert problem in message
    assert where == path or path is None


def test_a_schema_may_lead_back_to_itself_below() -> None:
    assert schema_faults(TREE) == []


# Bounds

TOO_LONG = [{"path": "$", "message": "the body takes too long to be checked against the workflow's input"}]
TWICE = {
    "anyOf": [
        {"properties": {"a": {"$ref": "#"}}, "required": ["b"]},
        {"properties": {"a": {"$ref": "#"}}, "required": ["c"]},
    ]
}


def nested(depth: int):
    body = {}
    for _ in range(depth):
        body = {"a": body}
    return body


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (TWICE, nested(40)),
        ({"items": {"allOf": [{"anyOf": [{"allOf": [True, True, False]}] * 5 + [True]}] * 5}}, list(range(5_000))),
        ({"items": {"not": {"enum": [{"a": [1] * 500}]}}}, [{"a": [1] * 499}] * 2_000),
        ({"contains": {"const": "x"}, "minContains": 0}, [1] * 400_000),
        ({"items": True}, [1] * 400_000),
        ({"items": {"items": {"uniqueItems": True}}}, [[list(range(50_000))]] * 20),
        ({"patternProperties": {f"a{n}": True for n in range(100)}}, {f"k{n}": 1 for n in range(5_000)}),
        (
            {"propertyNames": {"pattern": "x"}, "additionalProperties": {"type": "string"}},
            {f"x{n}": "" for n in range(50_000)},
        ),
        ({"pattern": "(a|b)*a(a|b){900}c"}, "ab" * 50_000),
        (
            {"unevaluatedProperties": False, "anyOf": [{"additionalProperties": True}] * 100},
            {f"x{n}": "" for n in range(5_000)},
        ),
    ],
)
def test_a_body_that_would_stall_the_check_is_refused(schema, body) -> None:
    assert errors(schema, body) == TOO_LONG


def test_a_text_that_is_too_long_is_not_searched() -> None:
    schema = {"pattern": "a.{50}b", "maxLength": 100}
    assert errors(schema, "x" * 1_000_000) == [{"path": "$", "message": "has more characters than 100"}]


def test_what_nests_too_deeply_is_refused() -> None:
    body: list = []
    for _ in range(5_000):
        body = [body]
    (error,) = errors({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, body)
    assert error["message"] == "the body is nested too deeply to be checked against the workflow's input"


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"uniqueItems": True}, list(range(9_000))),  # 43 KB
        ({"uniqueItems": True}, [{"a": [n]} for n in range(5_000)]),
        ({"uniqueItems": True}, [n * (2**61 - 1) for n in range(5_000)]),  # equal hashes in Python
        ({"items": {"type": "integer"}}, [1] * 500_000),
        ({"items": {"type": "number"}}, [0.5] * 100_000),
        ({"pattern": r"^[\s\S]*$"}, "x" * 1_000_000),
        ({"items": {"pattern": r"^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,10}$"}}, ["someone.else@mail.example"] * 3_000),
        (
            {
                "items": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
                }
            },
            [{"id": n, "name": f"line {n}"} for n in range(24_000)],
        ),
    ],
)
def test_large_bodies_that_are_usual_fit(schema, body) -> None:
    assert errors(schema, body) == []
    assert len(json.dumps(body)) > 43_000


def test_the_bound_is_one_for_the_whole_body(monkeypatch) -> None:
    monkeypatch.setattr(input_schema, "MAX_WORK", 1_000)
    schema = InputSchema({"items": {"items": {"minimum": 0}}})
    assert schema.errors([[1] * 10]) == []
    assert schema.errors([[1] * 10] * 20) == TOO_LONG


def test_a_small_body_may_take_less(monkeypatch) -> None:
    monkeypatch.setattr(input_schema, "LEAST_WORK", 100)
    schema = InputSchema({"allOf": [{"items": {"minimum": 0}}] * 4})
    assert schema.errors([1]) == []
    assert schema.errors([1] * 10_000) == TOO_LONG
