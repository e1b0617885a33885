"""`ipaas workflows`, `ipaas executions` and `ipaas db` on a history with known executions."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from flows.history import NewExecution, Status, StepExecution, Trigger, WorkflowVersion
from foundation.ids import new_id
from ipaas.cli.executions import EndedName, StatusName

NOW = datetime.now(UTC)
TRIGGERS = [
    {"webhook": {"path": "open", "methods": ["POST"], "auth": "none"}},
    {"webhook": {"path": "shut", "methods": ["POST", "PUT"], "auth": {"scheme": "shopify", "credential": "shop"}}},
    {"schedule": {"cron": "0 9 * * *", "timezone": "Europe/Berlin"}},
    {"schedule": {"every": 600.0}},
    {"poll": {"uses": "rss.items", "every": 600.0}},
    {"failure": {"of": ["stock-*", "shop"]}},
]


def version(name: str) -> WorkflowVersion:
    declaration = {"name": name, "triggers": TRIGGERS}
    return WorkflowVersion(name, "v1", "yaml", f"name: {name}\n", f"/{name}.yaml", declaration=declaration)


@pytest.fixture
def ended(in_history):
    """Ids of a failed, a succeeded and an accepted execution of `orders`, in the order they were accepted."""
    ids = [new_id() for _ in range(3)]

    async def fill(store):
        await store.publish(version("orders"))
        for minutes, one in zip((90, 60, 30), ids, strict=True):
            at = NOW - timedelta(minutes=minutes)
            await store.accept([NewExecution(one, "orders", "v1", Trigger.WEBHOOK, {"body": minutes}, at)])
        for one, status in zip(ids, (Status.FAILED, Status.SUCCEEDED), strict=False):
            begun = await store.begin(one, flow_run_id=None, owner="me", lease=60)
            step = StepExecution("first", "log.message", Status.SUCCEEDED, output={"text": "hi"})
            await store.save_steps(begun.hold, [step])
            error = {"code": "remote", "message": "refused", "step": "second"} if status is Status.FAILED else None
            await store.finish(begun.hold, status, error=error)

    in_history(fill)
    return ids


def test_a_webhook_that_verifies_nobody_says_so(ipaas, ended):
    out = ipaas("workflows").out
    assert "POST /hooks/open (NOT VERIFIED)" in out
    assert "POST,PUT /hooks/shut (shopify)" in out
    assert "cron 0 9 * * * Europe/Berlin" in out
    assert "; every 600 s; polls rss.items every 600 s; failure of stock-*, shop" in out


def test_a_group_alone_lists(ipaas, ended):
    assert ipaas("workflows").out == ipaas("workflows", "list").out
    assert ipaas("executions").out == ipaas("executions", "list").out
    assert ipaas("workflows", "--json").document == ipaas("workflows", "list", "--json").document


def test_a_workflow_is_shown_as_the_api_gives_it(ipaas, ended):
    document = ipaas("workflows", "show", "orders", "--json").document
    assert (document["name"], document["active"], document["version"]) == ("orders", True, "v1")
    assert document["triggers"] == TRIGGERS


def test_how_a_poll_fares_is_shown(ipaas, ended, in_history):
    assert "poll rss.items  none has gone well yet, next at " in ipaas("workflows", "show", "orders").out

    async def fail(store):
        for _ in range(2):
            claimed = await store.claim_poll(claim=90)
            await store.fail_poll(claimed.hold, error={"code": "remote", "message": "410 Gone"}, retry=0)

    in_history(fail)
    shown = ipaas("workflows", "show", "orders").out
    assert re.search(r"poll rss\.items +none has gone well yet, next at \S+Z, failed 2 times since: 410 Gone\n", shown)


def test_a_workflow_is_shown_with_its_versions(ipaas, ended, in_history):
    newer = replace(version("orders"), version="v2", source="name: orders  # 2\n")
    in_history(lambda store: store.publish(newer))

    document = ipaas("workflows", "show", "orders", "--json").document
    assert [(one["version"], one["current"]) for one in document["versions"]] == [("v2", True), ("v1", False)]
    assert document["versions"][0]["created_at"] >= document["versions"][1]["created_at"]
    out = ipaas("workflows", "show", "orders").out
    assert re.search(r"^v2 +2\S+Z +current$", out, re.MULTILINE)
    assert re.search(r"^v1 +2\S+Z$", out, re.MULTILINE)


def test_one_version_is_shown_with_its_text(ipaas, ended, in_history):
    in_history(lambda store: store.publish(replace(version("orders"), version="v2", source="name: orders  # 2\n")))

    document = ipaas("workflows", "show", "orders", "--version", "v1", "--json").document
    assert (document["name"], document["version"], document["current"]) == ("orders", "v1", False)
    assert (document["source"], document["triggers"]) == ("name: orders\n", TRIGGERS)
    assert ipaas("workflows", "show", "orders", "--version", "v2").out.endswith("\n\nname: orders  # 2\n")


def test_a_version_that_there_is_not_is_told_those_that_there_are(ipaas, ended):
    outcome = ipaas("workflows", "show", "orders", "--version", "v9")
    assert (outcome.code, outcome.err) == (1, "ipaas: workflow orders has no version v9; it has v1\n")
    assert "no workflow nobody" in ipaas("workflows", "show", "nobody", "--version", "v9").err


def test_an_unknown_workflow_is_named(ipaas, ended):
    outcome = ipaas("workflows", "show", "oders")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "ipaas: no workflow oders: see `ipaas workflows`\n"


def test_executions_are_listed_newest_first(ipaas, ended):
    items = ipaas("executions", "--json").document["items"]
    assert [item["id"] for item in items] == ended[::-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "failed"], [0]),
        (["--since", "45m"], [2]),
        (["--since", (NOW - timedelta(minutes=70)).isoformat()], [2, 1]),
        (["--workflow", "others"], []),
        (["--limit", "1"], [2]),
    ],
)
def test_executions_are_filtered(ipaas, ended, options, expected):
    items = ipaas("executions", "list", "--json", *options).document["items"]
    assert [item["id"] for item in items] == [ended[index] for index in expected]


def test_a_cursor_gives_the_next_page(ipaas, ended):
    first = ipaas("executions", "list", "--limit", "2", "--json").document
    second = ipaas("executions", "list", "--cursor", first["next_cursor"], "--json").document
    assert [item["id"] for item in second["items"]] == [ended[0]]
    assert second["next_cursor"] is None


def test_an_execution_is_shown_with_its_event_and_steps(ipaas, ended):
    document = ipaas("executions", "show", ended[0], "--json").document
    assert document["event"] == {"body": 90}
    assert document["error"]["message"] == "refused"
    assert [(step["id"], step["output"]) for step in document["steps"]] == [("first", {"text": "hi"})]
    shown = ipaas("executions", "show", ended[0]).out
    assert "refused" in shown
    assert "log.message" in shown


def test_replay_makes_a_new_execution_of_the_same_event(ipaas, ended):
    [item] = ipaas("executions", "replay", ended[0], "--json").document["items"]
    again = ipaas("executions", "show", item["execution_id"], "--json").document
    assert (again["replay_of"], again["trigger"], again["event"]) == (ended[0], "replay", {"body": 90})


def test_many_are_replayed_by_their_status_and_none_of_them_twice(ipaas, ended):
    [item] = ipaas("executions", "replay", "--status", "failed", "--since", "1d", "--json").document["items"]
    assert item["replay_of"] == ended[0]
    assert ipaas("executions", "replay", "--status", "failed", "--json").document == {"items": []}


def test_one_that_cannot_be_replayed_does_not_stop_the_others(ipaas, ended):
    outcome = ipaas("executions", "replay", ended[2], "nobody", ended[0], "--json")
    waiting, unknown, done = outcome.document["items"]
    assert outcome.code == 1
    assert "has not ended" in waiting["error"]
    assert "no execution nobody" in unknown["error"]
    assert done["execution_id"]


def test_prune_deletes_what_ended_long_enough_ago(ipaas, ended):
    assert ipaas("db", "prune", "--older-than", "1d", "--json").document == {"pruned": 0}
    assert ipaas("db", "prune", "--older-than", "1ms", "--json").document == {"pruned": 2}
    assert ipaas("db", "check", "--json").document == {"ok": True, "executions": {"accepted": 1}}


def test_upgrade_makes_the_home_and_the_tables(ipaas):
    assert ipaas("db", "upgrade").code == 0
    assert ipaas("db", "upgrade").code == 0
    assert ipaas("db", "check").code == 0


def test_the_statuses_of_the_command_line_are_the_historys():
    assert set(get_args(StatusName)) == {str(status) for status in Status}
    assert set(get_args(EndedName)) == {str(status) for status in Status if status.is_final}
