"""Express executions: the same promises, with Prefect told of them afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_process import Platform, Sink, eventually, written_for
from test_crashes import goes_on_after_everything_was_killed, goes_on_after_its_worker_is_killed, in_state

EXPRESS = {"IPAAS_MODE": "express"}


@pytest.fixture(scope="module")
def express(shared_sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    root = tmp_path_factory.mktemp("express")
    platform = Platform(root / "home", written_for(shared_sink, root / "workflows"), EXPRESS)
    try:
        yield platform.start()
    finally:
        platform.stop()


@pytest.fixture
def own_express(tmp_path: Path, sink: Sink) -> Iterator[Platform]:
    platform = Platform(tmp_path / "home", written_for(sink, tmp_path / "workflows"), EXPRESS)
    try:
        yield platform.start()
    finally:
        platform.stop()


def tasks_of(platform: Platform, flow_run_id: str) -> dict[str, str]:
    query = {"task_runs": {"flow_run_id": {"any_": [flow_run_id]}}}
    return {task["name"]: task["state_name"] for task in platform.prefect("POST", "/task_runs/filter", json=query)}


def test_it_is_a_run_of_its_deployment_in_prefect(express: Platform, sink: Sink) -> None:
    execution = express.ended(express.send("to-sink", {"n": 1}))

    assert (execution["status"], execution["mode"]) == ("succeeded", "express")
    assert execution["flow_run_id"] == execution["id"]
    run = eventually(lambda: in_state(express, execution["id"], "COMPLETED"), why="Prefect is told")
    assert run["deployment_id"] == express.deployment("to-sink")["id"]
    assert run["parameters"]["event"]["body"] == {"n": 1}
    assert set(tasks_of(express, execution["id"]).values()) == {"Completed"}


def test_a_sender_that_waits_gets_the_answer(express: Platform, sink: Sink) -> None:
    answer = express.post("/hooks/answers", json={"n": 2})

    assert answer.status_code < 300
    assert express.executions(workflow="answers")[0]["mode"] == "express"


def test_a_long_run_is_live_in_prefect_and_cancelled_there(express: Platform, sink: Sink) -> None:
    execution_id = express.send("three-steps", {"n": 1})
    eventually(lambda: sink.bodies("/slow"), why="the slow step runs")
    eventually(lambda: in_state(express, execution_id, "RUNNING"), why="it is shown while it runs")

    express.prefect("POST", f"/flow_runs/{execution_id}/set_state", json={"state": {"type": "CANCELLING"}})

    assert express.ended(execution_id, 30)["status"] == "cancelled"
    eventually(lambda: in_state(express, execution_id, "CANCELLED"), why="Prefect has the end")
    assert not sink.bodies("/after")


def test_a_run_that_is_deleted_in_prefect_while_it_runs_is_shown_again(express: Platform, sink: Sink) -> None:
    execution_id = express.send("three-steps", {"n": 1})
    eventually(lambda: in_state(express, execution_id, "RUNNING"), why="it is shown while it runs")
    express.prefect("DELETE", f"/flow_runs/{execution_id}")

    sink.release.set()

    assert express.ended(execution_id)["status"] == "succeeded"
    eventually(lambda: in_state(express, execution_id, "COMPLETED"), why="Prefect is told")


def test_retry_in_prefect_runs_it_again_as_a_standard_run(express: Platform, sink: Sink) -> None:
    execution_id = express.send("failing", {"n": 1})
    assert express.ended(execution_id)["status"] == "failed"
    eventually(lambda: in_state(express, execution_id, "FAILED"), why="Prefect is told")

    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    express.prefect("POST", f"/flow_runs/{execution_id}/set_state", json=retry)

    def replayed() -> dict[str, Any] | None:
        newest = express.executions(workflow="failing")[0]
        return newest if newest["replay_of"] == execution_id and newest["finished_at"] else None

    again = eventually(replayed, 60, "it runs again")
    assert (again["mode"], again["trigger"], again["flow_run_id"]) == ("standard", "replay", execution_id)


@pytest.mark.parametrize("hook", ["three-steps", "in-python"])
def test_a_killed_workers_execution_goes_on_after_its_last_finished_step(
    express: Platform, sink: Sink, hook: str
) -> None:
    execution_id = goes_on_after_its_worker_is_killed(express, sink, hook)

    assert len(tasks_of(express, execution_id)) == 3


def test_what_ran_while_prefects_server_was_away_is_recorded_afterwards(own_express: Platform, sink: Sink) -> None:
    prefect = own_express.parts("prefect")[0]
    prefect.suspend()
    try:
        started = time.monotonic()
        accepted = [own_express.send("to-sink", {"n": n}) for n in range(50)]
        ended = [own_express.ended(one, 60) for one in accepted]
        assert {one["status"] for one in ended} == {"succeeded"}
        assert time.monotonic() - started < 60
    finally:
        prefect.resume()

    for one in accepted:
        eventually(lambda one=one: in_state(own_express, one, "COMPLETED"), 120, "Prefect is told")  # type: ignore[misc]
    assert Counter(body["n"] for body in sink.bodies("/plain")) == dict.fromkeys(range(50), 1)


def test_everything_is_killed_and_started_again(own_express: Platform, sink: Sink) -> None:
    for one in goes_on_after_everything_was_killed(own_express, sink):
        eventually(lambda one=one: in_state(own_express, one, "COMPLETED"), 120, "Prefect is told")  # type: ignore[misc]  # a default binds it


def test_it_stops_without_a_fault_and_leaves_nothing_untold(own_express: Platform, sink: Sink) -> None:
    accepted = [own_express.send("to-sink", {"n": n}) for n in range(20)]
    own_express.ended(accepted[-1])

    assert own_express.process
    own_express.process.terminate()
    own_express.process.wait(60)

    assert [line for line in own_express.log.read_text().splitlines() if '"level": "error"' in line] == []
    own_express.start()
    for one in accepted:
        assert own_express.ended(one)["status"] == "succeeded"
