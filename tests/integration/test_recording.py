"""Runs that Prefect did not orchestrate, recorded in its database: what is seen of them, and what may happen then."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_client import prefect_client
from prefect_process import PrefectServer, prefect_process
from recording import Recording, a_run, at, ids, line, recording_on, rows_of, state, task

from flows.on_prefect.recording import Artifact, Batch, Details, RunRecord

COUNTS = {
    "states": "SELECT id FROM flow_run_state WHERE flow_run_id = :run",
    "tasks": "SELECT id FROM task_run WHERE flow_run_id = :run",
    "task states": "SELECT s.id FROM task_run_state s JOIN task_run t ON t.id = task_run_id WHERE t.flow_run_id = :run",
    "logs": "SELECT id FROM log WHERE flow_run_id = :run",
    "artifacts": "SELECT id FROM artifact WHERE flow_run_id = :run",
    "inputs": "SELECT id FROM flow_run_input WHERE flow_run_id = :run",
}
FULL = {
    "tasks": (task("one"), task("two", after=("one",))),
    "logs": (line("hello", task="one"), line("hello", task="one"), line("bye")),
    "artifact": Artifact(key="output", data="# done"),
}


@pytest.fixture
async def prefect(either_server: PrefectServer) -> AsyncIterator[Recording]:
    async with on(either_server) as recording:
        yield recording


@asynccontextmanager
async def on(server: PrefectServer, workflow: str | None = None) -> AsyncIterator[Recording]:
    """A workflow on a server, a new one by default."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http:
        if workflow:
            yield Recording(server, http, workflow)
            return
        with temporary_settings({PREFECT_API_URL: server.url}):
            async with prefect_client(server.url) as client:
                yield await recording_on(server, http, client)


async def counts(prefect: Recording, run: RunRecord) -> dict[str, int]:
    return {what: len(await rows_of(prefect.server, query, run.id)) for what, query in COUNTS.items()}


