"""The history's queries. Each is called inside a transaction, and waits for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from flows.history import payloads
from flows.history.models import (
    deliveries,
    events,
    executions,
    from_document,
    step_executions,
    workflow_versions,
    workflows,
)
from flows.history.records import Execution, Json, Page, Status, StepExecution, Workflow, WorkflowVersion
from flows.history.rows import execution_of, step_of, version_of, workflow_of

FINAL = [status.value for status in Status if status.is_final]

_LISTED = [column for column in executions.c if column.name != "output"]
_replay = executions.alias("replay")
_REPLAYED_BY = (
    select(func.max(_replay.c.id))
    .where(_replay.c.replay_of == executions.c.id)
    .correlate(executions)
    .scalar_subquery()
    .label("replayed_by")
)
_WORKFLOW = select(workflows, *(column for column in workflow_versions.c if column.name not in workflows.c)).join_from(
    workflows,
    workflow_versions,
    (workflow_versions.c.workflow == workflows.c.name) & (workflow_versions.c.version == workflows.c.current),
)


def list_workflows(connection: Connection) -> list[Workflow]:
    return [workflow_of(row) for row in connection.execute(_WORKFLOW.order_by(workflows.c.name)).mappings()]


def workflow(connection: Connection, name: str) -> Workflow | None:
    row = connection.execute(_WORKFLOW.where(workflows.c.name == name)).mappings().first()
    return workflow_of(row) if row else None


def version(connection: Connection, workflow: str, version: str) -> WorkflowVersion | None:
    table = workflow_versions.c
    query = select(workflow_versions).where(table.workflow == workflow, table.version == version)
    row = connection.execute(query).mappings().first()
    return version_of(row) if row else None


def backlog(connection: Connection) -> dict[str, int]:
    query = select(executions.c.workflow, func.count()).where(executions.c.status == Status.ACCEPTED)
    return _pairs(connection, query.group_by(executions.c.workflow))


def oldest_accepted(connection: Connection) -> datetime | None:
    query = select(func.min(executions.c.accepted_at)).where(executions.c.status == Status.ACCEPTED)
    return connection.execute(query).scalar()


def counts(connection: Connection) -> dict[Status, int]:
    query = select(executions.c.status, func.count()).group_by(executions.c.status)
    return {Status(status): count for status, count in connection.execute(query)}


def running(connection: Connection, condition: ColumnElement[bool]) -> list[Execution]:
    return _light(
        connection, select(*_LISTED).where(executions.c.status == Status.RUNNING, condition).order_by(executions.c.id)
    )


def stale_dispatches(connection: Connection, before: datetime, limit: int) -> list[Execution]:
    table = executions.c
    stale = (table.status == Status.ACCEPTED) & table.flow_run_id.is_not(None) & (table.dispatched_at < before)
    return _light(connection, select(*_LISTED).where(stale).order_by(table.dispatched_at, table.id).limit(limit))


def execution(connection: Connection, condition: ColumnElement[bool]) -> Execution | None:
    query = (
        select(executions, events.c.document, _REPLAYED_BY)
        .join_from(executions, events, events.c.id == executions.c.event_id)
        .where(condition)
        .order_by(executions.c.id.desc())
    )
    found = payloads.whole(connection, connection.execute(query.limit(1)).mappings(), "document", "output")
    if not found:
        return None
    [row] = found
    return execution_of(row, event=from_document(row["document"]), steps=steps(connection, row["id"]))


def steps(connection: Connection, execution_id: str) -> list[StepExecution]:
    """In the order of their first save."""
    table = step_executions
    query = select(table).where(table.c.execution_id == execution_id).order_by(table.c.number)
    return [step_of(row) for row in payloads.whole(connection, connection.execute(query).mappings(), "output")]


def finished(connection: Connection, execution_ids: Sequence[str]) -> dict[str, Execution]:
    query = select(executions).where(executions.c.id.in_(execution_ids), executions.c.status.in_(FINAL))
    rows = payloads.whole(connection, connection.execute(query).mappings(), "output")
    return {row["id"]: execution_of(row) for row in rows}


def cancel_requests(connection: Connection, execution_ids: Sequence[str]) -> dict[str, Json]:
    table = executions.c
    query = select(table.id, table.cancel_requested).where(
        table.id.in_(execution_ids), table.cancel_requested.is_not(None)
    )
    return {execution_id: from_document(request) for execution_id, request in connection.execute(query)}


def end_of_newest(connection: Connection, count: int) -> datetime | None:
    ends = select(executions.c.finished_at).where(executions.c.finished_at.is_not(None))
    newest = ends.order_by(executions.c.finished_at.desc())
    last = connection.execute(newest.offset(count - 1).limit(2)).scalars().all()
    return last[0] if len(last) == 2 else None


def page(
    connection: Connection,
    *,
    workflow: str | None,
    status: Status | None,
    since: datetime | None,
    cursor: str | None,
    limit: int,
) -> Page:
    table = executions.c
    query = select(*_LISTED, _REPLAYED_BY).order_by(table.id.desc()).limit(limit + 1)
    if workflow is not None:
        query = query.where(table.workflow == workflow)
    if status is not None:
        query = query.where(table.status == status)
    if since is not None:
        query = query.where(table.accepted_at >= since)
    if cursor is not None:
        query = query.where(table.id < cursor)
    found = _light(connection, query)
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


def documents(connection: Connection, event_ids: Sequence[str]) -> dict[str, str]:
    """The events' JSON text by event id."""
    query = select(events.c.id, events.c.document).where(events.c.id.in_(event_ids))
    rows = payloads.whole(connection, connection.execute(query).mappings(), "document")
    return {row["id"]: row["document"] for row in rows}


def holders(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """The execution that each known delivery made."""
    return _pairs(connection, select(deliveries.c.key, deliveries.c.execution_id).where(deliveries.c.key.in_(keys)))


def _pairs(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _light(connection: Connection, query: Select[Any]) -> list[Execution]:
    return [execution_of(row) for row in connection.execute(query).mappings()]
