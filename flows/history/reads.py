"""The history's queries. Each is called inside a transaction, and waits for nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from flows.history import payloads, waits
from flows.history.documents import from_document
from flows.history.ends import FINAL, UNFINISHED
from flows.history.models import HAS_SLOT, IS_WAITING, events, executions, step_executions
from flows.history.records import Execution, Mode, Page, Status, StepExecution
from flows.history.rows import execution_of, step_of
from foundation.ids import first_id_of

LISTED = [column for column in executions.c if column.name not in ("output", "answer")]
"""What lists show of an execution: what may be large is left out."""

CLOCKS_APART = timedelta(minutes=5)
"""An execution's id may have been made by another machine's clock than its `accepted_at`."""

# In two halves, each of which has an index of its own: what ended long ago costs nothing.
_ACCEPTED = ((IS_WAITING,), (HAS_SLOT, executions.c.owner.is_(None)))
_replay = executions.alias("replay")
_REPLAYED_BY = (
    select(func.max(_replay.c.id))
    .where(_replay.c.replay_of == executions.c.id)
    .correlate(executions)
    .scalar_subquery()
    .label("replayed_by")
)


def backlog(connection: Connection) -> dict[str, int]:
    found: Counter[str] = Counter()
    for accepted in _ACCEPTED:
        query = select(executions.c.workflow, func.count()).where(*accepted).group_by(executions.c.workflow)
        found.update({row[0]: row[1] for row in connection.execute(query)})
    return dict(found)


def oldest_accepted(connection: Connection) -> datetime | None:
    accepted = select(executions.c.accepted_at).where(executions.c.status == Status.ACCEPTED)
    return connection.execute(accepted.order_by(executions.c.id).limit(1)).scalar()


def counts(connection: Connection, *, ended: bool) -> dict[Status, int]:
    query = select(executions.c.status, func.count()).group_by(executions.c.status)
    if not ended:
        query = query.where(executions.c.status.in_(UNFINISHED))
    return {Status(status): count for status, count in connection.execute(query)}


def execution(connection: Connection, condition: ColumnElement[bool]) -> Execution | None:
    query = (
        select(executions, events.c.document, _REPLAYED_BY)
        .join_from(executions, events, events.c.id == executions.c.event_id)
        .where(condition)
        .order_by(executions.c.id.desc())
    )
    found = payloads.whole(connection, connection.execute(query.limit(1)).mappings(), "document", "output", "answer")
    if not found:
        return None
    [row] = found
    waited = waits.of_execution(connection, row["id"]) if row["parked_runs"] else ()
    return execution_of(row, event=from_document(row["document"]), steps=steps(connection, row["id"]), waits=waited)


def whole(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> list[Execution]:
    """Executions of whole rows, with what belongs to each, in a few statements for all."""
    if not rows:
        return []
    query = select(events.c.id, events.c.document).where(events.c.id.in_([row["event_id"] for row in rows]))
    documents = payloads.whole(connection, connection.execute(query).mappings(), "document")
    event_of = {row["id"]: from_document(row["document"]) for row in documents}
    had_steps = [row["id"] for row in rows if row["runs"] > 1 or row["replay_of"] or row["finished_at"]]
    steps_of = _steps_of(connection, had_steps)
    return [
        execution_of(
            row,
            event=event_of[row["event_id"]],
            steps=steps_of.get(row["id"], ()),
            waits=waits.of_execution(connection, row["id"]) if row["parked_runs"] else (),
        )
        for row in payloads.whole(connection, rows, "output", "answer")
    ]


def _steps_of(connection: Connection, execution_ids: Sequence[str]) -> dict[str, list[StepExecution]]:
    found: dict[str, list[StepExecution]] = defaultdict(list)
    if execution_ids:
        table = step_executions
        query = select(table).where(table.c.execution_id.in_(execution_ids)).order_by(table.c.number)
        for row in payloads.whole(connection, connection.execute(query).mappings(), "output", "decision"):
            found[row["execution_id"]].append(step_of(row))
    return found


def of_flow_run(connection: Connection, flow_run_id: str) -> Execution | None:
    """The newest: "Retry" in Prefect gives a run a further execution."""
    return execution(connection, is_shown_as([flow_run_id]))


def is_shown_as(flow_run_ids: Sequence[str]) -> ColumnElement[bool]:
    express = executions.c.id.in_(flow_run_ids) & (executions.c.mode == Mode.EXPRESS)
    return executions.c.flow_run_id.in_(flow_run_ids) | express


def steps(connection: Connection, execution_id: str) -> list[StepExecution]:
    """In the order of their first save."""
    return _steps_of(connection, [execution_id])[execution_id]


def finished(connection: Connection, execution_ids: Sequence[str]) -> dict[str, Execution]:
    query = select(executions).where(executions.c.id.in_(execution_ids), executions.c.status.in_(FINAL))
    rows = payloads.whole(connection, connection.execute(query).mappings(), "output", "answer")
    return {row["id"]: execution_of(row) for row in rows}


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
    query = select(*LISTED, _REPLAYED_BY).order_by(table.id.desc()).limit(limit + 1)
    if workflow is not None:
        query = query.where(table.workflow == workflow)
    if status is not None:
        query = query.where(table.status == status)
    if since is not None:
        # By the id, too: else it reads the whole history when there are few.
        query = query.where(table.accepted_at >= since, table.id >= _first_since(since))
    if cursor is not None:
        query = query.where(table.id < cursor)
    found = light(connection, query)
    return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)


def _first_since(since: datetime) -> str:
    try:
        return first_id_of(since - CLOCKS_APART)
    except OverflowError:
        return ""


def light(connection: Connection, query: Select[Any]) -> list[Execution]:
    """Without event, output, answer and steps; `query` is of LISTED."""
    return [execution_of(row) for row in connection.execute(query).mappings()]