async def test_a_run_is_there_with_all_that_is_told_of_it(prefect: Recording) -> None:
    run = prefect.run(**FULL)

    assert (await prefect.record(run))["recorded"] == [str(run.id)]

    assert (await prefect.now(run))["state"]["type"] == "COMPLETED"
    assert await prefect.states(run) == ["Scheduled", "Running", "Completed"]
    assert await counts(prefect, run) == {
        "states": 3,
        "tasks": 2,
        "task states": 6,
        "logs": 3,
        "artifacts": 1,
        "inputs": 0,
    }
    found = await prefect.read("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [str(run.id)]}}})
    assert [one["data"] for one in found] == ["# done"]


async def test_sending_again_changes_nothing(prefect: Recording) -> None:
    run = prefect.run(**FULL)
    await prefect.record(run)
    before = await prefect.now(run), await counts(prefect, run)

    assert (await prefect.record(run))["recorded"] == [str(run.id)]

    assert (await prefect.now(run), await counts(prefect, run)) == before


async def test_a_run_under_way_goes_on_to_its_end(prefect: Recording) -> None:
    live = prefect.run(state("SCHEDULED"), state("RUNNING", 1), tasks=(task("one", "RUNNING"),), logs=(line("a"),))
    await prefect.record(live)
    assert (await prefect.now(live))["state"]["type"] == "RUNNING"

    ended = prefect.run(id=live.id, tasks=(task("one"), task("two")), logs=(line("a"), line("b")))
    await prefect.record(ended)

    assert (await prefect.now(live))["total_run_time"] == 1
    assert await prefect.states(live) == ["Scheduled", "Running", "Completed"]
    assert await counts(prefect, live) == {
        "states": 3,
        "tasks": 2,
        "task states": 6,
        "logs": 2,
        "artifacts": 0,
        "inputs": 0,
    }
    tasks = await prefect.read("/task_runs/filter", {"flow_runs": {"id": {"any_": [str(live.id)]}}})
    assert {one["state"]["type"] for one in tasks} == {"COMPLETED"}


async def test_a_waiting_run_is_paused_with_what_resume_asks_for(prefect: Recording) -> None:
    keys = {"schema": "ipaas-ask-schema", "response": "ipaas-ask-response"}
    details = Details(pause_reschedule=True, run_input_keyset=keys)
    paused = state("PAUSED", 2, name="Waiting", details=details)
    run = prefect.run(state("SCHEDULED"), state("RUNNING", 1), paused, inputs={keys["schema"]: '{"type": "object"}'})
    await prefect.record(run)
    await prefect.record(run)

    answer = await prefect.http.post(f"/flow_runs/{run.id}/resume", json={"run_input": {"approved": True}})

    assert answer.json()["status"] == "ACCEPT", answer.text
    assert (await prefect.now(run))["state"]["name"] == "Resuming"

    await prefect.record(run)  # late
    assert (await prefect.now(run))["state"]["name"] == "Resuming"
    again = state("RUNNING", 3), state("COMPLETED", 4)
    await prefect.record(prefect.run(*run.states, *again, id=run.id))
    assert await prefect.states(run) == ["Scheduled", "Running", "Waiting", "Resuming", "Running", "Completed"]


async def test_a_run_that_has_ended_in_prefect_stays_as_it_ended(prefect: Recording) -> None:
    live = prefect.run(state("SCHEDULED"), state("RUNNING", 1))
    await prefect.record(live)
    await prefect.tell(live.id, "FAILED", message="somebody said so")

    await prefect.record(prefect.run(id=live.id, tasks=(task("one"),)))

    assert (await prefect.now(live))["state"]["message"] == "somebody said so"
    assert (await counts(prefect, live))["tasks"] == 1


async def test_a_run_that_is_being_cancelled_ends_as_it_is_told(prefect: Recording) -> None:
    live = prefect.run(state("SCHEDULED"), state("RUNNING", 1))
    await prefect.record(live)
    await prefect.tell(live.id, "CANCELLING")

    await prefect.record(prefect.run(state("SCHEDULED"), state("RUNNING", 1.5), id=live.id))  # taken over
    assert (await prefect.now(live))["state"]["type"] == "CANCELLING"
    await prefect.record(prefect.run(*live.states, state("CANCELLED", 2), id=live.id))

    assert await prefect.states(live) == ["Scheduled", "Running", "Cancelling", "Cancelled"]


async def test_times_go_on_though_clocks_go_back(prefect: Recording) -> None:
    same = prefect.run(state("SCHEDULED", 5), state("RUNNING", 5), state("PAUSED", 3))
    await prefect.record(same)
    await prefect.record(prefect.run(*same.states, state("RUNNING", 1), state("COMPLETED", 1), id=same.id))

    assert await prefect.states(same) == ["Scheduled", "Running", "Paused", "Running", "Completed"]
    assert (await prefect.now(same))["state"]["type"] == "COMPLETED"


async def test_a_run_that_was_deleted_is_written_again(prefect: Recording) -> None:
    run = prefect.run(**FULL)
    await prefect.record(run)
    before = await counts(prefect, run)
    assert (await prefect.http.delete(f"/flow_runs/{run.id}")).status_code == 204
    async with asyncio.timeout(30):
        while (await counts(prefect, run))["logs"]:  # Prefect deletes them behind the run
            await asyncio.sleep(0.2)

    await prefect.record(run)

    assert await counts(prefect, run) == before


async def test_two_workers_may_record_the_same_runs_at_once(prefect: Recording) -> None:
    runs = [prefect.run(**FULL) for _ in range(30)]

    answers = await asyncio.gather(*(prefect.record(*order) for order in (runs, runs[::-1], runs)))

    assert all(set(one["recorded"]) == ids(runs) for one in answers)
    assert {(await counts(prefect, run))["states"] for run in runs} == {3}


async def test_one_that_can_t_be_recorded_keeps_no_other_out(prefect: Recording) -> None:
    good = [prefect.run() for _ in range(96)]
    nobody = a_run("no-such-workflow")
    broken = prefect.run()
    nul = prefect.run(parameters={"event": "secret\x00"})
    runs = [*good[:50], nobody, nul, *good[50:]]
    body = json.loads(Batch(at=at(0), runs=runs).model_dump_json())
    half = json.loads(broken.model_dump_json()) | {"parameters": {"event": "\ud800"}}

    answer = await prefect.send(json.dumps(body | {"runs": [half, *body["runs"]]}))

    assert answer.status_code == 200, answer.text
    refused = answer.json()["refused"]
    assert set(answer.json()["recorded"]) >= ids(good)
    assert "no-such-workflow" in refused[str(nobody.id)]
    assert "surrogate" in refused[str(broken.id)]
    if "postgresql" in prefect.server.database:
        assert str(nul.id) in refused
    assert "secret" not in answer.text + prefect.server.log


async def test_an_endless_line_of_the_log_is_cut(prefect: Recording) -> None:
    run = prefect.run(logs=(line("x" * 10_000_000),))

    await prefect.record(run)

    [log] = await prefect.read("/logs/filter", {"logs": {"flow_run_id": {"any_": [str(run.id)]}}})
    assert len(log["message"]) == 1_000_000
    assert log["message"].endswith("(cut: it had 10,000,000 characters)")


async def test_the_marker_tells_how_far_prefect_knows_the_history(prefect: Recording) -> None:
    far = at(1e6 if "postgresql" in prefect.server.database else 2e6)
    await prefect.record(upto=far)

    assert (await prefect.record(upto=at(0)))["before"] == (await prefect.read("/ipaas/runs"))["before"]
    assert (await prefect.read("/ipaas/runs"))["before"] == far.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"states": []}, "states"),
        ({"created": "2026-01-01T00:00:00"}, "created"),
        ({"colour": "red"}, "colour"),
        ({"states": [state("SCHEDULED").model_dump(mode="json")]}, "states"),
        ({"run_count": 2**40}, "run_count"),
    ],
)
async def test_a_wrong_record_is_told_with_its_run_and_field(
    prefect: Recording, change: dict[str, Any], field: str
) -> None:
    run = prefect.run(parameters={"event": "secret"})
    body = json.loads(Batch(at=at(0), runs=[prefect.run(), run]).model_dump_json())
    body["runs"][1] |= change

    answer = await prefect.send(json.dumps(body))

    assert answer.status_code == 422
    [mistake] = answer.json()["detail"]
    assert (mistake["run"], mistake["loc"][:3]) == (str(run.id), ["runs", 1, field])
    assert "secret" not in answer.text


