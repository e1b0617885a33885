"""What Prefect has already of the runs that it is told of, and the deployments that they belong to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from prefect.server.database import PrefectDBInterface
from sqlalchemy.ext.asyncio import AsyncConnection

from flows.on_prefect.recording.records import Details, Kind, State


@dataclass(frozen=True)
class Deployment:
    """A workflow's deployment, with what its runs and their events say of it."""

    id: UUID
    flow_id: UUID
    workflow: str
    version: str | None
    labels: dict[str, Any]
    tags: frozenset[str]
    """Of the deployment and its flow."""
    queue_id: UUID | None
    queue: str | None
    pool_id: UUID | None
    pool: str | None
    pool_type: str | None


@dataclass
class TaskPresent:
    final: bool
    states: dict[UUID, datetime] = field(default_factory=dict)


@dataclass
class RunPresent:
    """A run that Prefect has."""

    state_id: UUID | None
    state: State | None
    states: dict[UUID, datetime] = field(default_factory=dict)
    """Times of all states that it had, by id."""
    tasks: dict[UUID, TaskPresent] = field(default_factory=dict)


async def lock_runs(connection: AsyncConnection, runs: Iterable[UUID]) -> None:
    """On PostgreSQL: who records one of these runs at the same time waits until this transaction is over.

    A run that is not there yet has no row to lock. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        keys = sorted(int.from_bytes(run.bytes[8:], signed=True) for run in runs)
        statement = sa.text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key")
        await connection.execute(statement, {"keys": keys})


async def read_deployments(
    connection: AsyncConnection, db: PrefectDBInterface, workflows: Collection[str]
) -> dict[str, Deployment]:
    """By the workflow's name."""
    query = (
        sa.select(
            db.Deployment.id,
            db.Deployment.flow_id,
            db.Flow.name.label("workflow"),
            db.Deployment.version,
            db.Deployment.labels,
            db.Deployment.tags,
            db.Flow.tags.label("flow_tags"),
            db.WorkQueue.id.label("queue_id"),
            db.WorkQueue.name.label("queue"),
            db.WorkPool.id.label("pool_id"),
            db.WorkPool.name.label("pool"),
            db.WorkPool.type.label("pool_type"),
        )
        .join(db.Flow, db.Flow.id == db.Deployment.flow_id)
        .join(db.WorkQueue, db.WorkQueue.id == db.Deployment.work_queue_id, isouter=True)
        .join(db.WorkPool, db.WorkPool.id == db.WorkQueue.work_pool_id, isouter=True)
        .where(db.Flow.name.in_(workflows), db.Deployment.name == db.Flow.name)
    )
    found = {}
    for row in (await connection.execute(query)).mappings():
        values = dict(row)
        tags = frozenset((*(values.pop("tags") or ()), *(values.pop("flow_tags") or ())))
        found[values["workflow"]] = Deployment(**values | {"tags": tags, "labels": values["labels"] or {}})
    return found


async def read_runs(
    connection: AsyncConnection, db: PrefectDBInterface, runs: Sequence[UUID]
) -> dict[UUID, RunPresent]:
    """Those of the runs that are there; on PostgreSQL they stay as they are until the transaction is over."""
    run, run_state, task, task_state = db.FlowRun, db.FlowRunState, db.TaskRun, db.TaskRunState
    query = sa.select(run.id, run.state_id).where(run.id.in_(runs)).order_by(run.id).with_for_update()
    found = {row.id: RunPresent(row.state_id, None) for row in await connection.execute(query)}
    if not found:
        return found
    states = sa.select(
        run_state.flow_run_id,
        run_state.id,
        run_state.type,
        run_state.name,
        run_state.timestamp,
        run_state.message,
        run_state.state_details,
    ).where(run_state.flow_run_id.in_(found))
    for row in await connection.execute(states):
        there = found[row.flow_run_id]
        there.states[row.id] = row.timestamp
        if row.id == there.state_id:
            details = Details(pause_reschedule=row.state_details.pause_reschedule)
            kind, time = _kind(row.type), row.timestamp
            there.state = State(type=kind, name=row.name, timestamp=time, message=row.message, details=details)
    tasks = (
        sa.select(task.flow_run_id, task.id, task.state_type, task_state.id.label("state_id"), task_state.timestamp)
        .join(task_state, task_state.task_run_id == task.id, isouter=True)
        .where(task.flow_run_id.in_(found))
    )
    for one in await connection.execute(tasks):
        final = one.state_type is not None and _kind(one.state_type).is_final
        known = found[one.flow_run_id].tasks.setdefault(one.id, TaskPresent(final))
        if one.state_id is not None:
            known.states[one.state_id] = one.timestamp
    return found


def _kind(value: Any) -> Kind:
    return Kind(value.value)
