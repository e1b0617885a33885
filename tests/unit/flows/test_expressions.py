"""What expressions mean."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.expressions import compile_condition, compile_expression, compile_value, render_template
from foundation.errors import ExpressionError

BODY = {
    "user": {"email": "ann@example.com", "name": "Ann"},
    "amount": 12,
    "price": 1.5,
    "zip": "00123",
    "nothing": None,
    "open": True,
    "items": [{"sku": "b", "n": 2}, {"sku": "a", "n": 1}],
    "keys": "mine",
    "_id": "x1",
}
SCOPE = {
    "event": {"body": BODY, "headers": {"x-shop": "acme"}},
    "steps": {"fetch": {"output": {"ts": 7}, "status": "succeeded"}, "a-b": {"output": 1}, "off": {"output": None}},
    "vars": {"shop": "Acme"},
    "now": datetime(2026, 1, 31, 9, 30, tzinfo=UTC),
}


def render(value, scope=SCOPE):
    return compile_value(value).render(scope)


def the_problem(value, scope=SCOPE) -> str:
    with pytest.raises(ExpressionError) as caught:
        render(value, scope)
    return str(caught.value)


def the_fault(value) -> str:
    with pytest.raises(ExpressionError) as caught:
        compile_value(value)
    return str(caught.value)


# Types


@pytest.mark.parametrize("key", ["amount", "price", "zip", "nothing", "open", "items", "user"])
def test_exactly_one_expression_keeps_the_values_type(key) -> None:
    value = render(f"{{{{ event.body['{key}'] }}}}")
    assert (value, type(value)) == (BODY[key], type(BODY[key]))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_data_goes_through_unchanged_whatever_it_looks_like(value) -> None:
    assert repr(render("{{ event }}", {"event": value})) == repr(value)


@given(st.text())
def test_data_is_never_rendered_again(text) -> None:
    hostile = "{{ vars.secret }}" + text
    assert render("a {{ event }} b", {"event": hostile, "vars": {"secret": "s"}}) == f"a {hostile} b"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("event.body.user.name", "Ann"),
        ("event.body.amount", "12"),
        ("event.body.price", "1.5"),
        ("event.body.nothing", "null"),
        ("event.body.open", "true"),
        ("event.body.user", '{"email": "ann@example.com", "name": "Ann"}'),
        ("[1, 'ä']", '[1, "ä"]'),
        ("now", "2026-01-31T09:30:00Z"),
    ],
)
def test_mixed_text_writes_strings_bare_and_all_else_as_json(expression, text) -> None:
    assert render(f"<{{{{ {expression} }}}}>") == f"<{text}>"


def test_values_are_walked_however_deep_and_keys_stay() -> None:
    value = {"a": ["{{ event.body.amount }}", {"b": "n={{ event.body.amount }}"}], "c": 1, "d": None}
    assert render(value) == {"a": [12, {"b": "n=12"}], "c": 1, "d": None}
    assert "keys are not rendered" in the_fault({"{{ event.body.zip }}": 1})


def test_text_without_expressions_is_itself() -> None:
    assert render("a } b { c }} \r\n") == "a } b { c }} \r\n"


def test_a_trailing_line_break_belongs_to_the_text() -> None:
    assert render("{{ event.body.amount }}\n") == "12\n"


def test_braces_can_be_written() -> None:
    assert render("{{ '{{' }} x {{ '}}' }}") == "{{ x }}"


def test_a_result_is_a_copy_of_its_own() -> None:
    render("{{ event.body['items'] }}").append("changed")
    assert len(BODY["items"]) == 2


def test_an_enumeration_is_its_text() -> None:
    status = StrEnum("Status", {"DONE": "done"}).DONE
    assert type(render("{{ event }}", {"event": status})) is str
    assert render("is {{ event }}", {"event": status}) == "is done"


def test_arguments_can_be_left_as_they_are_written() -> None:
    compiled = compile_value({"template": "{{ name }}", "data": "{{ event.body.zip }}"}, verbatim={"template"})
    assert compiled.render(SCOPE) == {"template": "{{ name }}", "data": "00123"}


# Lookup


def test_a_mappings_key_wins_over_any_method() -> None:
    assert render("{{ event.body.items | length }}") == 2
    assert render("{{ event.body.keys }}") == "mine"
    assert "event.body.user.items is missing" in the_problem("{{ event.body.user.items }}")


def test_a_key_that_starts_with_an_underscore_is_written_in_brackets() -> None:
    assert render("{{ event.body['_id'] }}") == "x1"
    assert "written ['_id']" in the_fault("{{ event.body._id }}")


def test_lists_and_strings_have_indexes_and_slices() -> None:
    assert render("{{ event.body['items'][0].sku }}{{ event.body['items'][-1].sku }}") == "ba"
    assert render("{{ event.body.zip[2:] }}") == "123"
    assert render("{{ event.body['items'][:1] }}") == BODY["items"][:1]


def test_a_step_whose_id_has_a_dash_is_reached_in_brackets() -> None:
    assert render("{{ steps['a-b'].output }}") == 1
    assert "a step whose id has a dash is written steps['a-b']" in the_fault("{{ steps.a-b.output }}")


# Missing


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("event.body.user.nmae", "event.body.user.nmae is missing; event.body.user has: email, name"),
        ("event.body.usr.name.first", "event.body.usr is missing; event.body has: _id,"),
        ("event.body.items[5]", "event.body.items[5] is missing; event.body.items is a list of length 2"),
        ("event.body.items.sku", "event.body.items.sku is missing; event.body.items is a list"),
        ("event.body.nothing.x", "event.body.nothing.x is missing; event.body.nothing is null"),
        ("event.body.zip.x", "event.body.zip.x is missing; event.body.zip is a string"),
        ("steps.gone.output", "steps.gone is missing; steps has: a-b, fetch, off"),
        ("item.x", "item is missing; in scope: event, now, steps, vars"),
    ],
)
def test_an_undefined_name_is_an_error_that_names_the_first_missing_part(expression, problem) -> None:
    for value in (f"{{{{ {expression} }}}}", f"text {{{{ {expression} }}}}", f"{{{{ {expression} ~ '' }}}}"):
        assert the_problem(value).startswith(problem)


def test_default_gives_its_value_when_any_part_of_the_path_is_missing() -> None:
    assert render("{{ event.body.a.b.c | default('x') }}") == "x"
    assert render("{{ event.body.items[9].sku | default(none) }}") is None
    assert render("{{ steps.off.output.ts | default(none) }}") is None
    assert render("{{ steps.never.output | d(3) }}") == 3
    assert render("{{ event.body.amount | default('x') }}") == 12
    assert render("{{ event.body.a | default(event.body.b) | default('c') }}") == "c"


def test_default_looks_at_emptiness_only_when_told() -> None:
    assert render("{{ event.body.nothing | default('x') }}") is None
    assert render("{{ event.body.nothing | default('x', true) }}") == "x"


def test_is_defined() -> None:
    assert render("{{ event.body.a.b is defined }}") is False
    assert render("{{ event.body.user is defined }}") is True
    assert render("{{ event.body.a.b is undefined }}") is True


@pytest.mark.parametrize("condition", ["event.body.nope", "not event.body.nope", "event.body.nope or true"])
def test_a_missing_value_is_neither_true_nor_false(condition) -> None:
    with pytest.raises(ExpressionError, match=r"event\.body\.nope is missing"):
        compile_condition(condition).render(SCOPE)


def test_an_error_shows_the_expression_but_no_data() -> None:
    problem = the_problem("{{ event.body.user.email | int }}")
    assert "(in {{ event.body.user.email | int }})" in problem
    assert "ann@example.com" not in problem


# Conditions


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("event.body.amount > 10", True),
        ("event.body.amount > 10 and event.headers['x-shop'] == 'other'", False),
        ("'Ann' in event.body.user.name", True),
        ("event.body.user.name in ['Ann', 'Bob']", True),
        ("'name' in event.body.user", True),
        ("1 < event.body.amount <= 12", True),
        ("event.body.nothing", False),
        ("event.body['items']", True),
        ("steps.fetch.status != 'skipped'", True),
        ("event.body.amount is divisibleby 5", False),
        ("event.body.gone is defined", False),
        (True, True),
        (False, False),
    ],
)
def test_a_condition_is_a_bare_expression(condition, truth) -> None:
    assert compile_condition(condition).render(SCOPE) is truth


def test_a_bare_expression_has_no_braces() -> None:
    with pytest.raises(ExpressionError, match=r"leave out the \{\{ \}\}"):
        compile_condition("{{ event.body.amount }}")


def test_a_bare_expression_keeps_its_value() -> None:
    assert compile_expression("event.body['items']").render(SCOPE) == BODY["items"]
    assert compile_expression(3).render(SCOPE) == 3


def test_values_of_different_types_can_not_be_ordered() -> None:
    with pytest.raises(ExpressionError, match="can't compare a string with a number"):
        compile_condition("event.body.zip > 3").render(SCOPE)


# Operators, filters, methods


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3 - 4 / 2 + 7 // 2 + 7 % 4", 11.0),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
        ("'n=' ~ 1 ~ none ~ [1]", "n=1null[1]"),
        ("-event.body.amount", -12),
        ("'big' if event.body.amount > 10 else 'small'", "big"),
        ("{'a': [1, (2, 3)]}", {"a": [1, [2, 3]]}),
        ("event.body.user.name | upper | lower | title", "Ann"),
        ("' a ' | trim", "a"),
        ("'a-b' | replace('-', '+')", "a+b"),
        ("'a,b' | split(',')", ["a", "b"]),
        ("'abcdef' | truncate(4)", "abc…"),
        ("'<a>' | escape", "&lt;a&gt;"),
        ("'a b&c' | urlencode", "a%20b%26c"),
        ("{'q': 'a b', 'n': 1} | urlencode", "q=a+b&n=1"),
        ("'12' | int + 1", 13),
        ("'x' | int(0)", 0),
        ("'1.5' | float", 1.5),
        ("2.567 | round(1)", 2.6),
        ("2.5 | round", 2),
        ("-3 | abs", 3),
        ("event.body.items | length", 2),
        ("event.body.items | first", {"sku": "b", "n": 2}),
        ("[] | first | default('none')", "none"),
        ("[3, 1, 2] | sort", [1, 2, 3]),
        ("['b', 'A'] | sort", ["A", "b"]),
        ("event.body.items | sort(attribute='sku') | map(attribute='n') | list", [1, 2]),
        ("[1, 2, 1] | unique", [1, 2]),
        ("[1, 2] | reverse", [2, 1]),
        ("[1, 2] | sum", 3),
        ("event.body.items | sum(attribute='n')", 3),
        ("[1, 3] | max - [1, 3] | min", 2),
        ("event.body.items | map(attribute='sku') | join(', ')", "b, a"),
        ("event.body.items | map(attribute='gone', default=0)", [0, 0]),
        ("['a'] | map('upper')", ["A"]),
        ("['a,b'] | map('replace', ',', ';')", ["a;b"]),
        ("[0, 1, 2] | select", [1, 2]),
        ("[0, 1, 2] | select('gt', 1)", [2]),
        ("[0, 1, 2] | reject('odd')", [0, 2]),
        ("event.body.items | selectattr('n', 'eq', 1) | map(attribute='sku')", ["a"]),
        ("event.body.items | rejectattr('gone', 'defined') | length", 2),
        ("event.body.user | items", [["email", "ann@example.com"], ["name", "Ann"]]),
        ("event.body.user | keys", ["email", "name"]),
        ("event.body.user | values", ["ann@example.com", "Ann"]),
        ("{'a': 'ä'} | tojson", '{"a": "ä"}'),
        ("'[1, null]' | fromjson", [1, None]),
        ("'ä' | b64encode | b64decode", "ä"),
        ("'a' | sha256", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ("now | date('%d.%m.%Y')", "31.01.2026"),
        ("'2026-01-31T23:30:00Z' | date('%H:%M', 'Europe/Berlin')", "00:30"),
        ("0 | date", "1970-01-01T00:00:00Z"),
        ("now.year", 2026),
        ("now.strftime('%Y-%m-%d')", "2026-01-31"),
        ("now.isoformat()", "2026-01-31T09:30:00+00:00"),
        ("'Ann Lee'.split(' ')[0].upper()", "ANN"),
        ("'abc'.startswith('ab') and 'abc'.endswith('bc')", True),
        ("'xax'.strip('x')", "a"),
        ("1 is number and 'a' is string and none is none and true is boolean", True),
    ],
)
def test_what_expressions_can_do(expression, value) -> None:
    assert compile_expression(expression).render(SCOPE) == value


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("1 + 'a'", "~ joins them as text"),
        ("1 / 0", "division by zero"),
        ("'x' | int", "int can't read this string as a number"),
        ("1 if false", "there is no else"),
        ("event.body.amount | join", "join needs a list, not a number"),
        ("[1, 'a'] | sort", "can't compare"),
        ("'nope' | fromjson", "fromjson needs JSON"),
        ("'nope' | date", "RFC 3339"),
        ("now | date('%H', 'Mars/Base')", "does not know this timezone"),
        ("event.body.amount.upper()", "is a method of a string, not of a number"),
        ("1 in 'a'", "only a string can be in a string"),
        ("event.body[1]", "its keys are strings"),
    ],
)
def test_what_goes_wrong_while_rendering_is_told(expression, problem) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(expression).render(SCOPE)
    assert problem in str(caught.value)


# What is found before anything runs


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{{ evnt.body }}", "unknown name 'evnt'; did you mean 'event'?"),
        ("{{ null }}", "write none"),
        ("{{ event.body | uper }}", "unknown filter 'uper'; did you mean 'upper'?"),
        ("{{ event.body is nul }}", "unknown test 'nul'"),
        ("{{ event.body | map('uper') }}", "unknown filter 'uper'"),
        ("{{ event.body | select('evn') }}", "unknown test 'evn'"),
        ("{{ event.body | map }}", "map needs the name of a filter, or attribute="),
        ("{{ event.body | map(event.body) }}", "needs the name of a filter in quotes"),
        ("{{ event.body | replace('a') }}", "filter replace: missing a required argument: 'new'"),
        ("{{ event.body | round(colour=1) }}", "filter round: got an unexpected keyword argument 'colour'"),
        ("{{ event.body.items() }}", "there is a filter: | items"),
        ("{{ event.body.frobnicate() }}", "unknown method 'frobnicate'"),
        ("{{ event.body +}}", "syntax error"),
        ("{{ event.body", "syntax error"),
        ("{{ steps }}", "steps.ID"),
        ("{{ steps[event.body.x] }}", "steps.ID"),
    ],
)
def test_faults_that_are_found_when_compiling(text, fault) -> None:
    told = the_fault(text)
    assert fault in told
    assert told.endswith(f"(in {text})")


def test_the_steps_that_an_expression_refers_to_are_known() -> None:
    value = {"a": "{{ steps.one.output }} {{ steps['two-b'].x | default(steps.three.y) }}", "b": ["{{ vars.x }}"]}
    assert compile_value(value).references == {"one", "two-b", "three"}
    assert compile_condition("steps.one.status == 'skipped' or event.id").references == {"one"}


def test_names_can_be_limited_to_what_a_place_has() -> None:
    with pytest.raises(ExpressionError, match="unknown name 'steps'"):
        compile_value("{{ steps.a.output }}", {"event"})


# Templates of transform.template


def test_a_template_has_names_of_its_own() -> None:
    assert render_template("Hi {{ name }} {{ steps.a }}", {"name": "Ann", "steps": {"a": 1}}) == "Hi Ann 1"
    with pytest.raises(ExpressionError, match="nmae is missing; in scope: name"):
        render_template("Hi {{ nmae }}", {"name": "Ann"})


def test_one_expression_serves_many_threads() -> None:
    compiled, wrong = compile_value("{{ event.n }} {{ [event.n] * 1 if false else event.n | string }}"), []

    def check(number: int) -> None:
        wrong.extend(n for n in range(200) if compiled.render({"event": {"n": number}}) != f"{number} {number}")

    threads = [threading.Thread(target=check, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