async def test_what_is_no_batch_is_refused(prefect: Recording) -> None:
    assert (await prefect.send("{")).status_code == 400
    assert (await prefect.send("[]")).status_code == 422
    assert (await prefect.send('"\\ud800"')).status_code == 422
    assert (await prefect.send(b" " * (32 * 2**20 + 1))).status_code == 413


async def known_to_prefect(prefect: Recording) -> None:
    """Waits until the new automation acts on a failure that Prefect itself tells of.

    Prefect answers that there is one before it looks out for its events: what comes in between is acted on by none.
    """
    async with asyncio.timeout(60):
        while True:
            run = prefect.run(state("SCHEDULED"), state("RUNNING", 1))
            await prefect.record(run)
            await prefect.tell(run.id, "FAILED")
            for _ in range(10):
                if (await prefect.now(run))["state"]["name"] == "ByAutomation":
                    return
                await asyncio.sleep(0.2)


async def test_an_automation_acts_on_a_recorded_run_that_failed(prefect: Recording) -> None:
    made = await prefect.http.post(
        "/automations/",
        json={
            "name": f"a{uuid4()}",
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "expect": ["prefect.flow-run.Failed"],
                "match_related": {"prefect.resource.role": "deployment", "prefect.resource.name": prefect.workflow},
                "threshold": 1,
                "within": 0,
            },
            "actions": [{"type": "change-flow-run-state", "state": "CANCELLED", "name": "ByAutomation", "force": True}],
        },
    )
    assert made.status_code == 201, made.text
    await known_to_prefect(prefect)
    run = prefect.run(state("SCHEDULED"), state("RUNNING", 1), state("FAILED", 2, message="it broke"))

    await prefect.record(run)

    async with asyncio.timeout(30):
        while (await prefect.now(run))["state"]["name"] != "ByAutomation":
            await asyncio.sleep(0.2)
    await prefect.http.delete(f"/automations/{made.json()['id']}")


