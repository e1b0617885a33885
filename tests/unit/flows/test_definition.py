"""A definition's values: defaults, durations, names, triggers, versions."""

from __future__ import annotations

import pytest

from flows.language.definition import (
    Concurrency,
    Declaration,
    Schedule,
    Webhook,
    content_hash,
    triggers_as_data,
    triggers_from_data,
)
from flows.language.faults import DefinitionErrors
from flows.language.workflow import Workflow
from flows.language.yaml_source import declare


def a_workflow(**changes):
    step = {"id": "one", "uses": "log.message"}
    return declare(Workflow, {"name": "orders", "steps": [step]} | changes)


def a_step(**keys):
    return a_workflow(steps=[{"id": "one", "uses": "log.message"} | keys]).steps[0]


def the_fault(**changes) -> str:
    with pytest.raises(DefinitionErrors) as caught:
        a_workflow(**changes)
    return str(caught.value)


def test_what_is_not_said_has_the_defaults_of_the_contract() -> None:
    workflow = a_workflow()
    assert workflow.concurrency == (Concurrency(limit=10, overflow="wait"),)
    assert workflow.timeout == 300
    assert (workflow.respond.when, workflow.respond.timeout, workflow.respond.status) == ("accepted", 25, 200)
    assert workflow.respond.body == "{{ output }}"
    assert workflow.steps[0].on_error == "fail"
    assert workflow.steps[0].retry is None
    assert workflow.steps[0].needs is None


def test_concurrency_is_a_number_or_says_what_happens_to_the_next_one() -> None:
    assert a_workflow(concurrency=3).concurrency == (Concurrency(limit=3),)
    assert a_workflow(concurrency={"limit": 3, "overflow": "cancel"}).concurrency[0].overflow == "cancel"
    assert "concurrency.limit: must be at least 1, got 0" in the_fault(concurrency=0)


@pytest.mark.parametrize(
    ("written", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400), (7, 7), (0.5, 0.5)]
)
def test_durations(written, seconds) -> None:
    assert a_workflow(timeout=written).timeout == seconds


@pytest.mark.parametrize("written", ["abc", "5 minutes", "-1s", "", True, [], None, float("inf"), -3])
def test_what_is_no_duration(written) -> None:
    assert f"timeout: expected a duration like 30s or 5m, got {written!r}" in the_fault(timeout=written)


def test_a_timeout_is_longer_than_nothing_and_no_longer_than_a_year() -> None:
    assert "timeout: must be longer than 0" in the_fault(timeout=0)
    assert "at most 366d" in the_fault(timeout="400d")


def test_a_retry_may_have_no_delay() -> None:
    assert a_step(retry={"delay": 0}).retry.delay == 0


def test_a_retry() -> None:
    retry = a_step(
        retry={"attempts": 5, "delay": "2s", "backoff": "linear", "max_delay": "1m", "on": [429, "5xx"]}
    ).retry
    assert (retry.attempts, retry.delay, retry.backoff, retry.max_delay) == (5, 2, "linear", 60)
    assert retry.on == (429, "5xx")


@pytest.mark.parametrize("on", ["6xx", 42, "oops", True, None])
def test_what_can_not_be_retried_on(on) -> None:
    step = {"id": "one", "uses": "log.message", "retry": {"on": [on]}}
    assert "steps[0].retry.on[0]: expected a status like 429" in the_fault(steps=[step])


@pytest.mark.parametrize("name", ["Orders", "a b", "a_b", "-a", "a--b", "", "x" * 65, "ä"])
def test_a_name_is_a_slug(name) -> None:
    assert "is not a name" in the_fault(name=name)


@pytest.mark.parametrize("step_id", ["a b", "1a", "_a", "", "a.b", "x" * 65])
def test_a_step_id_can_be_written_after_a_dot_or_in_brackets(step_id) -> None:
    assert "is not a step id" in the_fault(steps=[{"id": step_id, "uses": "log.message"}])


@pytest.mark.parametrize("step_id", ["a", "fetchOrder", "fetch_order", "fetch-order", "a1"])
def test_good_step_ids(step_id) -> None:
    assert a_step(id=step_id).id == step_id


def test_a_webhooks_path_is_the_workflows_name_by_default() -> None:
    workflow = a_workflow(triggers=[{"webhook": {"auth": "none"}}, {"webhook": {"auth": "none", "path": "shop/new"}}])
    assert [trigger.path for trigger in workflow.triggers] == ["orders", "shop/new"]
    assert workflow.triggers[0].methods == ("POST",)


@pytest.mark.parametrize("path", ["/a", "a/", "a//b", "../a", "a?b", ""])
def test_what_is_no_hook_path(path) -> None:
    assert "is not a hook path" in the_fault(triggers=[{"webhook": {"auth": "none", "path": path}}])


def test_auth_must_be_said() -> None:
    assert "missing key 'auth': say who may send" in the_fault(triggers=[{"webhook": {}}])
    assert "missing key 'auth'" in the_fault(triggers=[{"webhook": None}])
    assert "webhook.auth: expected {scheme" in the_fault(triggers=[{"webhook": {"auth": None}}])
    assert "webhook.auth: expected {scheme" in the_fault(triggers=[{"webhook": {"auth": "open"}}])


def test_the_word_none_turns_verification_off() -> None:
    assert a_workflow(triggers=[{"webhook": {"auth": "none"}}]).triggers[0].auth is None


def test_further_keys_of_auth_are_the_schemes_options() -> None:
    auth = {"scheme": "hmac", "credential": "secret", "header": "X-Sign"}
    spec = a_workflow(triggers=[{"webhook": {"auth": auth}}]).triggers[0].auth
    assert (spec.scheme, spec.credential, spec.options) == ("hmac", "secret", {"header": "X-Sign"})


