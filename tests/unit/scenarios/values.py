"""Expressions of every kind: each becomes Python that gives the same."""

from __future__ import annotations

import json
from typing import Any

from executing import URL, steps
from executing import post as posts
from executing import step as kind
from scenario import Case, Scenario

BODY: dict[str, Any] = {
    "id": 42,
    "name": "Ada",
    "vip": True,
    "none": None,
    "price": 1.5,
    "tags": ["a", "b"],
    "items": [{"id": 1, "qty": 2}, {"id": 2, "qty": 3}],
    "odd key": "x",
    "quote": 'it\'s "so"',
}

GIVE: dict[str, Any] = {
    "{{ event.body.id }}": 42,
    "{{ event.body['odd key'] }}": "x",
    "{{ event.body.tags[-1] }}": "b",
    "{{ event.body.tags[event.body.items[0].id] }}": "b",
    "{{ event.body.tags[:1] }}": ["a"],
    "{{ event.body.tags[event.body.items[0].id:] }}": ["b"],
    "n {{ event.body.id }}, {{ event.body.vip }}, {{ event.body.none }}": "n 42, true, null",
    "{{ event.body.price }} and {{ event.body.items[0] }}": '1.5 and {"id": 1, "qty": 2}',
    "{{ event.body.name }} of {{ event.id | length > 3 }}": "Ada of true",
    "{{ (event | length) > 3 }}": True,
    "{{ event.body.tags }} and {{ event.body.tags | length }}": '["a", "b"] and 2',
    "say {{ event.body.quote }} {{ 'x' ~ event.body.id }}": 'say it\'s "so" x42',
    "{% raw".replace("{% raw", "{{ '{%' }}"): "{%",
    'a "quoted" {{ event.body.name }} \\ back': 'a "quoted" Ada \\ back',
    "braces {} {{ event.body.name }}": "braces {} Ada",
    "lines\n{{ event.body.name }}": "lines\nAda",
    "{{ event.body.price * 2 + 1 - 0.5 }}": 3.5,
    "{{ (event.body.id + 2) * 2 }}": 88,
    "{{ event.body.id - (2 - 1) }}": 41,
    "{{ event.body.id // 5 % 3 }}": 2,
    "{{ event.body.id / 4 }}": 10.5,
    "{{ -event.body.id }}": -42,
    "{{ event.body.id > 5 and event.body.vip }}": True,
    "{{ event.body.none or event.body.name }}": "Ada",
    "{{ not (event.body.vip and event.body.none) }}": True,
    "{{ 1 < event.body.price < 2 }}": True,
    "{{ event.body.name == 'Ada' and event.body.id != 4 }}": True,
    "{{ 'a' in event.body.tags and 'z' not in event.body.name }}": True,
    "{{ 'name' in event.body }}": True,
    "{{ 'big' if event.body.id >= 42 else 'small' }}": "big",
    "{{ ('big' if event.body.id > 42 else 'small') ~ '!' }}": "small!",
    "{{ event.body.none is none }}": True,
    "{{ event.body.gone is defined }}": False,
    "{{ event.body.gone | default('world') }}": "world",
    "Hello {{ event.body.gone.deep | default(event.body.name) }}": "Hello Ada",
    "{{ event.body.name | upper }}{{ event.body.name.lower() }}": "ADAada",
    "{{ ' x ' | trim }}{{ event.body.id | string }}": "x42",
    "{{ event.body.name.startswith('A') }}": True,
    "{{ event.body.items | map(attribute='qty') }}": [2, 3],
    "{{ event.body.items | map(attribute='qty') | sum }}": 5,
    "{{ event.body.items | selectattr('qty', 'gt', 2) | map(attribute='id') | first }}": 2,
    "{{ event.body.tags | join(', ') }}": "a, b",
    "{{ {'a': event.body.id, 'b': [1, none, true]} }}": {"a": 42, "b": [1, None, True]},
    "{{ event.body.price | round | int }}": 2,
    "{{ workflow.name }}": "test",
    "{{ now.year }}": 2026,
    "{{ event.headers | length }}": 0,
    "{{ vars.shop }}/{{ vars.n + 1 }}": "Acme/3",
    "{{ vars }}": {"shop": "Acme", "n": 2},
    "{{ steps.a.output.body.got }}": 7,
    "{{ steps['a'].output['status'] }}": 200,
    "{{ steps.a.status }}": "succeeded",
    "{{ steps.a.output.headers['content-type'] | default('') | length > 3 }}": True,
    "plain": "plain",
}


def given(expression: str) -> str:
    data = {"name": "test", "vars": {"shop": "Acme", "n": 2}, "output": expression}
    return "\n".join([*(f"{key}: {json.dumps(value)}" for key, value in data.items()), steps(posts("/a", 7))])


VALUES = [
    *(
        Scenario(f"value {number}", given(expression), [Case(BODY, [("/a", 7)], value)])
        for number, (expression, value) in enumerate(GIVE.items(), start=1)
    ),
    Scenario(
        "addresses",
        steps(
            kind(
                "a",
                uses="http.request",
                with_={"url": URL + "/o/{{ event.body.id }}?q={{ event.body.name }}", "method": "GET"},
            ),
            kind(
                "b",
                uses="http.request",
                with_={"url": URL + "/b", "query": {"page": "{{ event.body.id }}"}, "timeout": "30s"},
            ),
        ),
        [Case({"id": "x/../y", "name": "a&b"}, [("/o/x%2F..%2Fy?q=a%26b", None), ("/b?page=x%2F..%2Fy", None)])],
    ),
    Scenario(
        "arguments that are no texts where texts are wanted",
        steps(
            kind(
                "l",
                for_each="event.body",
                steps=[{"id": "say", "uses": "log.message", "with": {"text": "{{ index }}"}}],
            ),
            kind("loud", uses="log.message", with_={"text": 5, "level": "{{ 'info' if event.body else 'error' }}"}),
            output="'{{ steps.loud.output.text }}'",
        ),
        [Case([1], [], "5")],
    ),
    Scenario(
        "texts that are not rendered",
        steps(
            kind(
                "a",
                uses="transform.template",
                with_={"template": "Hello {{ name }}!", "data": {"name": "{{ event.body }}"}},
            ),
            output="'{{ steps.a.output }}'",
        ),
        [Case("{{ Ada }}", [], "Hello {{ Ada }}!")],
    ),
    Scenario(
        "names that mean something in Python",
        steps(
            posts("/class", 1),
            kind("a-b", set={"list": "{{ steps.class.output.body.got }}"}),
            kind("event", set={"len": "{{ steps['a-b'].output.list + 1 }}"}),
            kind("http", for_each="[1, 2]", as_="lambda", steps=[{"id": "text", "set": {"x": "{{ lambda }}"}}]),
            output="\"{{ [steps.event.output.len, steps.http.output | map(attribute='x')] }}\"",
        ),
        [Case(None, [("/class", 1)], [2, [1, 2]])],
    ),
]
