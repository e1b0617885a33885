"""`Catalogue` in SQL. Each function is called inside a transaction and may be run again after a rollback."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from flows.history import polls
from flows.history.database import upsert
from flows.history.database_time import DatabaseTime
from flows.history.documents import document_or_none, to_document
from flows.history.failed import declared_failures
from flows.history.flow_control import ARRIVED, QUEUE
from flows.history.models import IS_WAITING, executions, lanes, workflow_versions, workflows
from flows.history.polled import declared_polls
from flows.history.records import Workflow, WorkflowVersion
from flows.history.rows import Row, version_of, workflow_of
from flows.history.rules import declared_limit, declared_mode, declared_rules

_VERSION = [column.name for column in workflow_versions.c]
_WORKFLOW = select(workflows, *(column for column in workflow_versions.c if column.name not in workflows.c)).join_from(
    workflows,
    workflow_versions,
    (workflow_versions.c.workflow == workflows.c.name) & (workflow_versions.c.version == workflows.c.current),
)


_NEWEST = (workflow_versions.c.created_at.desc(), workflow_versions.c.version)


def publish(connection: Connection, version: WorkflowVersion, now: datetime, time: DatabaseTime) -> bool:
    row = {name: getattr(version, name) for name in _VERSION}
    row |= {"tags": to_document(list(version.tags)), "declaration": document_or_none(version.declaration)}
    row["created_at"] = version.created_at or now
    connection.execute(upsert(connection, workflow_versions).on_conflict_do_nothing(), row)
    limit, overflow = declared_limit(version.declaration)
    current = {"current": version.version, "concurrency_limit": limit, "overflow": overflow, "updated_at": now}
    current["failures_of"] = document_or_none(declared_failures(version.declaration) or None)
    current["mode"] = declared_mode(version.declaration)
    current["flow_control"] = _change_rules(connection, version)
    statement = upsert(connection, workflows).values(name=version.workflow, active=True, **current)
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={column: statement.excluded[column] for column in current},
        where=workflows.c.current != statement.excluded.current,
    )
    if connection.execute(statement.returning(workflows.c.name)).first() is None:
        return False
    polls.declare(connection, version.workflow, declared_polls(version.declaration), time)
    return True


def _change_rules(connection: Connection, version: WorkflowVersion) -> str | None:
    """The document of the version's rules. Where they are others than before, all that waits is looked at anew."""
    of_this = workflows.c.name == version.workflow
    known = connection.execute(select(workflows.c.flow_control).where(of_this).with_for_update()).scalar()
    wanted = document_or_none(declared_rules(version.declaration))
    if known is not None and wanted != known:
        waits = (executions.c.workflow == version.workflow) & (executions.c.lane != QUEUE)
        connection.execute(update(executions).where(IS_WAITING, waits).values(lane=ARRIVED))
        connection.execute(delete(lanes).where(lanes.c.workflow == version.workflow))
    return wanted


def change(connection: Connection, name: str, values: Row) -> bool:
    return connection.execute(update(workflows).where(workflows.c.name == name).values(values)).rowcount > 0


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


def versions(connection: Connection, workflow: str) -> list[WorkflowVersion]:
    query = select(workflow_versions).where(workflow_versions.c.workflow == workflow).order_by(*_NEWEST)
    return [version_of(row) for row in connection.execute(query).mappings()]


def unneeded_versions(connection: Connection, before: datetime, keep: int) -> list[tuple[str, str]]:
    """Which ones may go. For each of these it reads through its workflow's executions: not for a writer."""
    table = workflow_versions.c
    place = func.row_number().over(partition_by=table.workflow, order_by=_NEWEST).label("place")
    ranked = select(table.workflow, table.version, table.created_at, place).subquery()
    old = select(ranked.c.workflow, ranked.c.version).where(ranked.c.place > keep, ranked.c.created_at < before)
    return [
        (workflow, version)
        for workflow, version in connection.execute(old).all()
        if not _is_used(connection, workflow, version)
    ]


def _is_used(connection: Connection, workflow: str, version: str) -> bool:
    ran = select(executions.c.id).where(executions.c.workflow == workflow, executions.c.version == version)
    oldest = ran.order_by(executions.c.id).limit(1)  # of an old version it is among the first
    return connection.execute(oldest).first() is not None


def delete_versions(connection: Connection, unneeded: Sequence[tuple[str, str]]) -> int:
    """Deletes those of them that are not current."""
    table = workflow_versions.c
    current = select(workflows.c.current).where(workflows.c.name == table.workflow).scalar_subquery()
    gone = 0
    for workflow, version in unneeded:
        this = (table.workflow == workflow) & (table.version == version)
        gone += connection.execute(delete(workflow_versions).where(this, table.version != current)).rowcount
    return gone
