"""`ipaas diff`: files against what is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipaas.publish import compile_files

BEFORE = """
name: orders
timeout: 5m
triggers: [{webhook: {auth: none}}]
steps:
  - {id: a, uses: log.message, with: {text: one}}
  - {id: b, uses: log.message, with: {text: two, level: info}}
  - {id: c, uses: log.message, with: {text: three}}
"""
AFTER = """
name: orders        # in another layout, which is no difference
timeout: 300
concurrency: 3
triggers: [{webhook: {auth: {scheme: github, credential: gh}}}]
steps:
  - {id: a, uses: log.message, with: {text: one}}
  - {id: c, uses: log.message, with: {text: "3"}, if: event.body.on}
  - {id: d, uses: log.message, with: {text: four}}
"""


@pytest.fixture
def published(in_history):
    def publish(path: Path) -> None:
        async def work(store):
            for flow in compile_files([path]):
                await store.publish(flow.published)

        in_history(work)

    return publish


def changes(document):
    [item] = document["items"]
    return {(one["change"], one["path"]): (one["before"], one["after"]) for one in item["changes"]}


def test_what_changed_is_named_step_by_step(ipaas, file, published):
    published(file("orders.yaml", BEFORE))
    document = ipaas("diff", str(file("orders.yaml", AFTER)), "--json").document
    assert document["items"][0]["change"] == "changed"
    assert changes(document) == {
        ("added", "concurrency"): (None, {"limit": 3}),
        ("changed", "triggers[0].webhook.auth"): ("none", {"scheme": "github", "credential": "gh"}),
        ("removed", "steps.b"): ({"uses": "log.message", "with": {"text": "two", "level": "info"}}, None),
        ("changed", "steps.c.with.text"): ("three", "3"),
        ("added", "steps.c.if"): (None, "event.body.on"),
        ("added", "steps.d"): (None, {"uses": "log.message", "with": {"text": "four"}}),
    }


def test_it_is_readable(ipaas, file, published):
    published(file("orders.yaml", BEFORE))
    out = ipaas("diff", str(file("orders.yaml", AFTER))).out
    assert out.startswith("orders  changed: ")
    assert '  ~ steps.c.with.text: "three" → "3"\n' in out
    assert "  - steps.b: " in out


def test_steps_in_another_order_are_a_change(ipaas, file, published):
    published(file("orders.yaml", BEFORE))
    head, a, b, c = BEFORE.strip().rsplit("\n", 3)
    document = ipaas("diff", str(file("orders.yaml", "\n".join([head, b, a, c]))), "--json").document
    assert changes(document) == {("changed", "steps"): (["a", "b", "c"], ["b", "a", "c"])}


def test_nothing_changed(ipaas, file, published):
    path = file("orders.yaml", BEFORE)
    published(path)
    assert ipaas("diff", str(path)).out == "orders  unchanged\n"
    file("orders.yaml", BEFORE + "# a comment\n")
    assert ipaas("diff", str(path)).out.startswith("orders  only comments or layout: ")


def test_a_new_workflow_is_outlined(ipaas, file, in_history):
    in_history(lambda store: store.ping())
    out = ipaas("diff", str(file("orders.yaml", BEFORE))).out
    assert out.startswith("orders  new: ")
    assert '  + steps.b: "log.message"\n' in out


def test_the_outline_has_steps_of_every_kind(ipaas, file, in_history):
    in_history(lambda store: store.ping())
    out = ipaas("diff", str(file("orders.yaml", NESTED))).out
    assert [line.strip() for line in out.splitlines()[1:]] == [
        '+ steps.lines: "for_each"',
        '+ steps.lines.steps.route: "switch"',
        '+ steps.lines.steps.route.cases.DE.de: "set"',
        '+ steps.lines.steps.route.cases.DE.moin: "set"',
        '+ steps.lines.steps.route.default.other: "set"',
        '+ steps.guard: "try"',
        '+ steps.guard.try.risky: "set"',
        '+ steps.guard.catch.sorry: "set"',
        '+ on_failure.alert: "set"',
    ]


def test_a_workflow_whose_file_no_longer_has_it_is_gone(ipaas, file, published):
    path = file("orders.yaml", BEFORE)
    published(path)
    file("orders.yaml", BEFORE.replace("name: orders", "name: renamed"))
    items = ipaas("diff", str(path), "--json").document["items"]
    assert {item["workflow"]: item["change"] for item in items} == {"orders": "gone", "renamed": "new"}


def test_files_that_were_not_asked_about_are_left_out(ipaas, file, published):
    published(file("orders.yaml", BEFORE))
    other = file("other.yaml", BEFORE.replace("orders", "other"))
    items = ipaas("diff", str(other), "--json").document["items"]
    assert [item["workflow"] for item in items] == ["other"]


def test_a_python_workflow_shows_its_lines(ipaas, file, published):
    code = "from flows import workflow\n\n@workflow({})\nasync def job(event):\n    return {}\n"
    published(file("job.py", code.format("", 1)))
    path = file("job.py", code.format("concurrency=2", 2))
    [item] = ipaas("diff", str(path), "--json").document["items"]
    assert [one["path"] for one in item["changes"]] == ["concurrency"]
    assert "-    return 1" in item["source"]
    assert "+    return 2" in item["source"]


NESTED = """
name: orders
steps:
  - id: lines
    for_each: event.body
    steps:
      - id: route
        switch: item.country
        cases:
          DE: [{id: de, set: {a: 1}}, {id: moin, set: {a: 1}}]
        default: [{id: other, set: {a: 1}}]
  - id: guard
    try: [{id: risky, set: {a: 1}}]
    catch: [{id: sorry, set: {a: 1}}]
on_failure: [{id: alert, set: {a: 1}}]
"""


def test_steps_inside_others_are_named_by_their_place(ipaas, file, published):
    published(file("orders.yaml", NESTED))
    after = NESTED.replace(
        "{id: de, set: {a: 1}}, {id: moin, set: {a: 1}}", "{id: moin, set: {a: 1}}, {id: de, set: {a: 2}}"
    )
    after = after.replace("{id: sorry, set: {a: 1}}", "{id: sorry, fail: no}").replace("id: other", "id: others")
    after = after.replace("{id: alert, set: {a: 1}}", "{id: alert, set: {a: 3}}")

    document = ipaas("diff", str(file("orders.yaml", after)), "--json").document

    route = "steps.lines.steps.route"
    assert changes(document) == {
        ("changed", f"{route}.cases.DE.de.set.a"): (1, 2),
        ("changed", f"{route}.cases.DE"): (["de", "moin"], ["moin", "de"]),
        ("removed", f"{route}.default.other"): ({"set": {"a": 1}}, None),
        ("added", f"{route}.default.others"): (None, {"set": {"a": 1}}),
        ("removed", "steps.guard.catch.sorry.set"): ({"a": 1}, None),
        ("added", "steps.guard.catch.sorry.fail"): (None, "no"),
        ("changed", "on_failure.alert.set.a"): (1, 3),
    }
