"""What Prefect's server makes of a run that it orchestrated, and what we write for one that it did not.

`flows/on_prefect/recording/` relies on the tables of Prefect's server, on the application that it leaves in
`create_app().api_app`, and on its events' shape and bus. One flow runs in the ordinary way; an equal one is recorded;
then rows, events and answers are compared field by field. What differs, and why, is listed here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from on_prefect import Deployed, deployed
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_process import PrefectServer
from recording import Recording, rows_of

from flows.engine.runtime import Runtime
from flows.on_prefect.internals import run_flow, take_flow_run, warm_engine
from flows.on_prefect.recording import Kind, LogLine, RunRecord, State, TaskRecord, TaskState

GOOD = """
steps:
  - {id: first, uses: log.message, with: {text: hello}}
  - {id: second, uses: log.message, with: {text: again}}
"""
BAD = """
steps:
  - {id: first, uses: log.message, with: {text: hello}}
  - {id: second, uses: http.request, with: {method: POST, url: "https://sink.test/"}}
"""
DIFFERS = {
    "flow_run.created": "when it was accepted, not when Prefect was told",
    "flow_run.updated": "when it was written",
    "flow_run.idempotency_key": "of the execution, which has the flow run's id",
    "flow_run.name": "has the execution's id",
    "flow_run_state.created": "when it was written",
    "flow_run_state.updated": "when it was written",
    "flow_run_state.state_details.deferred": "an answer of the orchestration, which there was none of",
    "flow_run_state.state_details.transition_id": "the same",
    "flow_run_state.state_details.deployment_concurrency_lease_id": "the history holds the limit, not a lease",
    "flow_run_state.state_details.untrackable_result": "results are in the history",
    "flow_run_state.result_artifact_id": "results are in the history",
    "flow_run_state Pending": "no worker takes it: it is never Pending",
    "task_run.created": "when it was written",
    "task_run.updated": "when it was written",
    "task_run.dynamic_key": "the step's path, where Prefect makes up an id",
    "task_run.task_inputs": "only what it waited for, without the names of the arguments",
    "task_run_state.created": "when it was written",
    "task_run_state.updated": "when it was written",
    "task_run.expected_start_time": "a task is expected when it starts",
    "task_run_state.timestamp": "the same: of its Pending",
    "task_run_state.state_details.retriable": "an answer of Prefect's engine",
    "log.created": "when it was written",
    "log.updated": "when it was written",
}
"""In the tables. Ids are not compared: each row has one of its own, and refers to the same others."""
EVENT_DIFFERS = {
    "follows": "the event of the state before is published only for a run that was recorded while it was under way",
    "received": "when it was published",
    "resource.prefect.resource.name": "has the execution's id",
}
ANSWER_DIFFERS = {
    "logs.id",
    "run.name",
    "runs.name",
    "tasks.expected_start_time",
    "tasks.estimated_start_time_delta",
    "created",
    "updated",
    "idempotency_key",
    "dynamic_key",
    "task_inputs",
    "deferred",
    "transition_id",
    "deployment_concurrency_lease_id",
    "untrackable_result",
    "data",
    "retriable",
}
"""The same fields as Prefect's API has them: in one read, or in all."""


@dataclass
class Pair:
    """A run that Prefect orchestrated, and an equal one that was recorded."""

    recording: Recording
    orchestrated: UUID
    recorded: RunRecord
    events: dict[UUID, Event]
    """The final ones, by run."""
    names: dict[str, str]
    """What ids are of."""

    @property
    def ids(self) -> tuple[UUID, UUID]:
        return self.orchestrated, self.recorded.id


@pytest.fixture
def on_server(either_server: PrefectServer) -> Iterator[PrefectServer]:
    with temporary_settings({PREFECT_API_URL: either_server.url}):
        yield either_server
        # They keep the server that they were made for.
        EventsWorker.drain_all()
        APILogWorker.drain_all()


@pytest.fixture(params=[GOOD, BAD], ids=["completed", "failed"])
async def pair(request: pytest.FixtureRequest, on_server: PrefectServer, runtime: Runtime) -> AsyncIterator[Pair]:
    async with get_client() as client, httpx.AsyncClient(base_url=on_server.url, trust_env=False, timeout=60) as http:
        one = await deployed(client, request.param)
        recording = Recording(on_server, http, one.name)
        async with heard() as events:
            run = await orchestrated(one)
            record = await record_of(recording, run)
            assert (await recording.record(record))["recorded"] == [str(record.id)]
            async with asyncio.timeout(60):
                while not {run, record.id} <= set(events):
                    await asyncio.sleep(0.1)
        yield Pair(recording, run, record, events, await names_of_ids(on_server, (run, record.id)))


