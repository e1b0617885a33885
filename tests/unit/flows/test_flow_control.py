"""Flow control as it is written, checked, and evaluated for an event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from executing import bench, in_yaml, step, steps

from connectors.kit.descriptions import DESCRIPTIONS
from flows.engine.flow_keys import flow_keys
from flows.history import Key, Status
from flows.history.rules import declared_limit, declared_rules, rules_of
from flows.language.check import check_declaration, check_workflow
from flows.language.definition import Declaration
from flows.language.faults import DefinitionErrors
from flows.language.yaml_source import declare, load_workflow
from flows.on_prefect.python_source import workflow as python_workflow
from foundation.masking import MASK, Masker

STEPS = "steps: [{id: a, uses: log.message, with: {text: hello}}]\n"
EVENT = {"id": "e", "body": {"customer": 42, "vip": True, "name": "Ada", "card": "secret-card"}, "headers": {}}


def faults(text: str) -> list[str]:
    """What `ipaas check` says of a file, without its name and the columns."""
    source = f"name: orders\n{text}{STEPS}"
    try:
        found = check_workflow(load_workflow(source, "f.yaml"), DESCRIPTIONS)
    except DefinitionErrors as errors:
        found = list(errors.errors)
    return [f"{fault.line}: {fault.message}" for fault in found]


def declared(**values: Any) -> Declaration:
    return declare(Declaration, {"name": "orders", **values})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("concurrency: {limit: 0}", "2: concurrency.limit: must be at least 1, got 0"),
        ("concurrency:\n  - {limit: 5}\n  - {limit: 0, key: event.id}", "4: concurrency[1].limit: must be at least 1"),
        ("concurrency: []", "2: concurrency: must not be empty"),
        ("concurrency: [{limit: 1}, {limit: 2}]", "2: concurrency: there are two limits without a key"),
        (
            "concurrency: [{limit: 1, key: event.id}, {limit: 2, key: event.id}]",
            "2: concurrency: there are two limits for the key event.id",
        ),
        ("concurrency: {limit: 1, overflow: drop}", "2: concurrency.overflow: expected 'wait', 'cancel', 'replace'"),
        ("concurrency: {limit: 1, kee: event.id}", "2: concurrency: unknown key 'kee'; did you mean 'key'?"),
        ("concurrency:\n  limit: 1\n  key: evnt.body.id", "4: concurrency.key: unknown name 'evnt'"),
        ("concurrency:\n  - {limit: 9}\n  - limit: 1\n    key: steps.a", "5: concurrency[1].key: "),
        ("throttle: {limit: 0, per: 1m}", "2: throttle.limit: must be at least 1, got 0"),
        ("throttle: {limit: 1}", "2: throttle: missing key 'per'"),
        ("throttle: {limit: 1, per: 1m, bust: 2}", "2: throttle: unknown key 'bust'; did you mean 'burst'?"),
        ("throttle: {limit: 1, per: 1m, key: '{{ event.id }}'}", "2: throttle.key: expected a bare expression"),
        ("debounce: {quiet: 10m, at_most: 5m}", "2: debounce: quiet (600 s) must not be longer than at_most (300 s)"),
        ("debounce: {quiet: 0}", "2: debounce.quiet: must be longer than 0"),
        ("debounce: {quiet: 1s, key: 'event.body['}", "2: debounce.key: "),
        ("batch: {size: 1001, within: 1s}", "2: batch.size: must be at most 1000, got 1001"),
        ("batch: {size: 2, within: 1s, key: now}", "2: batch.key: "),
        (
            "batch: {size: 2, within: 1s}\ndebounce: {quiet: 1s}",
            "2: batch: debounce and batch exclude each other",
        ),
        (
            "batch: {size: 2, within: 1s}\nrespond: {when: finished}",
            "3: respond.when: a sender can't be kept waiting for its own result: batch makes one execution of many",
        ),
        ("debounce: {quiet: 1s}\nrespond: {when: finished}", "3: respond.when: a sender can't be kept waiting"),
        ("priority: 601", "2: priority: expected seconds from -600 to 600, got 601"),
        ("priority: true", "2: priority: expected seconds, as a number or an expression"),
        ("priority: 10 if event.body.vip else nope", "2: priority: unknown name 'nope'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, fault: str) -> None:
    found = faults(f"{text}\n")

    assert any(one.startswith(fault) for one in found), found


@pytest.mark.parametrize(
    "text",
    [
        "concurrency: 3",
        "concurrency: {limit: 1, key: event.body.customer, overflow: latest}",
        "concurrency: [{limit: 5}, {limit: 1, key: event.body.customer}, {limit: 2, key: event.headers.host}]",
        "throttle: {limit: 100, per: 1m, burst: 20, key: event.body.customer}",
        "debounce: {quiet: 10s, at_most: 5m, key: event.body.customer}",
        "batch: {size: 100, within: 10s, key: event.body.customer}",
        'priority: "10 if event.body.vip else 0"',
        "priority: -5",
    ],
)
def test_every_form_of_the_language_is_taken_and_kept(text: str) -> None:
    assert faults(f"{text}\n") == []
    said = load_workflow(f"name: orders\n{text}\n{STEPS}")
    document = said.model_dump(mode="json", include=set(Declaration.model_fields))
    again = Declaration.model_validate(json.loads(json.dumps(document)))
    assert all(getattr(again, name) == getattr(said, name) for name in Declaration.model_fields)


def test_python_says_the_same() -> None:
    @python_workflow(
        concurrency=[{"limit": 5}, {"limit": 1, "key": "event.body.customer"}],
        throttle={"limit": 1, "per": "1m"},
        debounce={"quiet": "1s"},
        priority="10 if event.body.vip else 0",
    )
    async def orders(event: Any) -> None: ...

    said = orders.declaration
    assert (said.limit, said.concurrency[1].key, said.priority) == (
        5,
        "event.body.customer",
        "10 if event.body.vip else 0",
    )
    assert (said.throttle.per, said.debounce.quiet, said.batch) == (60, 1, None)
    with pytest.raises(DefinitionErrors, match=r"batch\.size: must be at least 1, got 0"):
        python_workflow(batch={"size": 0, "within": 1})(orders.fn)
    wrong = declared(throttle={"limit": 1, "per": 1, "key": "evnt.id"})
    assert "throttle.key: unknown name 'evnt'" in str(check_declaration(wrong, DESCRIPTIONS)[0])


@pytest.mark.parametrize(
    ("concurrency", "limit", "has_rules"),
    [
        (4, (4, "wait"), False),
        ({"limit": 4, "overflow": "cancel"}, (4, "cancel"), False),
        ({"limit": 4, "overflow": "latest"}, (4, "latest"), True),
        ({"limit": 1, "key": "event.id"}, (10, "wait"), True),
        ([{"limit": 3, "overflow": "cancel"}, {"limit": 1, "key": "event.id"}], (3, "cancel"), True),
    ],
)
def test_the_limit_without_a_key_stays_the_workflows_own(concurrency: Any, limit: Any, has_rules: bool) -> None:
    declaration = declared(concurrency=concurrency)
    document = declaration.model_dump(mode="json")

    assert declared_limit(document) == limit
    assert declaration.limit == limit[0]
    assert (declared_rules(document) is not None) is has_rules


def test_rules_follow_the_workflows_present_limit() -> None:
    document = declared_rules(declared(concurrency={"limit": 4, "overflow": "latest"}).model_dump(mode="json"))

    assert rules_of(document, 7).limits[""].limit == 7


def test_a_key_is_what_its_expression_comes_to() -> None:
    flow = flow_keys(
        declared(
            concurrency=[{"limit": 1, "key": "event.body.customer"}, {"limit": 2, "key": "event.body.name | lower"}],
            throttle={"limit": 1, "per": 1},
            priority="10 if event.body.vip else 0",
        ),
        EVENT,
    )

    assert flow.keys == [
        Key.made("concurrency", "event.body.customer", "42"),
        Key.made("concurrency", "event.body.name | lower", "ada"),
        Key.made("throttle", "", ""),
    ]
    words = ["concurrency customer=42", "concurrency event.body.name | lower=ada", "throttle"]
    assert [key.words for key in flow.keys] == words
    assert (flow.priority, flow.faults) == (10, [])


def test_what_is_shown_of_a_key_is_masked_and_short() -> None:
    masker = Masker()
    masker.add("secret-card")
    event = {"body": {"card": "secret-card", "long": "x\n" * 1_000}}
    limits = [{"limit": 1, "key": "event.body.card"}, {"limit": 1, "key": "event.body.long"}]

    card, long = flow_keys(declared(concurrency=limits), event, masker).keys

    assert card.shown == f"card={MASK}"
    assert (len(long.shown), long.shown[:7], long.shown[-1]) == (80, "long=x ", "…")


@pytest.mark.parametrize("value", [None, "", "42", "  ", "ä\ud800", 1.5, [1], {"a": 1}], ids=ascii)
def test_any_value_makes_a_key_and_equal_ones_the_same(value: Any) -> None:
    declaration = declared(concurrency={"limit": 1, "key": "event.body.customer"})

    one, other = (flow_keys(declaration, {"body": {"customer": value}}) for _ in range(2))

    assert one.keys == other.keys
    assert one.faults == []


def test_an_expression_that_fails_counts_as_empty_and_is_told() -> None:
    declaration = declared(
        debounce={"quiet": 1, "key": "event.body.missing"}, priority="event.body.name", throttle={"limit": 1, "per": 1}
    )

    flow = flow_keys(declaration, EVENT)

    assert flow.keys[1] == Key.made("debounce", "event.body.missing", "")
    assert flow.priority == 0
    assert [fault.partition(":")[0] for fault in flow.faults] == ["debounce", "priority"]


@pytest.mark.parametrize(("asked", "given"), [(5_000, 600), (-5_000, -600), (2.5, 2.5)])
def test_priority_is_bounded(asked: float, given: float) -> None:
    assert flow_keys(declared(priority="event.body"), {"body": asked}).priority == given


def test_a_replay_is_neither_debounced_nor_batched() -> None:
    declaration = declared(batch={"size": 5, "within": 1}, concurrency={"limit": 1, "key": "event.id"})

    assert [key.rule for key in flow_keys(declaration, EVENT).of_replay().keys] == ["concurrency"]


SEEN = "{{ event.batch | map(attribute='body') }}"


async def test_events_of_a_batch_run_as_one_execution() -> None:
    flow = in_yaml(steps(step("a", set={"n": 1}), batch="{size: 2, within: 10s}", output=json.dumps(SEEN)))
    async with bench() as its:
        results = await asyncio.gather(its.start(flow, "one"), its.start(flow, "two"))
        ends = {one.status: one for one in (await its.store.executions()).items}

    assert results[0] == ["one", "two"]
    assert results[1].name == "Skipped"
    assert ends[Status.SKIPPED].error["execution_id"] == ends[Status.SUCCEEDED].id


async def test_an_event_by_itself_is_a_batch_of_one() -> None:
    flow = in_yaml(steps(step("a", set={"n": 1}), batch="{size: 2, within: 10s}", output=json.dumps(SEEN)))
    async with bench() as its:
        assert await its.start(flow, "one") == ["one"]


async def test_python_sees_the_events_of_its_batch() -> None:
    @python_workflow(batch={"size": 2, "within": 10})
    async def gathers(event: Any) -> Any:
        return [one.body for one in event.batch]

    async with bench() as its:
        results = await asyncio.gather(its.start(gathers, "one"), its.start(gathers, "two"))

    assert results[0] == ["one", "two"]


async def test_executions_of_one_key_run_one_after_the_other() -> None:
    text = steps(step("a", repeat={"until": "true"}, steps=[{"id": "b", "wait": "1s"}]))
    flow = in_yaml(f"{text}\nconcurrency: {{limit: 1, key: event.body}}")
    async with bench() as its:
        await asyncio.gather(*(its.start(flow, customer) for customer in ("a", "a", "b")))
        ran = (await its.store.executions()).items

    first, second = sorted((one for one in ran if one.id), key=lambda one: one.id)[:2]
    assert first.finished_at is not None
    assert second.admitted_at is not None
    assert second.admitted_at >= first.finished_at
