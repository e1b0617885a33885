"""`Admission` in SQL: limits are counted in the transaction that admits, so they hold over any number of processes.

Whoever admits has the workflow's row locked (SQLite has one writer anyway), and counts with a statement of its own
after that: so it sees what whoever held the lock before has admitted. Whoever has a workflow's row never waits for an
execution's (`SKIP LOCKED`), so the other order is free: `running.begin` locks the execution first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, TextClause, bindparam, case, func, select, update

from flows.history import payloads, waits
from flows.history.database_time import DatabaseTime
from flows.history.documents import HANDED_OVER_CHARACTERS, handed_over, to_document
from flows.history.ends import end
from flows.history.models import HAS_SLOT, IS_TO_DISPATCH, IS_WAITING, events, executions, workflows
from flows.history.records import Execution, Status
from flows.history.rows import DEFAULT_LIMIT, DEFAULT_OVERFLOW, execution_of, limit_reached
from flows.history.turns import in_turn

_CANCELLED_AT_ONCE = 1_000
"""Executions of a workflow that one call ends because they are beyond the limit; the next call goes on."""

Limits = Mapping[str, tuple[int, str]]
"""By workflow: how many of its executions are admitted at once, and what becomes of the others."""
Candidate = Row[Any]
"""An execution's id and accepted_at."""


def admit(connection: Connection, limit: int, claim: float, time: DatabaseTime) -> list[Execution]:
    waits.wake(connection, limit, time)
    waiting, to_dispatch = _queued(connection, IS_WAITING), _queued(connection, IS_TO_DISPATCH)
    if not waiting and not to_dispatch:
        return []
    limits = locked_limits(connection, waiting)
    rooms = room(connection, limits)
    now = time.read(connection)
    queues = []
    for workflow in sorted({*waiting, *to_dispatch}):
        queue = _unclaimed(connection, workflow, limit, now) if workflow in to_dispatch else []
        if vacant := min(rooms.get(workflow, 0), limit):
            queue += _oldest(connection, _queue(workflow, IS_WAITING).limit(vacant))
        if queue:
            queues.append(queue)
        if limits.get(workflow, (0, ""))[1] == "cancel":
            _end_overflow(connection, workflow, limits[workflow][0], rooms[workflow], time)
    queues.sort(key=lambda queue: (queue[0].accepted_at, queue[0].id))
    return _hand_over(connection, [one.id for one in in_turn(queues, limit)], now, now + timedelta(seconds=claim))


def queued_workflows(condition: TextClause) -> Select[tuple[str]]:
    """The workflows that have such executions. One look at the condition's index for each, however many it has."""
    first = select(executions.c.workflow).where(condition).order_by(executions.c.workflow).limit(1)
    found = select(first.scalar_subquery().label("workflow")).cte("found", recursive=True)
    following = first.where(executions.c.workflow > found.c.workflow).correlate(found).scalar_subquery()
    found = found.union_all(select(following).where(found.c.workflow.is_not(None)))
    return select(found.c.workflow).where(found.c.workflow.is_not(None))


def locked_limits(connection: Connection, names: Sequence[str]) -> Limits:
    """Nobody else admits executions of these workflows, or changes their limits, until the transaction ends."""
    if not names:
        return {}
    table = workflows.c
    query = select(table.name, table.concurrency_limit, table.overflow).where(table.name.in_(names))
    known = connection.execute(query.order_by(table.name).with_for_update(key_share=True))
    return dict.fromkeys(names, (DEFAULT_LIMIT, DEFAULT_OVERFLOW)) | {
        name: (limit, overflow) for name, limit, overflow in known
    }


def room(connection: Connection, limits: Limits) -> dict[str, int]:
    """How many more executions of each may be admitted."""
    if not limits:
        return {}
    query = select(executions.c.workflow, func.count()).where(HAS_SLOT, executions.c.workflow.in_(limits))
    used = {row[0]: row[1] for row in connection.execute(query.group_by(executions.c.workflow))}
    return {workflow: max(limit - used.get(workflow, 0), 0) for workflow, (limit, _) in limits.items()}


def _queued(connection: Connection, condition: TextClause) -> list[str]:
    return list(connection.execute(queued_workflows(condition)).scalars())


def _queue(workflow: str, condition: TextClause) -> Select[Any]:
    table = executions.c
    query = select(table.id, table.accepted_at).where(condition, table.workflow == workflow)
    return query.order_by(table.accepted_at, table.id)


def _oldest(connection: Connection, queue: Select[Any]) -> list[Candidate]:
    return list(connection.execute(queue.with_for_update(key_share=True, skip_locked=True)))


def _unclaimed(connection: Connection, workflow: str, limit: int, now: datetime) -> list[Candidate]:
    claimed_until = executions.c.claimed_until
    queue = _queue(workflow, IS_TO_DISPATCH).where(claimed_until.is_(None) | (claimed_until <= now))
    return _oldest(connection, queue.limit(limit))


def _end_overflow(connection: Connection, workflow: str, limit: int, room: int, time: DatabaseTime) -> None:
    beyond = _oldest(connection, _queue(workflow, IS_WAITING).offset(room).limit(_CANCELLED_AT_ONCE))
    end_beyond_limit(connection, [one.id for one in beyond], limit, time)


def end_beyond_limit(connection: Connection, execution_ids: Sequence[str], limit: int, time: DatabaseTime) -> None:
    end(connection, execution_ids, Status.CANCELLED, time, error=to_document(limit_reached(limit)))


def _hand_over(connection: Connection, ids: Sequence[str], now: datetime, until: datetime) -> list[Execution]:
    if not ids:
        return []
    table = executions.c
    at, end_of_claim = (bindparam(name, value, table.admitted_at.type) for name, value in (("at", now), ("u", until)))
    made_by_prefect = table.flow_run_id.is_not(None)
    statement = (
        update(executions)
        .where(table.id.in_(ids))
        .values(
            admitted_at=func.coalesce(table.admitted_at, at),
            claimed_until=case((made_by_prefect, None), else_=end_of_claim),
            dispatched_at=case((made_by_prefect, at), else_=table.dispatched_at),
        )
    )
    rows = {row["id"]: row for row in connection.execute(statement.returning(executions)).mappings()}
    small = case((func.length(events.c.document) <= HANDED_OVER_CHARACTERS, events.c.document))
    query = select(events.c.id, small).where(events.c.id.in_([row["event_id"] for row in rows.values()]))
    texts = {event_id: None if payloads.is_reference(text) else text for event_id, text in connection.execute(query)}
    return [execution_of(rows[id_], event=handed_over(texts[rows[id_]["event_id"]])) for id_ in ids]


def dispatched(connection: Connection, flow_runs: Mapping[str, str], time: DatabaseTime) -> None:
    if not flow_runs:
        return
    statement = (
        update(executions)
        .where(executions.c.id == bindparam("execution"))
        .values(
            flow_run_id=func.coalesce(executions.c.flow_run_id, bindparam("flow_run")),
            dispatched_at=time.read(connection),
            claimed_until=None,
        )
    )
    connection.execute(statement, [{"execution": id_, "flow_run": run} for id_, run in sorted(flow_runs.items())])


def release(connection: Connection, execution_ids: Sequence[str]) -> None:
    waiting = executions.c.id.in_(execution_ids) & (executions.c.status == Status.ACCEPTED)
    connection.execute(update(executions).where(waiting).values(claimed_until=None))