@asynccontextmanager
async def heard() -> AsyncIterator[dict[UUID, Event]]:
    """The ends of runs, as Prefect's event feed tells them."""
    events: dict[UUID, Event] = {}
    names = EventNameFilter(name=["prefect.flow-run.Completed", "prefect.flow-run.Failed"])
    async with get_events_subscriber(filter=EventFilter(event=names)) as subscriber:

        async def listen() -> None:
            async for event in subscriber:
                events[UUID(event.resource.id.removeprefix("prefect.flow-run."))] = event

        listening = asyncio.create_task(listen())
        yield events
        listening.cancel()


async def orchestrated(one: Deployed) -> UUID:
    name, key = f"{one.name}/{uuid4()}", str(uuid4())
    run = await one.create(name=name, tags=["webhook"], labels={"ipaas.workflow": one.name}, idempotency_key=key)
    assert await take_flow_run(one.client, run)
    async with warm_engine():
        await run_flow(one.flow, run)
    return run.id


async def record_of(recording: Recording, run_id: UUID) -> RunRecord:
    """A record of another run that did the same at the same times, of what Prefect has of this one."""
    async with asyncio.timeout(60):
        while True:  # it is told of tasks and logs behind the run
            tasks = await recording.read("/task_runs/filter", {"flow_runs": {"id": {"any_": [str(run_id)]}}})
            logs = await recording.read("/logs/filter", {"logs": {"flow_run_id": {"any_": [str(run_id)]}}})
            over = [one for one in logs if "Finished in state" in one["message"]]
            if len([one for one in tasks if one["end_time"]]) == 2 and len(over) == 3:
                break
            await asyncio.sleep(0.2)
    run = await recording.read(f"/flow_runs/{run_id}")
    states = await recording.read(f"/flow_run_states/?flow_run_id={run_id}")
    paths = {one["id"]: one["name"] for one in tasks}
    return RunRecord(
        id=uuid4(),
        workflow=recording.workflow,
        name=f"{recording.workflow}/{uuid4()}",
        version=run["flow_version"],
        parameters=run["parameters"],
        tags=run["tags"],
        labels={"ipaas.workflow": recording.workflow},
        created=run["expected_start_time"],
        started=run["start_time"],
        ended=run["end_time"],
        states=[
            State(
                type=Kind(one["type"]),
                name=one["name"],
                timestamp=one["timestamp"],
                message=one["message"],
                details={name: one["state_details"][name] for name in ("scheduled_time", "retriable")},
            )
            for one in states
            if one["name"] != "Pending"
        ],
        tasks=[
            TaskRecord(
                path=one["name"],
                action=one["task_key"],
                started=one["start_time"],
                ended=one["end_time"],
                state=TaskState(type=one["state_type"], name=one["state_name"], message=one["state"]["message"]),
                after=[paths[before["id"]] for before in one["task_inputs"].get("wait_for", [])],
            )
            for one in tasks
        ],
        logs=[
            LogLine(at=one["timestamp"], level=one["level"], message=one["message"], task=paths.get(one["task_run_id"]))
            for one in logs
        ],
    )


TABLES = {
    "flow_run": ("SELECT * FROM flow_run WHERE id = :run", ()),
    "flow_run_state": ("SELECT * FROM flow_run_state WHERE flow_run_id = :run", ("name",)),
    "task_run": ("SELECT * FROM task_run WHERE flow_run_id = :run", ("name",)),
    "task_run_state": (
        "SELECT s.*, t.name AS of FROM task_run_state s JOIN task_run t ON t.id = s.task_run_id"
        " WHERE t.flow_run_id = :run",
        ("of", "name"),
    ),
    "log": ("SELECT * FROM log WHERE flow_run_id = :run", ("message", "timestamp")),
}
"""How the rows of a run are found, and by what columns each of one run is compared with which of the other."""


async def test_the_rows_are_those_of_an_orchestrated_run_but_for_what_is_listed(pair: Pair) -> None:
    differences = set()
    for table in TABLES:
        theirs, ours = [await rows(pair, table, run) for run in pair.ids]
        assert theirs
        for key in theirs.keys() | ours.keys():
            if key in theirs and key in ours:
                differences |= {f"{table}.{_argument(name)}" for name in different(theirs[key], ours[key])}
            else:
                differences.add(" ".join((table, *map(str, key))))
    assert differences - {"log.id"} <= DIFFERS.keys(), sorted(differences - DIFFERS.keys())


def _argument(name: str) -> str:
    """What a task's inputs are called is the action's affair; but what it waited for has to be the same."""
    return "task_inputs" if name.startswith("task_inputs.") and name != "task_inputs.wait_for" else name


