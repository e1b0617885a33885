"""Which of a schedule's due runs are not to run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun

from flows.language.definition import Declaration, Schedule
from flows.language.yaml_source import declare
from flows.on_prefect.schedules import declared_schedule, missed_runs

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def due(*seconds_late: float) -> list[FlowRun]:
    return [
        FlowRun(id=uuid4(), flow_id=uuid4(), expected_start_time=NOW - timedelta(seconds=late)) for late in seconds_late
    ]


def that_run(missed: str, *seconds_late: float) -> list[float]:
    """How late those are that run."""
    runs = due(*seconds_late)
    dropped = {run.id for run in missed_runs(Schedule(every=10, missed=missed), runs, NOW)}  # type: ignore[arg-type]
    return [late for late, run in zip(seconds_late, runs, strict=True) if run.id not in dropped]


@pytest.mark.parametrize(
    ("missed", "runs"),
    [("once", [3]), ("all", [123, 113, 63, 53, 13, 3]), ("skip", [53, 13, 3])],
)
def test_after_two_minutes_down(missed: str, runs: list[float]) -> None:
    assert that_run(missed, 123, 113, 63, 53, 13, 3) == runs


@pytest.mark.parametrize(("missed", "runs"), [("once", [3600]), ("all", [3600]), ("skip", [])])
def test_one_time_that_was_missed_long_ago(missed: str, runs: list[float]) -> None:
    assert that_run(missed, 3600) == runs


@pytest.mark.parametrize("missed", ["once", "all", "skip"])
def test_a_worker_that_is_a_little_late_drops_nothing(missed: str) -> None:
    assert that_run(missed, 2, 1, 0) == [2, 1, 0]


@pytest.mark.parametrize(
    ("type_", "slug", "every"),
    [
        ("SCHEDULE", "schedule-1", 60),
        ("SCHEDULE", "schedule-2", 120),
        ("SCHEDULE", "schedule-3", None),
        ("SCHEDULE", "schedule-0", None),
        ("SCHEDULE", "IntervalSchedule", None),
        ("USER", "schedule-1", None),
    ],
)
def test_a_run_knows_the_schedule_that_made_it(type_: str, slug: str, every: float | None) -> None:
    triggers = [{"webhook": {"auth": "none"}}, {"schedule": {"every": "1m"}}, {"schedule": {"every": "2m"}}]
    declaration = declare(Declaration, {"name": "orders", "triggers": triggers})
    run = FlowRun(id=uuid4(), flow_id=uuid4(), created_by={"id": uuid4(), "type": type_, "display_value": slug})

    schedule = declared_schedule(declaration, run)

    assert (schedule and schedule.every) == every