def test_a_schedule_is_a_cron_line_or_an_interval() -> None:
    daily, often = a_workflow(
        triggers=[{"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}}, {"schedule": {"every": "10m"}}]
    ).triggers
    assert (daily.cron, daily.timezone, often.every) == ("0 9 * * *", "Europe/Berlin", 600)
    assert "cron or every" in the_fault(triggers=[{"schedule": {}}])
    assert "cron or every" in the_fault(triggers=[{"schedule": {"cron": "0 9 * * *", "every": "1m"}}])
    assert "at least 1s" in the_fault(triggers=[{"schedule": {"every": "10ms"}}])


def test_a_trigger_is_of_a_known_kind() -> None:
    assert "expected webhook, schedule, poll or failure, got 'pull'" in the_fault(triggers=[{"pull": {}}])
    assert "one trigger an item" in the_fault(triggers=[{"webhook": {"auth": "none"}, "schedule": {"every": 60}}])


def test_triggers_go_through_plain_data_and_back() -> None:
    auth = {"scheme": "hmac", "credential": "secret", "header": "X-Sign"}
    triggers = a_workflow(
        triggers=[
            {"webhook": {"auth": auth, "methods": ["put"], "dedupe": "{{ event.id }}"}},
            {"webhook": {"auth": "none", "path": "open"}},
            {"schedule": {"every": "10m"}},
            {"failure": {"of": ["orders-*", "stock"]}},
        ]
    ).triggers
    data = triggers_as_data(triggers)
    assert data[1] == {"webhook": {"path": "open", "methods": ["POST"], "auth": "none"}}
    assert data[2] == {"schedule": {"every": 600}}
    assert data[3] == {"failure": {"of": ["orders-*", "stock"]}}
    assert triggers_from_data(data) == triggers


def test_a_failure_trigger_names_workflows_or_patterns() -> None:
    [trigger] = a_workflow(triggers=[{"failure": {"of": ["orders-*", "stock", "*"]}}]).triggers
    assert trigger.of == ("orders-*", "stock", "*")
    assert "must not be empty" in the_fault(triggers=[{"failure": {"of": []}}])
    assert "'Orders?' is neither a workflow's name nor a pattern" in the_fault(
        triggers=[{"failure": {"of": ["Orders?"]}}]
    )
    assert "expected a list, got 'orders'" in the_fault(triggers=[{"failure": {"of": "orders"}}])


def test_a_whole_declaration_goes_through_plain_data_and_back() -> None:
    declaration = declare(
        Declaration,
        {
            "name": "orders",
            "triggers": [{"webhook": {"auth": "none"}}],
            "respond": {"when": "finished", "status": "{{ 201 }}"},
            "concurrency": {"limit": 1},
        },
    )
    assert Declaration.model_validate(declaration.model_dump(mode="json")) == declaration


def test_triggers_made_in_python_are_the_same() -> None:
    made = (Webhook(auth="none"), Schedule(every="10m"))
    assert (
        a_workflow(triggers=list(made)).triggers
        == a_workflow(triggers=[{"webhook": {"auth": "none"}}, {"schedule": {"every": "10m"}}]).triggers
    )


def test_an_answer_of_ones_own_needs_a_finished_execution() -> None:
    assert "body needs when: finished" in the_fault(respond={"body": "x"})
    assert a_workflow(respond={"when": "finished", "on_disconnect": "cancel"}).respond.on_disconnect == "cancel"
    assert "status from 200 to 599, got 99" in the_fault(respond={"when": "finished", "status": 99})


def test_a_workflow_has_a_step() -> None:
    assert the_fault(steps=[]) == "steps: must not be empty"


def test_a_version_is_known_by_its_content() -> None:
    assert content_hash("a") == "ca978112ca1b"
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    assert content_hash("a") != content_hash("b")


def test_a_schedule_says_what_becomes_of_missed_times() -> None:
    given = [{"schedule": {"every": "10m"}}, {"schedule": {"every": "10m", "missed": "all"}}]
    assert [trigger.missed for trigger in a_workflow(triggers=given).triggers] == ["once", "all"]
    assert "'skip', 'once' or 'all'" in the_fault(triggers=[{"schedule": {"every": "10m", "missed": "some"}}])


def test_a_poll_has_defaults_and_goes_through_plain_data_and_back() -> None:
    short = {"uses": "rss.items", "with": {"url": "https://x"}, "every": "10m"}
    whole = {"uses": "http.request", "every": 1, "items": "output.body", "key": "item.n", "credential": "shop"}
    whole |= {"cursor": "output.body.next", "from": "start", "each": "batch"}
    polls = a_workflow(triggers=[{"poll": short}, {"poll": whole}]).triggers
    assert triggers_as_data(polls) == [
        {"poll": short | {"every": 600, "items": "output", "key": "item.id", "from": "now", "each": "item"}},
        {"poll": whole},
    ]
    assert triggers_from_data(triggers_as_data(polls)) == polls


def test_what_a_poll_can_not_be_is_said() -> None:
    poll = {"uses": "rss.items", "every": "10m"}
    assert "poll: missing key 'every'" in the_fault(triggers=[{"poll": {"uses": "rss.items"}}])
    assert "poll.every: at least 1s" in the_fault(triggers=[{"poll": poll | {"every": "10ms"}}])
    assert "poll.from: expected 'now' or 'start', got 'then'" in the_fault(triggers=[{"poll": poll | {"from": "then"}}])
    assert "unknown key 'form'; did you mean 'from'?" in the_fault(triggers=[{"poll": poll | {"form": "now"}}])