async def test_the_event_is_that_of_an_orchestrated_run_but_for_what_is_listed(pair: Pair) -> None:
    theirs, ours = (named(pair, pair.events[run].model_dump(mode="json")) for run in pair.ids)

    assert different(theirs, ours) <= EVENT_DIFFERS.keys()


READS: Mapping[str, tuple[str, Any]] = {
    "runs": ("/flow_runs/filter", {"flow_runs": {"id": {"any_": ["$RUN"]}}}),
    "run": ("/flow_runs/$RUN", None),
    "count": (
        "/flow_runs/count",
        {"flow_runs": {"id": {"any_": ["$RUN"]}, "state": {"type": {"any_": ["COMPLETED", "FAILED"]}}}},
    ),
    "history": (
        "/flow_runs/history",
        {
            "history_start": "$START",
            "history_end": "$END",
            "history_interval_seconds": 3600,
            "flow_runs": {"id": {"any_": ["$RUN"]}},
        },
    ),
    "states": ("/flow_run_states/?flow_run_id=$RUN", None),
    "tasks": ("/task_runs/filter", {"flow_runs": {"id": {"any_": ["$RUN"]}}, "sort": "EXPECTED_START_TIME_ASC"}),
    "task count": ("/task_runs/count", {"flow_runs": {"id": {"any_": ["$RUN"]}}}),
    "graph": ("/flow_runs/$RUN/graph-v2", None),
    "logs": ("/logs/filter", {"logs": {"flow_run_id": {"any_": ["$RUN"]}}, "sort": "TIMESTAMP_ASC"}),
}
"""What Prefect's UI asks for to show a run."""


async def test_what_the_ui_reads_is_what_it_reads_of_an_orchestrated_run(pair: Pair) -> None:
    differences = set()
    for read, (path, body) in READS.items():
        theirs, ours = [await answer(pair, run, path, body) for run in pair.ids]
        assert theirs
        if read == "states":
            theirs = [one for one in theirs if one["name"] != "Pending"]
        if read == "graph":
            theirs["states"] = [one for one in theirs["states"] if one["name"] != "Pending"]
            for _, node in theirs["nodes"]:
                # Prefect takes an argument that it found in an earlier task's result for an edge, too.
                node |= {
                    way: [{"id": one} for one in dict.fromkeys(_ids(node[way]))] for way in ("parents", "children")
                }
        differences |= {f"{read}.{name}" for name in different(theirs, ours)}
    left = {name for name in differences if not ANSWER_DIFFERS & {name, *name.split(".")}}
    assert not left, sorted(left)


def _ids(nodes: list[dict[str, str]]) -> list[str]:
    return [node["id"] for node in nodes]


async def answer(pair: Pair, run: UUID, path: str, body: Any) -> Any:
    day = pair.recorded.created.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    known = {"$RUN": str(run), "$START": day.isoformat(), "$END": (day + timedelta(days=1)).isoformat()}
    text = json.dumps([path, body])
    for name, value in known.items():
        text = text.replace(name, value)
    return named(pair, await pair.recording.read(*json.loads(text)))


async def rows(pair: Pair, table: str, run: UUID) -> dict[tuple[Any, ...], Any]:
    query, key = TABLES[table]
    found = await rows_of(pair.recording.server, query, run)
    return {tuple(row[name] for name in key): named(pair, row) for row in found}


async def names_of_ids(server: PrefectServer, runs: Iterable[UUID]) -> dict[str, str]:
    """What the ids are of, so that those of one run can be compared with the other's."""
    names = {}
    for run in runs:
        names[str(run)] = "the run"
        for state in await rows_of(server, TABLES["flow_run_state"][0], run):
            names[str(state["id"])] = state["name"]
        for task in await rows_of(server, TABLES["task_run"][0], run):
            names[str(task["id"])] = f"task {task['name']}"
        for state in await rows_of(server, TABLES["task_run_state"][0], run):
            names[str(state["id"])] = f"{state['name']} of {state['of']}"
    return names


def named(pair: Pair, value: Any) -> Any:
    """With the names of ids; and JSON as what it says, which SQLite has as text."""
    text = json.dumps(value, default=str)
    for known, name in pair.names.items():
        text = text.replace(known, name)
    return _unfolded(json.loads(text))


def _unfolded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unfolded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_unfolded(one) for one in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            return json.loads(value)
    return value


def different(one: Any, other: Any, path: str = "") -> set[str]:
    """Where the two are not equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        parts = [
            different(one.get(name), other.get(name), f"{path}.{name}" if path else name) for name in {*one, *other}
        ]
        return set().union(*parts)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return set().union(*(different(*both, path) for both in zip(one, other, strict=True)))
    return set() if one == other else {path}
