"""The keywords of arrays and objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.language.input_rules import NONE, Errors, Node, Rule, at, fits, gathered, says
from flows.language.input_values import TYPES, Error, Run, identity

# Arrays


def items(node: Node) -> Rule:
    rule, begin = node.rule("items"), len(node.schema.get("prefixItems", ()))
    quick = _only_type(node.schema["items"])

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not list or len(value) <= begin:
            return NONE
        if quick:
            run.spend(1 + len(value) // 3)
            if quick.issuperset(map(type, value)):
                return NONE
        places = range(begin, len(value))
        return gathered((at(place, rule(value[place], run)) for place in places), run)

    return check


def _only_type(schema: Any) -> frozenset[type[Any]] | None:
    """The types of a schema that says no more than that: long lists of numbers are the largest bodies there are."""
    if not isinstance(schema, Mapping) or not {"type"} <= schema.keys() <= {"type", "title", "description"}:
        return None
    return TYPES[schema["type"]] if isinstance(schema["type"], str) else None


def prefix_items(node: Node) -> Rule:
    rules = node.rules("prefixItems")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not list:
            return NONE
        pairs = enumerate(zip(rules, value, strict=False))
        return gathered((at(place, rule(item, run)) for place, (rule, item) in pairs), run)

    return check


def contains(node: Node) -> Rule:
    rule, least, most = node.rule("contains"), node.schema.get("minContains", 1), node.schema.get("maxContains")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not list:
            return NONE
        count = 0
        run.spend(5 * len(value))
        for item in value:
            count += fits(rule, item, run)
            if most is not None and count > most:
                return says(f"contains more than {most} of the items in contains")
        return NONE if count >= least else says(f"contains fewer than {least} of the items in contains")

    return check


def unique_items(node: Node) -> Rule:
    wanted = node.schema["uniqueItems"]

    def check(value: Any, run: Run) -> Errors:
        if not wanted or value.__class__ is not list:
            return NONE
        run.spend(4 * len(value))
        unique = len({identity(item, run) for item in value}) == len(value)
        return NONE if unique else says("has items that are the same")

    return check


def unevaluated_items(node: Node) -> Rule:
    evaluated = node.evaluated("items")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not list:
            return NONE
        known = evaluated(value, run)
        run.spend(len(value))
        more = next((place for place in range(len(value)) if place not in known), None)
        return NONE if more is None else at(more, says("is an item that is not allowed here"))

    return check


# Objects


def properties(node: Node) -> Rule:
    rules = node.rules_by_name("properties")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        return gathered((at(key, rule(value[key], run)) for key, rule in rules.items() if key in value), run)

    return check


def pattern_properties(node: Node) -> Rule:
    patterns = [
        (node.pattern(source, "patternProperties", source), rule)
        for source, rule in node.rules_by_name("patternProperties").items()
    ]

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        run.spend(4 * len(patterns) * len(value))
        return gathered(
            (
                at(key, rule(item, run))
                for pattern, rule in patterns
                for key, item in value.items()
                if pattern.found_in(key, run)
            ),
            run,
        )

    return check


def additional_properties(node: Node) -> Rule:
    rule, known = node.rule("additionalProperties"), frozenset(node.schema.get("properties", ()))
    sources = node.schema.get("patternProperties", ())
    patterns = [node.pattern(source, "patternProperties", source) for source in sources]
    refused = node.schema["additionalProperties"] is False

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        run.spend(len(value) * (1 + 4 * len(patterns)))
        more = (key for key in value if key not in known and not any(one.found_in(key, run) for one in patterns))
        if refused:
            return gathered((at(key, says("is a property that is not allowed here")) for key in more), run)
        return gathered((at(key, rule(value[key], run)) for key in more), run)

    return check


def property_names(node: Node) -> Rule:
    rule = node.rule("propertyNames")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        return gathered((at(key, rule(key, run)) for key in value), run)

    return check


def required(node: Node) -> Rule:
    names, wanted = list(node.schema["required"]), frozenset(node.schema["required"])

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        missing = [name for name in names if name not in value] if not value.keys() >= wanted else ()
        return [Error(f"{name!r} is a required property") for name in missing[: run.most]]

    return check


def dependent_required(node: Node) -> Rule:
    wanted = {key: list(names) for key, names in node.schema["dependentRequired"].items()}

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        found: list[Error] = []
        for key, names in wanted.items():
            if key in value:
                run.spend(len(names))
                missing = [name for name in names if name not in value]
                found += [Error(f"{name!r} is a required property beside {key!r}") for name in missing[: run.most]]
        return found

    return check


def dependent_schemas(node: Node) -> Rule:
    rules = node.rules_by_name("dependentSchemas")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        return gathered((rule(value, run) for key, rule in rules.items() if key in value), run)

    return check


def unevaluated_properties(node: Node) -> Rule:
    evaluated, rule = node.evaluated("keys"), node.rule("unevaluatedProperties")

    def check(value: Any, run: Run) -> Errors:
        if value.__class__ is not dict:
            return NONE
        known = evaluated(value, run)
        run.spend(len(value))
        return gathered((at(key, rule(value[key], run)) for key in value if key not in known), run)

    return check
