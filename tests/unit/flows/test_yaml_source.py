"""Workflows in YAML: what is read, and what an author is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.language.faults import DefinitionErrors
from flows.language.yaml_source import load_workflow
from flows.language.yaml_text import MAX_BYTES, read_yaml
from foundation.errors import DefinitionError

CONTRACT = """\
name: order-confirmed
description: Tell the team about every large order.
tags: [sales]
triggers:
  - webhook:
      path: order-confirmed
      methods: [POST]
      auth: {scheme: shopify, credential: shop-webhook}
      dedupe: "{{ event.headers['x-shopify-webhook-id'] }}"
  - schedule: {cron: "0 9 * * 1-5", timezone: Europe/Berlin}
concurrency: 10
timeout: 5m
input:
  type: object
  required: [user, order]
vars: {shop: Acme}
steps:
  - id: notify
    if: event.body.amount > 10
    uses: slack.post_message
    credential: team-slack
    with:
      channel: "#orders"
      text: "Hello {{ event.body.user.name }}! Order #{{ event.body.order.id }} confirmed."
    retry: {attempts: 3, delay: 1s, backoff: exponential, max_delay: 30s, on: [429, 5xx, timeout]}
    timeout: 30s
    on_error: fail
output: {sent: "{{ steps.notify.output.ts | default(none) }}"}
respond: {when: accepted}
"""


def faults(text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(DefinitionErrors) as caught:
        load_workflow(text, file="w.yaml")
    assert all(error.file == "w.yaml" for error in caught.value.errors)
    return [(error.line, error.message) for error in caught.value.errors]


def data(text: str):
    return read_yaml(text).data()


def test_the_workflow_of_the_contract() -> None:
    workflow = load_workflow(CONTRACT, file="w.yaml")
    (step,) = workflow.steps
    assert workflow.name == "order-confirmed"
    assert step.if_ == "event.body.amount > 10"
    assert step.with_["channel"] == "#orders"
    assert step.retry.on == (429, "5xx", "timeout")
    assert (workflow.file, workflow.position("steps", 0, "with", "text")) == ("w.yaml", (24, 7))


def test_a_file_is_read_by_its_path(tmp_path) -> None:
    (tmp_path / "w.yaml").write_text(CONTRACT)
    workflow = load_workflow(tmp_path / "w.yaml")
    assert workflow.file == str(tmp_path / "w.yaml")


def test_a_file_that_can_not_be_read(tmp_path) -> None:
    with pytest.raises(DefinitionError, match=r"gone\.yaml: can't be read"):
        load_workflow(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe4")
    with pytest.raises(DefinitionError, match="not UTF-8"):
        load_workflow(tmp_path / "latin.yaml")


def test_all_faults_are_told_at_once_each_with_its_line() -> None:
    text = CONTRACT.replace("timeout: 5m", "timeout: abc").replace("attempts: 3", "attempts: many")
    text = text.replace("on_error: fail", "on_error: explode").replace("[sales]", "sales")
    assert faults(text) == [
        (3, "tags: expected a list, got 'sales'"),
        (12, "timeout: expected a duration like 30s or 5m, got 'abc'"),
        (25, "steps[0].retry.attempts: expected a whole number, got 'many'"),
        (27, "steps[0].on_error: expected 'fail' or 'continue', got 'explode'"),
    ]


def test_errors_print_one_a_line() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        load_workflow("name: A\nsteps: 3\n", file="w.yaml")
    first, second = str(caught.value).splitlines()
    assert first.startswith("w.yaml:1:1: name: ")
    assert second == "w.yaml:2:1: steps: expected a list, got 3"


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    text = CONTRACT.replace("    if: ", "    iff: ").replace("max_delay: 30s", "max_delya: 30s")
    assert faults(text) == [
        (19, "steps[0]: unknown key 'iff'; did you mean 'if'?"),
        (25, "steps[0].retry: unknown key 'max_delya'; did you mean 'max_delay'?"),
    ]


def test_an_unknown_key_like_no_other_is_told_what_there_is() -> None:
    assert faults(CONTRACT.replace("delay: 1s", "colour: red")) == [
        (25, "steps[0].retry: unknown key 'colour'; known keys: attempts, delay, backoff, max_delay, on")
    ]


def test_a_missing_key_names_itself_and_its_place() -> None:
    assert faults("name: a\nsteps:\n  - uses: log.message\n  - id: b\n") == [
        (3, "steps[0]: missing key 'id'"),
        (
            4,
            "steps[1]: what does it do? A step has one of uses, set, for_each, repeat, switch, try, call, wait, "
            "approve, signal, stop, fail",
        ),
    ]


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "NO", "y", "True", "FALSE"])
def test_only_true_and_false_are_booleans(word) -> None:
    assert data(f"{word}: {word}") == {word: word}
    assert data("a: true\nb: false") == {"a": True, "b": False}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("12:30", "12:30"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("~", None),
        ("null", None),
        ("", None),
        ("5xx", "5xx"),
    ],
)
def test_scalars_are_yaml_1_2(written, meant) -> None:
    value = data(f"a: {written}")["a"]
    assert (value, type(value)) == (meant, type(meant))


def test_keys_are_text() -> None:
    assert data("1: a\nnull: b\n2024-01-31: c") == {"1": "a", "null": "b", "2024-01-31": "c"}


def test_anchors_and_merges() -> None:
    text = "a: &base {x: 1, y: 2}\nb: *base\nc: {<<: *base, y: 3}\nd: {<<: [{x: 5}, *base]}\n"
    assert data(text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 2}, "c": {"y": 3, "x": 1}, "d": {"x": 5, "y": 2}}


def test_alias_bombs_are_refused() -> None:
    layers = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(DefinitionError, match="aliases unfolded"):
        read_yaml("\n".join(["a0: &a0 [x, x]", *layers]))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("- a", 1, "a workflow is a mapping"),
        ("a: 1\nb: {c: 1,\n  c: 2}", 3, "the key 'c' stands twice; first in line 2"),
        ("a: 1\n---\nb: 2", 2, "a file holds one document"),
        ("a: b: c", 1, "not YAML"),
        ("a: [1,\n  2", 2, "not YAML"),
        ("\ta: 1", 1, "not YAML"),
        ("a: 1\nb: \x01", 2, "control character"),
        ("a: &x [*x]", 1, "stands inside its own anchor"),
        ("a: *x", 1, "has no anchor &x"),
        ("a: !!python/object:os.system {}", 1, "tag"),
        ("a: !secret x", 1, "tag"),
        ("a: 1\nb: {{ event.id }}", 2, "put it in quotes"),
        ("a: .inf", 1, "no number in JSON"),
        ("a: 99999999999999999999999", 1, "more than 64 bits"),
        ('a: "\\ud800"', 1, "surrogate"),
        ("a: " + "[" * 110, 1, "nested deeper than 100"),
    ],
)
def test_files_that_are_refused(text, line, message) -> None:
    ((found, told), *_) = faults(text)
    assert message in told
    assert found == line


def test_a_file_is_bounded(tmp_path) -> None:
    with pytest.raises(DefinitionError, match="larger than"):
        read_yaml("a" * (MAX_BYTES + 1))
    (tmp_path / "big.yaml").write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(DefinitionError, match="larger than"):
        load_workflow(tmp_path / "big.yaml")


@given(st.text(alphabet="abc:-[]{}&*!'\"#|>%@`,?\n\t 01~", max_size=60))
def test_any_text_is_a_workflow_or_a_definition_error(text) -> None:
    with pytest.raises(DefinitionErrors):
        load_workflow(text)
