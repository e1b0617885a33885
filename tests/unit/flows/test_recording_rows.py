"""What a record of a run becomes in Prefect's tables, and its event; without a server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from recording import START, a_run, at, line, state, task

from flows.on_prefect.recording import LogLine, RunRecord, State, events
from flows.on_prefect.recording.events import event_of
from flows.on_prefect.recording.present import Deployment, RunPresent
from flows.on_prefect.recording.rows import TICK, Rows, task_run_id

DEPLOYMENT = Deployment(
    id=uuid4(),
    flow_id=uuid4(),
    workflow="orders",
    version="v1",
    labels={"team": "sales"},
    tags=frozenset({"sales"}),
    queue_id=uuid4(),
    queue="default",
    pool_id=uuid4(),
    pool="ipaas",
    pool_type="ipaas",
)


def orders(*states: State, **values: Any) -> RunRecord:
    return a_run("orders", *states, **values)


def rows_of(run: RunRecord, present: RunPresent | None = None) -> Rows:
    rows = Rows()
    rows.add(run, DEPLOYMENT, present, START)
    return rows


def present_after(run: RunRecord) -> RunPresent:
    """What Prefect has, once the run is recorded."""
    rows = rows_of(run)
    [change] = rows.changes
    return RunPresent(change.state_id, change.state, {row["id"]: row["timestamp"] for row in rows.states})


def test_a_new_run_has_its_states_in_the_order_of_their_times() -> None:
    rows = rows_of(orders())

    [run] = rows.runs
    assert [row["timestamp"] for row in rows.states] == [at(0), at(1), at(2)]
    assert (run["state_id"], run["state_timestamp"]) == (rows.states[-1]["id"], at(2))
    assert (run["start_time"], run["end_time"], run["total_run_time"]) == (at(1), at(2), timedelta(seconds=1))
    assert run["labels"] == {
        "team": "sales",
        "prefect.flow.id": str(DEPLOYMENT.flow_id),
        "prefect.deployment.id": str(DEPLOYMENT.id),
    }


def test_states_of_one_time_are_a_microsecond_apart() -> None:
    rows = rows_of(orders(state("SCHEDULED", 5), state("RUNNING", 5), state("COMPLETED", 3)))

    assert [row["timestamp"] for row in rows.states] == [at(5), at(5) + TICK, at(5) + 2 * TICK]


def test_what_comes_later_is_after_what_is_there() -> None:
    live = orders(state("SCHEDULED"), state("RUNNING", 10))

    rows = rows_of(orders(*live.states, state("COMPLETED", 4), id=live.id), present_after(live))

    assert [(row["name"], row["timestamp"]) for row in rows.states] == [("Completed", at(10) + TICK)]
    assert not rows.runs
    assert [row["state_type"] for row in rows.changed_runs] == ["COMPLETED"]


@pytest.mark.parametrize("had", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_a_run_that_has_ended_stays_as_it_ended(had: str) -> None:
    run = orders()
    present = RunPresent(uuid4(), state(had, 9))

    rows = rows_of(run, present)

    assert (rows.states, rows.changed_runs, rows.changes) == ([], [], [])


def test_a_state_that_it_had_before_is_no_news() -> None:
    run = orders(state("SCHEDULED"), state("RUNNING", 1), state("PAUSED", 2))
    present = present_after(run)
    present.state_id, present.state = uuid4(), state("SCHEDULED", 3, name="Resuming")

    assert not rows_of(run, present).changes


def test_time_waited_is_no_running_time() -> None:
    states = state("RUNNING", 0), state("PAUSED", 2), state("RUNNING", 100), state("COMPLETED", 103)

    [run] = rows_of(orders(*states)).runs

    assert run["total_run_time"] == timedelta(seconds=5)


def test_tasks_refer_to_those_they_waited_for() -> None:
    run = orders(tasks=(task("one"), task("two", after=("one",))))

    one, two = rows_of(run).tasks

    assert two["task_inputs"] == {"wait_for": [{"input_type": "task_run", "id": str(one["id"])}]}
    assert (one["id"], one["task_inputs"]) == (task_run_id(run.id, "one"), {})
    assert [one["task_key"], one["dynamic_key"], one["name"]] == ["log.message", "one", "one"]


def test_ids_are_the_same_every_time_and_different_for_every_run() -> None:
    def ids(run: RunRecord) -> set[UUID]:
        rows = rows_of(run)
        return {row["id"] for table in (rows.states, rows.tasks, rows.task_states, rows.logs) for row in table}

    run = orders(tasks=(task("one"),), logs=(line("a"), line("a"), line("b")))

    assert ids(run) == ids(run)
    assert len(ids(run)) == 3 + 1 + 3 + 3
    assert not ids(run) & ids(run.model_copy(update={"id": uuid4()}))


def test_a_line_of_the_log_has_no_nul_and_no_more_than_prefect_takes() -> None:
    said = LogLine(at=at(1), level=20, message="\x00" + "x" * 1_000_001)

    [log] = rows_of(orders(logs=(said,))).logs

    assert len(log["message"]) == 1_000_000
    assert log["message"].endswith("x… (cut: it had 1,000,001 characters)")


def test_the_event_is_of_the_change() -> None:
    live = orders(state("SCHEDULED"), state("RUNNING", 1))
    present = present_after(live)
    failed = state("FAILED", 2, message="it broke")
    [change] = rows_of(orders(*live.states, failed, id=live.id), present).changes

    event = event_of(change, received=at(3))

    assert event["event"] == "prefect.flow-run.Failed"
    assert event["follows"] == str(present.state_id)
    assert event["payload"]["intended"] == {"from": "RUNNING", "to": "FAILED"}
    assert event["payload"]["validated_state"] == {"type": "FAILED", "name": "Failed", "message": "it broke"}
    assert [one["prefect.resource.role"] for one in event["related"]] == [
        *("flow", "deployment", "work-queue", "work-pool", "tag", "tag")
    ]


def test_the_event_of_a_run_that_prefect_did_not_know_follows_none() -> None:
    """Prefect holds an event back until the one that it follows has come; that of Running never will."""
    [change] = rows_of(orders()).changes

    event = event_of(change, received=at(3))

    assert event["follows"] is None
    assert event["payload"]["initial_state"] == {"type": "RUNNING", "name": "Running"}


@pytest.mark.parametrize(
    "values",
    [
        {"states": ()},
        {"states": (state("SCHEDULED"),)},
        {"tasks": (task("one"), task("one"))},
        {"ended": None},
        {"created": "2026-01-01T00:00:00"},
    ],
)
def test_a_record_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        orders(**values)


async def test_a_bus_that_is_away_takes_nothing_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Any:
        raise ConnectionError("redis://:secret@broker")

    monkeypatch.setattr(events, "create_event_publisher", away)

    await events.publish(rows_of(orders()).changes)

    assert "events of 1 recorded runs may be lost: ConnectionError" in caplog.text
    assert "secret" not in caplog.text
