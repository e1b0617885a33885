"""The keywords of JSON Schema 2020-12 as rules: what each says about a value, paid for by the size it looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from flows.language import input_containers as containers
from flows.language.input_rules import NONE, Errors, Node, Rule, fits, gathered, says
from flows.language.input_values import TYPES, Run, describe, identity, is_number, is_of

# Any value


def _type(node: Node) -> Rule:
    given = node.schema["type"]
    types = [given] if isinstance(given, str) else list(given)
    quick = frozenset().union(*(TYPES[name] for name in types))
    wanted = ", ".join(repr(name) for name in types)

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ in quick or is_of(value, types):
            return NONE
        return says(f"{describe(value)} is not of type {wanted}")

    return check


def _enum(node: Node) -> Rule:
    return _one_of(list(node.schema["enum"]), "is not one of the values in enum")


def _const(node: Node) -> Rule:
    return _one_of([node.schema["const"]], "is not the value of const")


def _one_of(values: list[Any], problem: str) -> Rule:
    unbounded = Run(10**9, 1)
    known = {identity(_as_json(value), unbounded) for value in values}
    sizes = {(describe(value), len(value)) for value in values if isinstance(value, (list, Mapping))}

    def check(value: Any, run: Run) -> Errors:
        if isinstance(value, (list, dict)) and (describe(value), len(value)) not in sizes:
            return says(problem)
        return NONE if identity(value, run) in known else says(problem)

    return check


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _reference(keyword: str) -> Callable[[Node], Rule]:
    return lambda node: node.target(keyword)


def _all_of(node: Node) -> Rule:
    rules = node.rules("allOf")
    return lambda value, run: gathered((rule(value, run) for rule in rules), run)


def _any_of(node: Node) -> Rule:
    rules = node.rules("anyOf")

    def check(value: Any, run: Run) -> Errors:
        if any(fits(rule, value, run) for rule in rules):
            return NONE
        return says("is not valid under any of the schemas in anyOf")

    return check


def _one_of_schemas(node: Node) -> Rule:
    rules = node.rules("oneOf")

    def check(value: Any, run: Run) -> Errors:
        count = sum(fits(rule, value, run) for rule in rules)
        return NONE if count == 1 else says(f"is valid under {count} of the schemas in oneOf instead of one")

    return check


def _not(node: Node) -> Rule:
    rule = node.rule("not")
    return lambda value, run: says("is valid under the schema in not") if fits(rule, value, run) else NONE


def _if(node: Node) -> Rule:
    test = node.rule("if")
    then = node.rule("then") if "then" in node.schema else None
    other = node.rule("else") if "else" in node.schema else None

    def check(value: Any, run: Run) -> Errors:
        chosen = then if fits(test, value, run) else other
        return chosen(value, run) if chosen else NONE

    return check


# Numbers and strings


def _bound(keyword: str, holds: Callable[[Any, Any], bool], problem: str) -> Callable[[Node], Rule]:
    def compiled(node: Node) -> Rule:
        limit = node.schema[keyword]
        message = f"{problem} {limit}"
        return lambda value, run: NONE if not is_number(value) or holds(value, limit) else says(message)

    return compiled


def _size(keyword: str, kind: type[Any], holds: Callable[[int, Any], bool], problem: str) -> Callable[[Node], Rule]:
    def compiled(node: Node) -> Rule:
        limit = node.schema[keyword]
        message = f"{problem} {limit}"

        def check(value: Any, run: Run) -> Errors:
            return NONE if value.__class__ is not kind or holds(len(value), limit) else says(message)

        return check

    return compiled


def _multiple_of(node: Node) -> Rule:
    factor = node.schema["multipleOf"]

    def check(value: Any, run: Run) -> Errors:
        if not is_number(value):
            return NONE
        run.spend(4 + (value.bit_length() // 8 if isinstance(value, int) else 0))
        return NONE if _divides(factor, value) else says(f"is not a multiple of {factor}")

    return check


def _divides(factor: int | float, value: int | float) -> bool:
    try:
        if isinstance(factor, float):
            quotient = value / factor
            return int(quotient) == quotient
        return value % factor == 0
    except OverflowError:  # too large for a float
        return (Fraction(value) / Fraction(factor)).denominator == 1


def _pattern(node: Node) -> Rule:
    source = node.schema["pattern"]
    pattern = node.pattern(source, "pattern")
    longest = node.schema.get("maxLength", math.inf)  # what is longer does not fit anyway

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not str or len(value) > longest or pattern.found_in(value, run):
            return NONE
        return says(f"does not match {source[:100]!r}")

    return check


KEYWORDS: Final[Mapping[str, Callable[[Node], Rule]]] = {
    "$ref": _reference("$ref"),
    "$dynamicRef": _reference("$dynamicRef"),
    "type": _type,
    "enum": _enum,
    "const": _const,
    "multipleOf": _multiple_of,
    "maximum": _bound("maximum", lambda value, limit: bool(value <= limit), "is greater than"),
    "minimum": _bound("minimum", lambda value, limit: bool(value >= limit), "is less than"),
    "exclusiveMaximum": _bound("exclusiveMaximum", lambda value, limit: bool(value < limit), "is not less than"),
    "exclusiveMinimum": _bound("exclusiveMinimum", lambda value, limit: bool(value > limit), "is not greater than"),
    "maxLength": _size("maxLength", str, lambda size, limit: bool(size <= limit), "has more characters than"),
    "minLength": _size("minLength", str, lambda size, limit: bool(size >= limit), "has fewer characters than"),
    "pattern": _pattern,
    "maxItems": _size("maxItems", list, lambda size, limit: bool(size <= limit), "has more items than"),
    "minItems": _size("minItems", list, lambda size, limit: bool(size >= limit), "has fewer items than"),
    "prefixItems": containers.prefix_items,
    "items": containers.items,
    "contains": containers.contains,
    "uniqueItems": containers.unique_items,
    "maxProperties": _size("maxProperties", dict, lambda size, limit: bool(size <= limit), "has more properties than"),
    "minProperties": _size("minProperties", dict, lambda size, limit: bool(size >= limit), "has fewer properties than"),
    "required": containers.required,
    "properties": containers.properties,
    "patternProperties": containers.pattern_properties,
    "additionalProperties": containers.additional_properties,
    "propertyNames": containers.property_names,
    "dependentRequired": containers.dependent_required,
    "dependentSchemas": containers.dependent_schemas,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of_schemas,
    "not": _not,
    "if": _if,
    "unevaluatedItems": containers.unevaluated_items,
    "unevaluatedProperties": containers.unevaluated_properties,
}
"""All that say something about a value. The others are remarks: titles, `format`, `default`, `$defs`, …"""
