"""Work: an expression pays for the size of what it reads and makes, so that none can hold the event loop."""

from __future__ import annotations

import pytest

from flows.expressions import compile_expression, compile_url, compile_value, values
from foundation.errors import ExpressionError

MANY = 3_000


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def twins(value: str):
    """Two texts that differ in their last character only."""
    return {"left": value + "1", "right": value + "2"}


LONG = "x" * 30_000
EMOJI = "\N{GRINNING FACE}" * 10_000
HOSTILE = [
    # Comparing
    ("event.same | select('eq', event.other) | length", {"same": [[1] * 300] * MANY, "other": [1] * 299 + [2]}),
    ("event.same | select('ne', event.other) | length", {"same": [nested(50)] * MANY, "other": nested(51)}),
    ("event.same | select('eq', event.other) | length", {"same": [{"a": LONG}] * MANY, "other": {"a": LONG[1:] + "2"}}),
    ("event.same | select('eq', event.right) | length", {"same": [LONG + "1"] * MANY, **twins(LONG)}),
    ("event.same | select('lt', event.other) | length", {"same": [[1] * 300] * MANY, "other": [1] * 299 + [2]}),
    ("event.other in event.same", {"same": [[1] * 300] * MANY, "other": [1] * 299 + [2]}),
    ("event.left in event.same", {"same": [LONG + "2"] * MANY, **twins(LONG)}),
    ("event.same | select('in', event.list) | length", {"same": [1] * MANY, "list": [0] * MANY}),
    ("event.same | sort | length", {"same": [[1] * 300] * MANY}),
    ("event.same | sort(attribute='a') | length", {"same": [{"a": LONG}] * MANY}),
    ("event.same | min", {"same": [[1] * 300] * MANY}),
    ("event.same | max(attribute='a')", {"same": [{"a": [1] * 300}] * MANY}),
    ("event.same | unique | length", {"same": [LONG] * MANY}),
    ("event.same | unique | length", {"same": [[1] * 300] * MANY}),
    # Searching
    ("event.same | select('in', event.text) | length", {"same": ["b" + "a" * 1200] * MANY, "text": "a" * 2400}),
    ("event.same | select('in', event.text) | length", {"same": ["ba"] * MANY, "text": LONG}),
    ("event.same | map('replace', 'ba', '') | length", {"same": [LONG] * MANY}),
    ("event.same | map('split', 'ba') | length", {"same": [LONG] * MANY}),
    ("event.same | map('split') | length", {"same": ["x " * 10_000] * MANY}),
    ("event.text.strip(event.characters)", {"text": "x" * 10_000, "characters": "".join(map(chr, range(30_000)))}),
    ("event.text | trim(event.characters)", {"text": "x" * 10_000, "characters": "".join(map(chr, range(30_000)))}),
    # Paths
    ("event.same | map(attribute='0.0.0.0.0.0.0.0.0.0') | length", {"same": ["x"] * MANY}),
    # Changing texts
    ("event.same | map('reverse') | length", {"same": [LONG] * MANY}),
    ("event.same | map('upper') | length", {"same": ["ß" * 10_000] * MANY}),
    ("event.same | map('title') | length", {"same": [LONG] * MANY}),
    ("event.same | map('escape') | length", {"same": ["&" * 10_000] * MANY}),
    ("event.same | map('urlencode') | length", {"same": [EMOJI] * MANY}),
    ("event.same | map('sha256') | length", {"same": [EMOJI] * MANY}),
    ("event.same | map('b64encode') | length", {"same": [LONG] * MANY}),
    ("event.same | map('b64decode') | length", {"same": ["QUFB" * 10_000] * MANY}),
    ("event.same | map('fromjson') | length", {"same": ["[" + "[]," * 5_000 + "1]"] * MANY}),
    ("event.same | map('tojson') | length", {"same": [[1.5] * 1_000] * MANY}),
    ("event.same | map('tojson') | length", {"same": [[10**4000] * 20] * MANY}),
    ("event.same | map('list') | length", {"same": [EMOJI] * MANY}),
    ("event.same | map('items') | length", {"same": [{str(key): key for key in range(1_000)}] * MANY}),
    ("event.same | map('date', '%A%B%Y%m%d') | length", {"same": [0] * MANY}),
    # What a result would be when it is written out
    ("event.same", {"same": [LONG] * MANY}),
    ("event.same", {"same": [{LONG: 1}] * MANY}),
    ("event.same", {"same": [10**4000] * MANY}),
    ("event.same", {"same": [[1] * 1_000] * MANY}),
]


