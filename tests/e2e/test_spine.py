"""The way of an event through the running platform, as its sender, its author and its operator see it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from platform_process import Platform, Sink, eventually


def test_a_webhook_runs_its_workflow_and_prefect_shows_it(platform: Platform, sink: Sink) -> None:
    execution = platform.ended(platform.send("to-sink", {"n": 7}))

    assert sink.bodies("/plain") == [{"n": 7}]
    assert execution["status"] == "succeeded"
    assert execution["output"] == {"status": 200}
    assert execution["trigger"] == "webhook"
    assert [(step["id"], step["action"], step["status"]) for step in execution["steps"]] == [
        ("post", "http.request", "succeeded")
    ]
    run = eventually(lambda: completed(platform, execution["flow_run_id"]), why="Prefect has the end too")
    assert run["name"].startswith("to-sink/")
    assert run["parameters"]["event"]["body"] == {"n": 7}
    assert task_runs(platform, execution["flow_run_id"]) == ["post"]


def test_the_deployment_says_what_the_workflow_says(platform: Platform) -> None:
    deployment = platform.deployment("to-sink")

    assert deployment["global_concurrency_limit"]["limit"] == 10
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    assert "Posts the event's number to the sink." in deployment["description"]
    assert deployment["tags"] == ["test"]
    assert deployment["work_pool_name"] == "ipaas"
    assert deployment["version"] == platform.get("/api/workflows/to-sink").json()["version"]
    assert "event" in deployment["parameter_openapi_schema"]["properties"]


def test_the_worker_is_online_in_its_pool(platform: Platform) -> None:
    workers = platform.prefect("POST", "/work_pools/ipaas/workers/filter", json={})
    assert [worker["status"] for worker in workers].count("ONLINE") == 1
    assert platform.prefect("GET", "/work_pools/ipaas")["type"] == "ipaas"


def test_quick_run_in_prefect_is_in_the_history_too(platform: Platform, sink: Sink) -> None:
    deployment = platform.deployment("to-sink")
    body = {"parameters": {"event": {"body": {"n": 3}}}}
    run = platform.prefect("POST", f"/deployments/{deployment['id']}/create_flow_run", json=body)

    execution = eventually(lambda: of_flow_run(platform, "to-sink", run["id"]), why="it is in the history")
    assert platform.ended(execution["id"])["status"] == "succeeded"
    assert execution["trigger"] == "manual"
    assert sink.bodies("/plain") == [{"n": 3}]


def test_a_schedule_starts_executions(platform: Platform) -> None:
    executions = eventually(lambda: platform.executions(workflow="ticking", status="succeeded"), 60, "it ticks")
    assert executions[0]["trigger"] == "schedule"


def test_the_caller_can_have_the_result(platform: Platform) -> None:
    answer = platform.post("/hooks/answers", json={"n": 21})
    assert (answer.status_code, answer.json()) == (201, {"answer": 42})


def test_a_failed_step_is_told_in_the_history_and_in_prefect(platform: Platform, sink: Sink) -> None:
    execution = platform.ended(platform.send("failing", {}))

    assert execution["status"] == "failed"
    assert execution["error"]["step"] == "broken"
    assert "500" in execution["error"]["message"]
    assert [(step["id"], step["status"], step["attempts"]) for step in execution["steps"]] == [
        ("first", "succeeded", 1),
        ("broken", "failed", 2),
    ]
    assert len(sink.bodies("/fail")) == 2
    run = eventually(lambda: in_state(platform, execution["flow_run_id"], "FAILED"), why="Prefect knows")
    assert "broken" in run["state"]["message"]


def test_an_execution_does_not_outlive_its_timeout(platform: Platform) -> None:
    execution = platform.ended(platform.send("short-timeout", {}))

    assert execution["status"] == "timed_out"
    assert execution["steps"][0]["status"] == "timed_out"
    run = eventually(lambda: in_state(platform, execution["flow_run_id"], "FAILED"), why="Prefect knows")
    assert run["state"]["name"] == "TimedOut"


@pytest.mark.parametrize("hook", ["three-steps", "in-python"])
def test_an_execution_is_cancelled_from_prefect(platform: Platform, sink: Sink, hook: str) -> None:
    execution_id = platform.send(hook, {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")
    flow_run_id = platform.execution(execution_id)["flow_run_id"]

    platform.prefect("POST", f"/flow_runs/{flow_run_id}/set_state", json={"state": {"type": "CANCELLING"}})

    execution = platform.ended(execution_id)
    assert execution["status"] == "cancelled"
    assert "Prefect" in execution["error"]["message"]
    eventually(lambda: in_state(platform, flow_run_id, "CANCELLED"), why="Prefect has it cancelled")
    assert sink.bodies("/after") == []


def test_an_execution_is_cancelled_through_the_api(platform: Platform, sink: Sink) -> None:
    execution_id = platform.send("three-steps", {"n": 2})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")

    answer = platform.post(f"/api/executions/{execution_id}/cancel", json={"reason": "wrong order"})

    assert answer.status_code == 202
    execution = platform.ended(execution_id)
    assert execution["status"] == "cancelled"
    assert "wrong order" in execution["error"]["message"]
    eventually(lambda: in_state(platform, execution["flow_run_id"], "CANCELLED"), why="Prefect has it cancelled")


def test_python_and_yaml_are_recorded_alike(platform: Platform, sink: Sink) -> None:
    sink.release.set()
    as_yaml, as_python = (platform.ended(platform.send(hook, {"n": 5})) for hook in ("three-steps", "in-python"))

    assert as_yaml["output"] == as_python["output"] == {"n": 5}
    assert [step["action"] for step in as_python["steps"]] == [step["action"] for step in as_yaml["steps"]]
    assert [step["id"] for step in as_python["steps"]] == ["http.request", "http.request-2", "http.request-3"]
    assert task_runs(platform, as_python["flow_run_id"]) == ["http.request"] * 3


def test_a_hundred_webhooks_at_once_are_a_hundred_finished_runs(platform: Platform, sink: Sink) -> None:
    with ThreadPoolExecutor(100) as senders:
        answers = list(senders.map(lambda n: platform.post("/hooks/to-sink", json={"n": n}), range(100)))

    assert {answer.status_code for answer in answers} == {202}
    ended = [platform.ended(answer.json()["execution_id"], 240) for answer in answers]
    assert {execution["status"] for execution in ended} == {"succeeded"}
    assert sorted(body["n"] for body in sink.bodies("/plain")) == list(range(100))
    for execution in ended:
        eventually(lambda run=execution["flow_run_id"]: completed(platform, run), 60, "Prefect has every end")
    log = platform.log.read_text(errors="replace")
    assert "database is locked" not in log


def completed(platform: Platform, flow_run_id: str) -> dict[str, Any] | None:
    return in_state(platform, flow_run_id, "COMPLETED")


def in_state(platform: Platform, flow_run_id: str, state: str) -> dict[str, Any] | None:
    run = platform.flow_run(flow_run_id)
    return run if run["state_type"] == state else None


def task_runs(platform: Platform, flow_run_id: str) -> list[str]:
    """The names of a run's tasks, in the order they started, once Prefect has recorded their ends."""
    query = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}

    def ask() -> list[str] | None:
        found = platform.prefect("POST", "/task_runs/filter", json=query)
        done = [run for run in found if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        return [run["task_key"] and run["name"].split("-")[0] for run in found] if found and done == found else None

    return eventually(ask, why="Prefect has recorded the tasks")


def of_flow_run(platform: Platform, workflow: str, flow_run_id: str) -> dict[str, Any] | None:
    found = [one for one in platform.executions(workflow=workflow) if one["flow_run_id"] == flow_run_id]
    return found[0] if found else None