async def test_an_event_is_told_once_however_often_the_run_is(prefect: Recording) -> None:
    run = prefect.run()
    for _ in range(3):
        await prefect.record(run)

    await until_told(prefect, run)
    await prefect.record(run, other := prefect.run())
    await until_told(prefect, other)
    assert await told(prefect, run) == ["prefect.flow-run.Completed"]


async def told(prefect: Recording, run: RunRecord) -> list[str]:
    """The names of the run's events in Prefect's feed."""
    wanted = {"filter": {"resource": {"id": [f"prefect.flow-run.{run.id}"]}}}
    return [one["event"] for one in (await prefect.read("/events/filter", wanted))["events"]]


async def until_told(prefect: Recording, run: RunRecord) -> None:
    async with asyncio.timeout(30):
        while not await told(prefect, run):
            await asyncio.sleep(0.2)


DIES = (
    "-c",
    "import os; from flows.on_prefect.recording import route; from ipaas.platform.prefect_server import main;"
    "route.publish = lambda _: os._exit(1); main()",
)
"""A server that dies between recording a run and publishing its event."""


async def test_an_event_that_was_not_out_when_the_server_died_is_told_when_the_run_is_sent_again(
    tmp_path: Path,
) -> None:
    with prefect_process(tmp_path, command=DIES) as server:
        async with on(server) as prefect:
            run = prefect.run()
            with pytest.raises(httpx.TransportError):
                await prefect.record(run)

    with prefect_process(tmp_path) as server:
        async with on(server, prefect.workflow) as prefect:
            assert await prefect.states(run) == ["Scheduled", "Running", "Completed"]
            assert await told(prefect, run) == []

            await prefect.record(run)

            await until_told(prefect, run)


AUTH = "ada:s3cret-pass"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PrefectServer]:
    with prefect_process(tmp_path, {"PREFECT_SERVER_API_AUTH_STRING": AUTH}) as server:
        yield server


async def test_it_is_guarded_as_the_rest_of_the_api(guarded: PrefectServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as http:
        proof = {"Authorization": f"Basic {base64.b64encode(AUTH.encode()).decode()}"}
        body = Batch(at=at(0), runs=()).model_dump_json()

        assert (await http.get("/ipaas/runs")).status_code == 401
        assert (await http.post("/ipaas/runs", content=body)).status_code == 401
        assert (await http.post("/ipaas/runs", content=body, headers=proof)).status_code == 200
        elsewhere = proof | {"Origin": "https://evil.example"}
        assert (await http.post("/ipaas/runs", content=body, headers=elsewhere)).status_code == 403


async def test_a_stock_server_has_no_such_route(tmp_path: Path) -> None:
    command = (
        "-c",
        "import os, uvicorn; from prefect.server.api.server import create_app;"
        "uvicorn.run(create_app(final=True), port=int(os.environ['PREFECT_SERVER_API_PORT']), log_level='warning')",
    )
    with prefect_process(tmp_path, command=command) as server:
        assert httpx.get(f"{server.url}/ipaas/runs", trust_env=False).status_code == 404