@pytest.mark.parametrize(("expression", "event"), HOSTILE)
def test_work_on_much_data_is_refused_by_its_bound(expression, event, monkeypatch) -> None:
    monkeypatch.setattr(values, "MAX_WORK", 200_000)
    with pytest.raises(ExpressionError, match="too much work"):
        compile_expression(expression).render({"event": event})


@pytest.mark.parametrize(("expression", "event"), HOSTILE)
def test_the_same_on_little_data_is_not(expression, event, monkeypatch) -> None:
    monkeypatch.setattr(values, "MAX_WORK", 2_000_000)
    little = {
        key: value[:2] if isinstance(value, list) and key in ("same", "list") else value for key, value in event.items()
    }
    little = {key: value[:3] if key in ("text", "characters") else value for key, value in little.items()}
    compile_expression(expression).render({"event": little})


@pytest.mark.parametrize(
    "expression",
    [
        "event.same | length",
        "event.same | first",
        "event.same | last",
        "event.same[0]",
        "event.gone | default(1)",
        "event.one == event.two",
    ],
)
def test_what_needs_no_look_at_all_of_it_takes_no_work(expression, monkeypatch) -> None:
    monkeypatch.setattr(values, "MAX_WORK", 500)
    event = {"same": [1] * 100_000, "one": [1] * 100_000, "two": [1] * 99_999}
    compile_expression(expression).render({"event": event})


@pytest.mark.parametrize(
    ("expression", "event"),
    [
        ("event.same | tojson", {"same": ["\x01" * 20_000] * 100}),
        ("event.same | tojson(indent=1)", {"same": ["\x01" * 20_000] * 100}),
        ("event.same | string", {"same": [LONG] * 40}),
        ("event.same | join(event.between)", {"same": ["1"] * 10_000, "between": LONG}),
        ("event.same | unique", {"same": [[LONG] * 40]}),
    ],
)
def test_a_text_that_would_be_too_long_is_refused_before_it_is_made(expression, event) -> None:
    with pytest.raises(ExpressionError, match=r"longer than|too long"):
        compile_expression(expression).render({"event": event})


def test_all_the_parts_of_a_value_are_paid_for_together(monkeypatch) -> None:
    monkeypatch.setattr(values, "MAX_WORK", 10_000)
    scope = {"event": list(range(1000))}
    assert len(compile_value(["{{ event }}"] * 2).render(scope)) == 2
    with pytest.raises(ExpressionError, match="too much work"):
        compile_value(["{{ event }}"] * 10).render(scope)


def test_addresses_are_paid_for_too(monkeypatch) -> None:
    monkeypatch.setattr(values, "MAX_WORK", 100_000)
    assert compile_url("/{{ event }}").render({"event": "x"}) == "/x"
    with pytest.raises(ExpressionError, match="too much work"):
        compile_url("/" + "{{ event }}" * 20).render({"event": LONG})


def test_the_attribute_of_a_filter_has_few_parts() -> None:
    with pytest.raises(ExpressionError, match="at most 100 parts"):
        compile_expression("event.list | map(attribute=event.path, default=1)").render(
            {"event": {"list": [{}], "path": "a." * 200}}
        )


def test_a_missing_key_of_a_large_mapping_is_named_with_some_that_there_are() -> None:
    with pytest.raises(ExpressionError, match=r"event\.zz is missing; event has: k0, k1, .* and 4980 more"):
        compile_expression("event.zz").render({"event": {f"k{index}": 1 for index in range(5000)}})


def test_equality_is_that_of_before() -> None:
    scope = {"event": {"a": [1, {"b": [1.0, True]}], "b": [1.0, {"b": [1, 1]}], "c": [1, {"b": [1]}], "d": {"x": None}}}
    truth = {
        "event.a == event.b": True,
        "event.a == event.c": False,
        "event.a != event.c": True,
        "event.d == {'x': none}": True,
        "event.d == {'y': none}": False,
        "event.d == event.a": False,
        "event.a in [event.c, event.b]": True,
        "event.a not in [event.c]": True,
        "[1, 2] < [1, 3]": True,
        "'x' in event.d": True,
        "1 in event.d": False,
    }
    assert {expression: compile_expression(expression).render(scope) for expression in truth} == truth
