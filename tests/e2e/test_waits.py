"""Executions that wait for something outside: they hold nothing, survive everything, and go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from platform_process import Platform, Sink, eventually

Make = Callable[[Sink], Platform]


def waits(platform: Platform, execution_id: str, what: str) -> dict[str, Any] | None:
    execution = platform.execution(execution_id)
    return execution if what in str(execution["waiting_for"]) else None


def paused(platform: Platform, execution: dict[str, Any], what: str) -> bool:
    state = platform.flow_run(execution["flow_run_id"])["state"]
    return state["type"] == "PAUSED" and what in state["message"]


def test_many_wait_at_a_limit_of_one_and_each_is_answered_its_own_way(platform: Platform, sink: Sink) -> None:
    """By Prefect's Resume, the page, the command line, the API; and one is cancelled."""
    ids = [platform.send("waits", {"n": n}) for n in range(5)]
    for n, one in enumerate(ids):
        eventually(lambda one=one, n=n: waits(platform, one, f"signal paid-{n}"), 60, "it waits for its signal")
        assert platform.post(f"/api/signals/paid-{n}", json={}).json()["delivered"] is True
    asked = [eventually(lambda one=one: waits(platform, one, "approval"), 60, "it asks") for one in ids]
    eventually(lambda: all(paused(platform, one, "approval") for one in asked), why="Prefect shows it")
    pages = {body["n"]: urlsplit(body["at"]).path for body in sink.bodies("/before")}

    run = asked[0]["flow_run_id"]
    platform.prefect("POST", f"/flow_runs/{run}/resume", json={"run_input": {"form": {"note": "by Prefect"}}})
    assert platform.post(pages[1], data={"decision": "approve", "by": "Ada", "form.note": "page"}).status_code == 200
    platform.ipaas("approvals", "approve", ids[2], "--by", "Grace", "--form", '{"note": "cli"}')
    platform.post(f"/api/approvals/{ids[3]}:ask", json={"decision": "reject", "by": "Alan"})
    assert platform.post(f"/api/executions/{ids[4]}/cancel").json()["status"] == "cancelled"

    ended = [platform.ended(one) for one in ids]
    assert [one["status"] for one in ended] == ["succeeded"] * 3 + ["failed", "cancelled"]
    assert [one["output"] and one["output"]["by"] for one in ended[:3]] == ["Prefect", "Ada", "Grace"]
    assert (ended[3]["error"]["code"], ended[3]["error"]["message"]) == ("rejected", "step ask: rejected by Alan")
    assert {body["n"]: body["note"] for body in sink.bodies("/after")} == {0: "by Prefect", 1: "page", 2: "cli"}
    assert platform.flow_run(ended[4]["flow_run_id"])["state"]["type"] == "CANCELLED"
    assert platform.post(pages[1], data={"decision": "reject"}).status_code == 409


def test_what_waits_survives_that_everything_is_killed(own_platform: Make, sink: Sink) -> None:
    platform = own_platform(sink).start()
    ids = [platform.send("waits", {"n": n}) for n in range(6)]
    for n, one in enumerate(ids):
        eventually(lambda one=one, n=n: waits(platform, one, f"paid-{n}"), 60, "it waits")
    assert platform.post("/api/signals/paid-0", json={}).json()["delivered"] is True

    platform.kill_everything()
    platform.start()

    for n, one in enumerate(ids):
        if n:
            assert platform.post(f"/api/signals/paid-{n}", json={}).json()["delivered"] is True
        eventually(lambda one=one: waits(platform, one, "approval"), 60, "it asks")
    for one in ids:
        platform.post(f"/api/approvals/{one}:ask", json={"decision": "approve", "form": {"note": "x"}})
    assert {platform.ended(one, 90)["status"] for one in ids} == {"succeeded"}
    assert Counter(body["n"] for body in sink.bodies("/before")) == dict.fromkeys(range(6), 1)
    assert Counter(body["n"] for body in sink.bodies("/after")) == dict.fromkeys(range(6), 1)
